r"""The names that a configuration can use, and their keywords.

Names are only looked up in explicit lists. Keywords, types and defaults come
from the signatures of classes, so new models and samplers need no changes
here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from pyg_mmkgc.config.coerce import (
    check_keys,
    coerce,
    is_plain,
    nearest,
    plain_value,
)
from pyg_mmkgc.errors import ConfigError
from pyg_mmkgc.io.arguments import arguments_of

#: The losses that a configuration can name.
LOSSES = ('SelfAdversarialLoss', 'MarginRankingLoss', 'BCELoss',
          'OneVsAllLoss', 'KvsAllLoss')

# A function that maps a section to the classes and functions it can name.
Names = Callable[[str], Mapping[str, Callable[..., Any]]]
# The library fills in these keywords itself.
_FILLED_IN = {'dataset': ('transform', 'pre_transform', 'force_reload'),
              'model': ('data', 'num_nodes', 'num_relations', 'modalities')}
# Of the model's own loss. A configuration has the sections 'sampler' and
# 'adversary' instead.
_PLAIN_LOOP = ('num_negatives', 'adv_weight')


def _dataset(root: str | None = None, modalities: list[str] | None = None,
             drop_features: dict[str, float] | None = None) -> None:
    r"""Declares the keywords that every dataset has in a configuration."""


def _adversary(lr: float = 1e-4) -> None:
    r"""Declares the keywords that every adversary has in a configuration."""


@dataclass(frozen=True)
class Component:
    r"""A section of a configuration that names a class or function.

    Args:
        name (str): The name.
        options (dict): Its keywords, with all defaults.
    """

    name: str
    options: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        r"""Returns the section as plain values."""
        return {'name': self.name, **self.options}


@cache
def _options(calls: tuple[Callable[..., Any], ...]
             ) -> dict[str, inspect.Parameter]:
    out: dict[str, inspect.Parameter] = {}
    for call in calls:
        out |= {name: param for name, param in arguments_of(call).items()
                if is_plain(param.annotation)}
    return out


def read_options(section: str, values: Any, *calls: Callable[..., Any],
                 skip: Sequence[str] = ()) -> dict[str, Any]:
    r"""Checks the plain values of a section against signatures, and adds
    their defaults.

    Args:
        section (str): The key of the section.
        values (Any): The values.
        *calls (Callable): The functions and classes whose keywords are valid.
        skip (list[str], optional): Keywords that are not valid.
            (default: :obj:`()`)
    """
    options = {name: param for name, param in _options(calls).items()
               if name not in skip}
    values = coerce(values, dict, section)
    check_keys(values, options, section)
    out = {}
    for key, param in options.items():
        if key in values:
            out[key] = coerce(values[key], param.annotation,
                              f'{section}.{key}')
        elif param.default is param.empty:
            raise ConfigError(f"Expected the key '{section}.{key}', which "
                              'has no default (got none)')
        else:
            out[key] = plain_value(param.default)
    return out


def _listed(module: Any, *bases: type) -> dict[str, Any]:
    found = {name: getattr(module, name) for name in module.__all__}
    return {name: item for name, item in found.items()
            if inspect.isclass(item) and issubclass(item, bases)
            and item not in bases}


def valid_names(section: str) -> dict[str, Callable[..., Any]]:
    r"""Returns the classes and functions that a section can name. The models
    of :pyg:`PyG` are called :obj:`PyG.TransE` and so on.
    """
    # These imports take seconds, see `source.py`.
    import torch_geometric.nn.kge as pyg_kge
    from torch_geometric.data import Dataset

    from pyg_mmkgc import datasets, nn, sampler, training
    from pyg_mmkgc.data.tsv import from_tsv
    from pyg_mmkgc.nn import kge
    from pyg_mmkgc.nn import path as paths

    if section == 'dataset':
        return {**_listed(datasets, Dataset, datasets.MMKGDataset),
                'TSV': from_tsv}
    if section == 'model':
        return {**_listed(kge, kge.MMKGEModel, kge.QueryModel),
                **_listed(paths, paths.PathModel), 'Ensemble': nn.Ensemble,
                **{f'PyG.{name}': item for name, item in _listed(
                    pyg_kge, pyg_kge.KGEModel).items()}}
    if section == 'sampler':
        return _listed(sampler, sampler.NegativeSampler)
    if section == 'loss':
        return {name: getattr(nn, name) for name in LOSSES}
    return {name: item.from_model for name, item in _listed(
        training, training.Adversary).items()}


def read_component(section: str, values: Any, skip: Sequence[str] = (),
                   names: Names = valid_names) -> Component:
    r"""Checks a section that names a class or function.

    Args:
        section (str): The key of the section.
        values (Any): The plain values.
        skip (list[str], optional): Keywords that are not valid.
            (default: :obj:`()`)
        names (Callable, optional): The function that returns the valid names
            of a section. (default: :func:`valid_names`)
    """
    options = coerce(values, dict, section)
    known, name = names(section), options.pop('name', None)
    if not isinstance(name, str) or name not in known:
        raise ConfigError(f"Expected '{section}.name' to be a known name (got "
                          f'{name!r:.60}).{nearest(str(name)[:60], known)}')
    target: Any = known[name]
    if section == 'model' and 'modalities' in options:
        raise ConfigError(
            "Expected no key 'model.modalities', since a model takes all "
            'modalities of the graph (got '
            f"{options['modalities']!r:.60}). Set 'dataset.modalities' to "
            'train with some of them.')
    calls, filled_in = _sources(section, target)
    return Component(name, read_options(section, options, *calls,
                                        skip=[*skip, *filled_in]))


def options_of(section: str, target: Any) -> dict[str, inspect.Parameter]:
    r"""Returns the keywords that a section takes next to its name.

    Args:
        section (str): The key of the section.
        target (Callable): What the section names, as in :func:`valid_names`.
    """
    calls, filled_in = _sources(section, target)
    return {name: param for name, param in _options(tuple(calls)).items()
            if name not in filled_in}


def _sources(section: str, target: Any
             ) -> tuple[list[Callable[..., Any]], list[str]]:
    # The callables whose keywords are valid, and the keywords that are not.
    calls, filled_in = [target], [*_FILLED_IN.get(section, ())]
    if section == 'dataset':
        calls.append(_dataset)
    elif section == 'adversary':
        calls.append(_adversary)
    elif section == 'model':
        if hasattr(target, 'from_data'):
            calls.append(target.from_data)
        if not getattr(target, 'own_loss', False):
            filled_in += _PLAIN_LOOP
    return calls, filled_in
