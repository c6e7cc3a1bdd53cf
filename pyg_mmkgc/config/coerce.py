r"""Checks plain values against type hints, with the key's path in errors."""

from __future__ import annotations

import difflib
import math
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import (
    Annotated,
    Any,
    Literal,
    Union,
    get_args,
    get_origin,
)

from pyg_mmkgc.errors import ConfigError


@dataclass(frozen=True)
class Range:
    r"""Bounds of a number, for use in :obj:`typing.Annotated`."""

    gt: float | None = None
    ge: float | None = None
    lt: float | None = None
    le: float | None = None

    def check(self, value: Any, path: str) -> None:
        r"""Raises if a number is outside the bounds."""
        ok = ((self.gt is None or value > self.gt)
              and (self.ge is None or value >= self.ge)
              and (self.lt is None or value < self.lt)
              and (self.le is None or value <= self.le))
        if not ok:
            raise ConfigError(f"'{path}': expected a value {self}, got "
                              f'{value!r}')

    def __str__(self) -> str:
        bounds = [('>', self.gt), ('>=', self.ge), ('<', self.lt),
                  ('<=', self.le)]
        return ' and '.join(f'{sign} {bound:g}' for sign, bound in bounds
                            if bound is not None)


@dataclass(frozen=True)
class Choice:
    r"""The valid strings, for use in :obj:`typing.Annotated`."""

    valid: tuple[str, ...]

    def check(self, value: Any, path: str) -> None:
        r"""Raises on a string, or one in a list, that is not valid."""
        for item in [value] if isinstance(value, str) else value:
            if item not in self.valid:
                raise ConfigError(f"'{path}': '{item[:60]}' is not known."
                                  f'{nearest(item[:60], self.valid)}')


def nearest(name: str, valid: Iterable[str]) -> str:
    r"""``' Did you mean 'x'? Valid: ...'`` for an error message."""
    valid = list(valid)
    lower = {item.lower(): item for item in valid}
    close = difflib.get_close_matches(name.lower(), list(lower), 1, 0.5)
    hint = f" Did you mean '{lower[close[0]]}'?" if close else ''
    return f'{hint} Valid: {", ".join(sorted(valid)) or "none"}.'


def check_keys(given: Iterable[Any], valid: Iterable[str], path: str) -> None:
    r"""Raises on the first key that is not valid."""
    valid = list(valid)
    for key in given:
        if key not in valid:
            full = f'{path}.{key}' if path else str(key)
            raise ConfigError(f"'{full}' is not a known key."
                              f'{nearest(str(key), valid)}')


def _name(hint: Any) -> str:
    if hint is type(None):
        return 'null'
    origin = get_origin(hint)
    if origin is Annotated:
        return _name(get_args(hint)[0])
    if origin is Literal:
        names = ', '.join(repr(a) for a in get_args(hint))
        return f'one of {names}' if len(get_args(hint)) > 1 else names
    if origin in (Union, types.UnionType):
        return ' or '.join(_name(a) for a in get_args(hint))
    if origin is not None and issubclass(origin, Mapping):
        return 'a mapping'
    if origin is not None and issubclass(origin, Sequence):
        return 'a list of ' + _name(get_args(hint)[0])
    return getattr(hint, '__name__', str(hint))


def _wrong(value: Any, hint: Any, path: str) -> ConfigError:
    shown = repr(value)
    if len(shown) > 60:
        shown = shown[:60] + '...'
    return ConfigError(f"'{path}': expected {_name(hint)}, got {shown}"
                       + ('' if value is None else
                          f' ({type(value).__name__})'))


def coerce(value: Any, hint: Any, path: str) -> Any:
    r"""Returns :obj:`value` as the type that :obj:`hint` asks for.

    The only conversions are from an integer to a float and between lists
    and tuples; everything else has to be of the right type already.

    Args:
        value: A plain value: a scalar, a list or a dictionary.
        hint: A type hint.
        path (str): The dotted path of the key, for the error.
    """
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin is Annotated:
        out = coerce(value, args[0], path)
        for extra in args[1:]:
            if isinstance(extra, (Range, Choice)) and out is not None:
                extra.check(out, path)
        return out
    if origin in (Union, types.UnionType):
        return _union(value, hint, path)
    if origin is Literal:
        if any(value == a and type(value) is type(a) for a in args):
            return value
        raise _wrong(value, hint, path)
    if hint is None or hint is type(None):
        if value is None:
            return None
        raise _wrong(value, type(None), path)
    if hint is float and type(value) in (int, float):
        return _finite(value, path)
    if hint in (int, bool, str):
        if type(value) is hint and (hint is not int or abs(value) < 1 << 63):
            return value
        raise _wrong(value, hint, path)
    kind = origin or hint
    if isinstance(kind, type) and issubclass(kind, Mapping):
        return _mapping(value, hint, path)
    if isinstance(kind, type) and issubclass(kind, Sequence):
        return _sequence(value, hint, path)
    raise _wrong(value, hint, path)


def _finite(value: Any, path: str) -> float:
    try:
        out = float(value)
    except OverflowError:
        out = math.inf
    if not math.isfinite(out):
        raise ConfigError(f"'{path}': expected a finite number, got "
                          f'{str(value)[:40]}')
    return out


def _union(value: Any, hint: Any, path: str) -> Any:
    args = get_args(hint)
    if value is None and type(None) in args:
        return None
    choices = [a for a in args if a is not type(None)]
    # An exact match first: 3 stays an integer where int and float both fit.
    choices.sort(key=lambda a: a is not type(value))
    errors = []
    for choice in choices:
        try:
            return coerce(value, choice, path)
        except ConfigError as error:
            errors.append(error)
    # One real alternative beside null: its own message says more.
    raise errors[0] if len(choices) == 1 else _wrong(value, hint, path)


def _mapping(value: Any, hint: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise _wrong(value, hint, path)
    _, item = get_args(hint) or (str, Any)
    return {coerce(k, str, f'{path}.{k}'): coerce(v, item, f'{path}.{k}')
            for k, v in value.items()}


def _sequence(value: Any, hint: Any, path: str) -> Any:
    if not isinstance(value, (list, tuple)):
        raise _wrong(value, hint, path)
    item = (get_args(hint) or (Any,))[0]
    return [coerce(v, item, f'{path}[{i}]') for i, v in enumerate(value)]
