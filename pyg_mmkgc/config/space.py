r"""The search space in the section ``search`` of a YAML file.

.. code-block:: yaml

    search:
      training:
        lr: {low: 1e-4, high: 1e-2, log: true}
      model:
        margin: [3.0, 6.0, 9.0]
      sampler:
        num_negatives: {low: 16, high: 128, step: 16}

A list contains choices. A mapping with ``low`` and ``high`` is a range of
integers if both are integers, and of real numbers otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyg_mmkgc.config.coerce import check_keys
from pyg_mmkgc.errors import ConfigError

_RANGE = ('low', 'high', 'log', 'step')


@dataclass(frozen=True)
class Choice:
    r"""A list of values to choose from.

    Args:
        values (list): The values.
    """
    values: Sequence[Any]


@dataclass(frozen=True)
class Range:
    r"""A range of numbers, which are integers if both bounds are integers.

    Args:
        low (int or float): The smallest value.
        high (int or float): The largest value.
        log (bool, optional): If set to :obj:`True`, all orders of magnitude
            are equally likely. (default: :obj:`False`)
        step (int or float, optional): The distance between neighbouring
            values. (default: :obj:`None`, any value)
    """
    low: float
    high: float
    log: bool = False
    step: float | None = None


Distribution = Choice | Range


def read_space(values: Any) -> dict[str, Distribution]:
    r"""Reads the distributions in a section ``search``.

    Args:
        values (Any): The plain values of the section. It has the sections of a
            configuration, and a distribution for each of their keys.

    Returns:
        The distributions by key, as in :obj:`"training.lr"`.

    Raises:
        ConfigError: If a value is not a distribution, or there are no
            distributions.
    """
    out = dict(_distributions(values, ''))
    if not out:
        raise ConfigError("Expected the section 'search' with a list or a "
                          'range for each key to search, as in search: '
                          '{training: {lr: {low: 1e-4, high: 1e-2, log: '
                          'true}}} (got none)')
    return out


def _distributions(values: Any, path: str) -> list[tuple[str, Distribution]]:
    if isinstance(values, list) and path:
        if not values:
            raise ConfigError(f"Expected 'search.{path}' to have choices (got "
                              'an empty list)')
        return [(path, Choice(tuple(values)))]
    if not isinstance(values, Mapping):
        raise ConfigError(f"Expected 'search{'.' * bool(path)}{path}' to be a "
                          'list of choices or a mapping with low and high '
                          f'(got {values!r:.60})')
    if 'low' in values or 'high' in values:
        return [(path, _range(values, path))]
    return [item for key, value in values.items()
            for item in _distributions(value, f'{path}.{key}'.lstrip('.'))]


def _range(values: Mapping[str, Any], path: str) -> Range:
    check_keys(values, _RANGE, f'search.{path}')
    low, high = values.get('low'), values.get('high')
    log, step = values.get('log', False), values.get('step')
    for key, value in (('low', low), ('high', high), ('step', step)):
        if type(value) not in (int, float) and not (
                key == 'step' and value is None):
            raise ConfigError(f"Expected 'search.{path}.{key}' to be a number "
                              f'(got {value!r:.60})')
    assert low is not None and high is not None
    if not isinstance(log, bool):
        raise ConfigError(f"Expected 'search.{path}.log' to be a boolean (got "
                          f'{log!r:.60})')
    if not low < high or log and not low > 0:
        raise ConfigError(
            f"Expected 'search.{path}' to have low < high, and low > 0 with "
            f'log (got low={low}, high={high}, log={log})')
    if step is not None and (log or not step > 0):
        raise ConfigError(f"Expected 'search.{path}.step' to be positive, and "
                          f'without log (got step={step}, log={log})')
    return Range(low, high, log, step)
