r"""Checks of plain values against type hints."""

from __future__ import annotations

import difflib
import sys
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Literal, Union, get_args, get_origin

from pyg_mmkgc.errors import ConfigError, MMKGCError

_NAMES = {int: 'an integer', float: 'a finite number', bool: 'a boolean',
          str: 'a string', types.NoneType: 'null'}


def nearest(name: str, valid: Iterable[str]) -> str:
    r"""Returns ``" Did you mean 'x'? Valid: ..."`` for an error message."""
    lower = {item.lower(): item for item in valid}
    close = difflib.get_close_matches(name.lower(), list(lower), 1, 0.5)
    hint = f" Did you mean '{lower[close[0]]}'?" if close else ''
    return f'{hint} Valid: {", ".join(sorted(lower.values())) or "none"}.'


def check_keys(given: Iterable[str], valid: Iterable[str], path: str) -> None:
    r"""Raises :class:`~pyg_mmkgc.errors.ConfigError` on the first key of a
    section that is not valid.
    """
    valid = list(valid)
    for key in given:
        if key not in valid:
            full = f'{path}.{key}' if path else key
            raise ConfigError(f"Expected a known key (got '{full}')."
                              f'{nearest(str(key), valid)}')


@contextmanager
def located(section: str, keys: Iterable[str], **paths: str) -> Iterator[None]:
    r"""Context manager that adds the path of a key to the error of a
    constructor that rejects its value.

    Args:
        section (str): The section of the configuration.
        keys (list[str]): The arguments of the constructor that are keys of
            the section.
        **paths (str): The paths of other arguments.
    """
    paths = {key: f'{section}.{key}' for key in keys} | paths
    try:
        yield
    except MMKGCError as error:
        text, got, value = str(error).partition(' (got ')
        if not text.startswith(tuple(f"Expected '{key}'" for key in paths)):
            raise
        for key, path in paths.items():
            text = text.replace(f"'{key}'", f"'{path}'")
        raise ConfigError(text + got + value) from None


def is_plain(hint: Any) -> bool:
    r"""Returns :obj:`True` if a YAML file can hold values of a type."""
    kind, args = get_origin(hint) or hint, get_args(hint)
    if kind in (Union, types.UnionType):
        return any(is_plain(arg) for arg in args if arg is not types.NoneType)
    return kind in (Any, Literal, int, float, bool, str) or (
        _is(kind, Mapping, Sequence)
        and all(is_plain(arg) for arg in args if arg is not Ellipsis))


def plain_value(value: Any) -> Any:
    r"""Replaces tuples by lists, as a YAML file holds them."""
    if isinstance(value, Mapping):
        return {key: plain_value(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain_value(item) for item in value]
    return value


def coerce(value: Any, hint: Any, path: str) -> Any:
    r"""Converts a plain value to the type of a hint. Integers become floats
    where the hint asks for floats, and tuples become lists. All other values
    must have the type already.

    Args:
        value (Any): A scalar, list or dictionary.
        hint (Any): The type hint.
        path (str): The path of the key, which an error names.
    """
    kind, args = get_origin(hint) or hint, get_args(hint)
    if kind in (Union, types.UnionType):
        choices = [arg for arg in args if arg is not types.NoneType]
        if value is None and len(choices) < len(args):
            return None
        if len(choices) == 1:  # Its error is the most precise.
            return coerce(value, choices[0], path)
        # The exact type comes first, so 3 stays an integer if both are valid.
        for choice in sorted(choices, key=lambda arg: arg is not type(value)):
            with suppress(ConfigError):
                return coerce(value, choice, path)
    elif kind is float:
        if (type(value) in (int, float)
                and abs(value) <= sys.float_info.max):
            return float(value)
    elif kind is Any or kind in _NAMES and type(value) is kind or (
            kind is Literal and (type(value), value) in [
                (type(arg), arg) for arg in args]):
        return value
    elif _is(kind, Mapping) and isinstance(value, Mapping):
        return {key: coerce(item, args[1] if args else Any, f'{path}.{key}')
                for key, item in value.items()}
    elif _is(kind, Sequence) and isinstance(value, (list, tuple)):
        return [coerce(item, args[0] if args else Any, f'{path}[{i}]')
                for i, item in enumerate(value)]
    raise ConfigError(f"Expected '{path}' to be {_describe(hint)} (got "
                      f'{value!r:.60})')


def _is(kind: Any, *bases: type) -> bool:
    return isinstance(kind, type) and kind is not str and issubclass(
        kind, bases)


def _describe(hint: Any) -> str:
    kind, args = get_origin(hint) or hint, get_args(hint)
    if kind in (Union, types.UnionType):
        return ' or '.join(_describe(arg) for arg in args
                           if arg is types.NoneType or is_plain(arg))
    if kind is Literal:
        return ' or '.join(map(repr, args))
    if _is(kind, Mapping):
        return 'a mapping'
    if _is(kind, Sequence):
        return 'a list'
    return _NAMES.get(kind, str(kind))
