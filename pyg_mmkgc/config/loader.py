r"""Finds, reads and writes configurations."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import resources
from typing import Any

from pyg_mmkgc.config import source
from pyg_mmkgc.config.components import Names, valid_names
from pyg_mmkgc.config.schema import Config
from pyg_mmkgc.config.space import Choice, Distribution, read_space
from pyg_mmkgc.config.yaml_text import (
    MAX_CHARS,
    dump_value,
    dump_yaml,
    parse_yaml,
)
from pyg_mmkgc.errors import ConfigError
from pyg_mmkgc.io.atomic import write_atomic
from pyg_mmkgc.io.reading import open_file, user_path

#: The model of a bare dataset name, as in ``countries``.
DEFAULT_MODEL = 'adamf_mat'


@cache
def _shipped() -> dict[str, dict[str, Any]]:
    # There is one file per method. Its sections hold for all datasets, except
    # for keys that a dataset changes and sections that it gives a new name.
    out = {}
    for file in (resources.files('pyg_mmkgc') / 'configs').iterdir():
        method, _, ending = file.name.partition('.')
        if ending != 'yaml':
            continue
        shared = parse_yaml(file.read_text('utf-8'), f"'{file.name}'")
        for dataset, own in shared.pop('datasets').items():
            values = copy.deepcopy(shared)
            for section, changes in own.items():
                old = values.get(section, {})
                values[section] = (changes if 'name' in old and 'name'
                                   in changes else {**old, **changes})
            out[f'{method}/{dataset}'] = values
    return dict(sorted(out.items()))


def shipped_configs() -> list[str]:
    r"""Returns the names of the configurations in the package, as in
    ``model/dataset``.
    """
    return list(_shipped())


def resolve_name(name: str) -> str:
    r"""Returns the full name of a configuration in the package, as in
    ``adamf_mat/countries`` for ``countries``. Case, hyphens and underscores
    do not matter.

    Raises:
        ConfigError: If the package has no such configuration.
    """
    def plain(text: str) -> str:
        return text.lower().replace('-', '').replace('_', '')

    shipped = {plain(item): item for item in _shipped()}
    asked = plain(name if '/' in name else f'{DEFAULT_MODEL}/{name}')
    if asked in shipped:
        return shipped[asked]
    models, datasets = ({item.split('/')[i]: None for item in _shipped()}
                        for i in (0, 1))
    mine = [item for key, item in shipped.items()
            if key.partition('/')[0] == plain(name).partition('/')[0]]
    if mine and name.count('/') < 2:
        raise ConfigError('Expected a model with a dataset, one of '
                          f"{', '.join(mine)} (got '{name[:80]}')")
    close = difflib.get_close_matches(name.lower(),
                                      [*datasets, *_shipped()], 1, 0.5)
    hint = f" Did you mean '{close[0]}'?" if close else ''
    raise ConfigError(
        'Expected a file ending in .yaml, DATASET or MODEL/DATASET (got '
        f"'{name[:80]}').{hint} Datasets: {', '.join(datasets)}. Models: "
        f"{', '.join(models)}.")


def read_values(name: str) -> Any:
    r"""Returns the plain values of a configuration.

    Args:
        name (str): ``dataset``, ``model/dataset`` or a path that ends in
            ``.yaml`` or ``.yml``.
    """
    if not name.lower().endswith(('.yaml', '.yml')):
        return copy.deepcopy(_shipped()[resolve_name(name)])
    try:
        with open_file(user_path(name)) as file:
            # Editors may write a byte order mark.
            text = file.read(4 * MAX_CHARS + 1).decode('utf-8-sig')
    except UnicodeDecodeError as error:
        raise ConfigError(f"Expected '{name}' to be text in UTF-8 (got an "
                          f'invalid byte at {error.start})') from None
    except (OSError, ValueError) as error:
        reason = getattr(error, 'strerror', None) or error
        raise ConfigError(f"Expected '{name}' to be readable (got an error: "
                          f'{reason})') from None
    return parse_yaml(text, f"'{name}'")


def apply_overrides(values: Any, overrides: Iterable[str]) -> Any:
    r"""Sets keys in plain values, in place.

    Args:
        values (Any): Nested dictionaries.
        overrides (list[str]): Items like ``'training.epochs=100'``, whose
            right side is read as YAML.
    """
    if not isinstance(values, dict):  # `Config.from_dict` rejects it.
        return values
    for item in overrides:
        path, sign, text = item.partition('=')
        *parents, last = path.strip().split('.')
        if not sign or not all([*parents, last]):
            raise ConfigError("Expected KEY=VALUE, as in 'training.epochs="
                              f"100' (got '{item[:80]}')")
        node = values
        for key in parents:
            if isinstance(node, dict):
                if node.get(key) is None:
                    node[key] = {}
                node = node[key]
        if not isinstance(node, dict):
            raise ConfigError(f"Expected '{'.'.join(parents)}' to be a "
                              f"mapping (got {node!r:.60})")
        node[last] = parse_yaml(text, f"the value of '{path.strip()}'")
    return values


def load_config(name: str, overrides: Sequence[str] = ()) -> Config:
    r"""Reads, overrides and checks a configuration.

    .. code-block:: python

        config = load_config('mkg_w', ['training.epochs=10'])

    Args:
        name (str): ``dataset``, ``model/dataset`` or the path of a YAML
            file.
        overrides (list[str], optional): Items like
            ``'training.epochs=100'``. (default: :obj:`()`)

    Raises:
        ConfigError: If the file cannot be read, a key or name is unknown, or a
            type is wrong.
    """
    return _load(name, overrides, valid_names)


def check_config(name: str, overrides: Sequence[str] = ()) -> None:
    r"""Checks a configuration as :func:`load_config` does, but takes keywords
    and types from the source code of the classes. This takes milliseconds,
    whereas importing the classes takes seconds.

    Args:
        name (str): As for :func:`load_config`.
        overrides (list[str], optional): As for :func:`load_config`.
            (default: :obj:`()`)

    Raises:
        ConfigError: As for :func:`load_config`.
    """
    _load(name, overrides, source.valid_names)


def load_space(name: str, overrides: Sequence[str] = ()
               ) -> dict[str, Distribution]:
    r"""Reads the search space in the section :obj:`search` of a
    configuration, see :func:`~pyg_mmkgc.config.space.read_space`.

    Args:
        name (str): As for :func:`load_config`.
        overrides (list[str], optional): As for :func:`load_config`, also
            for keys like :obj:`search.training.lr`. (default: :obj:`()`)

    Raises:
        ConfigError: If there is no such section, or if one of its values is
            not a distribution.
    """
    with _named(name):
        values = apply_overrides(read_values(name), overrides)
        return read_space(values.get('search', {})
                          if isinstance(values, dict) else {})


def check_search(name: str, overrides: Sequence[str] = ()) -> None:
    r"""Checks the configuration of a search as :func:`check_config` does, with
    one value from every distribution.

    Args:
        name (str): As for :func:`load_config`.
        overrides (list[str], optional): As for :func:`load_space`.
            (default: :obj:`()`)

    Raises:
        ConfigError: As for :func:`load_config` and :func:`load_space`.
    """
    space = load_space(name, overrides)
    check_config(name, overrides)  # Errors then refer to the right value.
    for key, item in space.items():
        for value in item.values if isinstance(item, Choice) else [item.low]:
            check_config(name, [*overrides, f'{key}={dump_value(value)}'])


def _load(name: str, overrides: Sequence[str], names: Names) -> Config:
    with _named(name):
        values = apply_overrides(read_values(name), overrides)
        if isinstance(values, dict):
            values.pop('search', None)  # See `load_space`.
        return Config.from_dict(values, names)


@contextmanager
def _named(name: str) -> Iterator[None]:
    try:
        yield
    except ConfigError as error:
        if f"'{name}'" in str(error):
            raise
        raise ConfigError(f"{error} (in '{name}')") from None


def dump_config(config: Config) -> str:
    r"""Returns a configuration as YAML text with every default."""
    return dump_yaml(config.to_dict())


def save_config(config: Config, path: Any) -> None:
    r"""Writes a configuration that :func:`load_config` reads as equal."""
    write_atomic(path, dump_config(config))
