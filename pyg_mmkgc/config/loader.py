r"""Finds, reads and writes configuration files."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Any

from pyg_mmkgc.config.schema import Config
from pyg_mmkgc.config.yaml_text import MAX_CHARS, dump_yaml, parse_yaml
from pyg_mmkgc.errors import ConfigError
from pyg_mmkgc.io.atomic import write_atomic
from pyg_mmkgc.io.reading import open_file, user_path

#: The model that a bare dataset name stands for, as in ``countries``.
DEFAULT_MODEL = 'adamf_mat'


def shipped_configs() -> list[str]:
    r"""The names of the configurations in the package, ``model/dataset``."""
    root = resources.files('pyg_mmkgc') / 'configs'
    return sorted(f'{folder.name}/{file.name.removesuffix(".yaml")}'
                  for folder in root.iterdir() if folder.is_dir()
                  for file in folder.iterdir()
                  if file.name.endswith('.yaml'))


def resolve_name(name: str) -> str:
    r"""``countries`` as ``adamf_mat/countries``.

    Raises:
        ConfigError: If the package has no such configuration.
    """
    shipped = shipped_configs()
    asked = name.lower().replace('-', '_')
    full = asked if '/' in asked else f'{DEFAULT_MODEL}/{asked}'
    if full in shipped:
        return full
    # The name of a class, as in GCOTE/countries, is as good.
    plain = {item.replace('_', ''): item for item in shipped}
    if full.replace('_', '') in plain:
        return plain[full.replace('_', '')]
    model = asked.partition('/')[0]
    models, datasets = ({item.split('/')[i]: None for item in shipped}
                        for i in (0, 1))
    mine = [item for item in shipped if model.replace('_', '')
            == item.partition('/')[0].replace('_', '')]
    if mine and asked.count('/') < 2:
        raise ConfigError(f"'{name[:80]}': expected a model with a dataset, "
                          f'one of {", ".join(mine)}')
    close = difflib.get_close_matches(asked, [*datasets, *shipped], 1, 0.5)
    hint = f" Did you mean '{close[0]}'?" if close else ''
    raise ConfigError(
        f"'{name[:80]}' is neither a file ending in .yaml nor a configuration "
        f'of the package.{hint} Valid: DATASET or MODEL/DATASET with a '
        f'dataset of {", ".join(datasets)} and a model of '
        f'{", ".join(models)}')


def read_values(name: str) -> Any:
    r"""The plain values of a shipped configuration or of a file.

    Args:
        name (str): ``dataset``, ``model/dataset`` or a path that ends in
            ``.yaml`` or ``.yml``.
    """
    if name.lower().endswith(('.yaml', '.yml')):
        try:
            with open_file(user_path(name)) as file:
                data = file.read(4 * MAX_CHARS + 1)
        except (OSError, ValueError) as error:
            reason = getattr(error, 'strerror', None) or error
            raise ConfigError(f"cannot read '{name}': {reason}") from None
    else:
        name = resolve_name(name)
        data = (resources.files('pyg_mmkgc') / 'configs'
                / f'{name}.yaml').read_bytes()
    try:
        # A byte order mark, as some editors write it, is no content.
        text = data.decode('utf-8-sig')
    except UnicodeDecodeError as error:
        raise ConfigError(f"'{name}' is not UTF-8 text: byte {error.start} "
                          'cannot be read') from None
    return parse_yaml(text, f"'{name}'")


def apply_overrides(values: Any, overrides: Iterable[str]) -> Any:
    r"""Sets keys in plain values, in place.

    Args:
        values: Nested dictionaries.
        overrides (list): Items like ``'training.epochs=100'``; what stands
            right of the sign is read as YAML.
    """
    if not isinstance(values, dict):  # An error, which the reader explains.
        return values
    for item in overrides:
        path, sign, text = item.partition('=')
        keys = path.strip().split('.')
        if not sign or not all(keys):
            raise ConfigError("expected KEY=VALUE, as in 'training.epochs="
                              f"100', got '{item[:80]}'")
        node = values
        for i, key in enumerate(keys[:-1]):
            if not isinstance(node, dict):
                raise ConfigError(f"'{path.strip()}': '"
                                  f"{'.'.join(keys[:i])}' has no keys")
            if node.get(key) is None:
                node[key] = {}
            node = node[key]
        if not isinstance(node, dict):
            raise ConfigError(f"'{path.strip()}': "
                              f"'{'.'.join(keys[:-1])}' has no keys")
        node[keys[-1]] = parse_yaml(text, f"the value of '{path.strip()}'")
    return values


def load_config(name: str, overrides: Sequence[str] = ()) -> Config:
    r"""Reads, overrides and checks a configuration.

    .. code-block:: python

        config = load_config('mkg_w', ['training.epochs=10'])

    Args:
        name (str): ``dataset``, ``model/dataset`` or the path of a YAML
            file.
        overrides (list, optional): Items like ``'training.epochs=100'``.

    Raises:
        ConfigError: If the file cannot be read, or on an unknown key, a
            wrong type, a value out of range or an unknown name.
    """
    try:
        return Config.from_dict(apply_overrides(read_values(name), overrides))
    except ConfigError as error:
        raise ConfigError(f"{error} (in '{name}')") from None


def dump_config(config: Config) -> str:
    r"""Returns a configuration as YAML text, every default written out."""
    return dump_yaml(config.to_dict())


def save_config(config: Config, path: Any) -> None:
    r"""Writes a configuration that :func:`load_config` reads as equal."""
    write_atomic(path, dump_config(config))
