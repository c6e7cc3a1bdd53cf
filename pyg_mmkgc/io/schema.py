r"""JSON of strangers: read strictly, and checked against a small schema."""
from __future__ import annotations

import json
import math
from typing import Any

from pyg_mmkgc.errors import FormatError

NUMBER = (int, float)


def parse_json(text: str) -> Any:
    r"""Reads JSON in which every key comes once and every number is finite.

    Args:
        text (str): The text.

    Raises:
        ValueError: If it is anything else.
    """
    try:
        return json.loads(text, parse_constant=_refuse, parse_float=_number,
                          object_pairs_hook=_object)
    except RecursionError:
        raise ValueError('it is nested too deeply') from None


def check_schema(value: Any, schema: Any, where: str,
                 error: type[Exception] = FormatError) -> None:
    r"""Checks a plain value.

    A schema is a type, :obj:`None`, :obj:`object` for any value, a tuple of
    alternatives, a list with the schema of all items, a dictionary from
    :obj:`str` to the schema of all values, or one with a schema for each
    key; a key that ends in :obj:`?` may be missing, and the key :obj:`...`
    allows others.

    Args:
        value (Any): The value.
        schema (Any): The schema.
        where (str): What to call the value in an error.
        error (type, optional): The class of the error.
            (default: :class:`~pyg_mmkgc.errors.FormatError`)
    """
    problem = _problem(value, schema, '')
    if problem is not None:
        raise error(f'{where}: {problem}')


def _problem(value: Any, schema: Any, path: str) -> str | None:
    if schema is object or (schema is None and value is None):
        return None
    if isinstance(schema, tuple):
        problems = [_problem(value, kind, path) for kind in schema]
        if None in problems:
            return None
        # Of the one that is a list or dictionary as the value is.
        nested = [p for p, kind in zip(problems, schema, strict=True)
                  if isinstance(kind, (list, dict))
                  and isinstance(value, type(kind))]
        return nested[0] if nested else _wrong(value, schema, path)
    if isinstance(schema, list) and isinstance(value, list):
        if isinstance(schema[0], type) and (
                set(map(type, value)) == {schema[0]}):
            return None  # A long list of strings.
        for i, item in enumerate(value):
            problem = _problem(item, schema[0], f'{path}[{i}]')
            if problem is not None:
                return problem
        return None
    if isinstance(schema, dict) and isinstance(value, dict):
        return _object_problem(value, schema, path)
    if isinstance(schema, type) and isinstance(value, schema) and (
            schema is bool or not isinstance(value, bool)):
        return None
    return _wrong(value, schema, path)


def _object_problem(value: dict[str, Any], schema: dict[Any, Any],
                    path: str) -> str | None:
    named = [key for key in schema if key not in (str, ...)]
    kinds = {key.removesuffix('?'): schema[key] for key in named}
    for key in named:
        if not key.endswith('?') and key not in value:
            return f"expected the key '{_join(path, key)}', got none"
    rest = schema.get(str, schema.get(...))
    for key, item in value.items():
        if key not in kinds and rest is None:
            return f'unexpected key {_join(path, key)!r:.80}'
        problem = _problem(item, kinds.get(key, rest), _join(path, key))
        if problem is not None:
            return problem
    return None


def _wrong(value: Any, schema: Any, path: str) -> str:
    at = f"expected {_name(schema)} as '{path:.80}'" if path else \
        f'expected {_name(schema)}'
    shown = '' if isinstance(value, (list, dict)) else f' {value!r:.60}'
    return f'{at}, got {type(value).__name__}{shown}'


def _name(schema: Any) -> str:
    if isinstance(schema, tuple):
        return ' or '.join(dict.fromkeys(map(_name, schema)))
    names = {str: 'a string', int: 'an integer', float: 'a number',
             bool: 'true or false', None: 'null'}
    if isinstance(schema, (list, dict)):
        return 'a list' if isinstance(schema, list) else 'an object'
    return names.get(schema, getattr(schema, '__name__', str(schema)))


def _join(path: str, key: str) -> str:
    return f'{path}.{key}' if path else key


def _refuse(constant: str) -> Any:
    raise ValueError(f'{constant} is no JSON number')


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f'{text:.40} is larger than any number')
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f'the key {key!r:.80} comes twice')
            seen.add(key)
    return out
