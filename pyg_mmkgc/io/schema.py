r"""Untrusted JSON, parsed strictly and checked against a small schema."""
from __future__ import annotations

import json
import math
from typing import Any

from pyg_mmkgc.errors import FormatError

NUMBER = (int, float)


def parse_json(text: str) -> Any:
    r"""Parses JSON in which keys are unique and all numbers are finite.

    Args:
        text (str): The text.

    Raises:
        ValueError: If the text is not such JSON.
    """
    try:
        return json.loads(text, parse_constant=_refuse, parse_float=_number,
                          object_pairs_hook=_object)
    except RecursionError:
        raise ValueError('it is nested too deeply') from None


def check_schema(value: Any, schema: Any, where: str,
                 error: type[Exception] = FormatError) -> None:
    r"""Checks that a value fits a schema.

    A schema is one of the following:

    * A type, or :obj:`None`. The type :obj:`object` fits any value.
    * A tuple of alternative schemas.
    * A list with the schema of all items.
    * A dictionary from :obj:`str` to the schema of all values.
    * A dictionary with a schema for each key. A key that ends in :obj:`?` may
      be missing, and the key :obj:`...` allows further keys.

    Args:
        value (Any): The value.
        schema (Any): The schema.
        where (str): The description of the value in an error message.
        error (type, optional): The class of the error.
            (default: :class:`~pyg_mmkgc.errors.FormatError`)
    """
    problem = _problem(value, schema, '')
    if problem is not None:
        raise error(f'Expected valid content in {where} (got {problem})')


def _problem(value: Any, schema: Any, path: str) -> str | None:
    if schema is object or (schema is None and value is None):
        return None
    if isinstance(schema, tuple):
        problems = [_problem(value, kind, path) for kind in schema]
        if None in problems:
            return None
        # Only the alternative of the same kind locates the problem.
        nested = [p for p, kind in zip(problems, schema, strict=True)
                  if isinstance(kind, (list, dict))
                  and isinstance(value, type(kind))]
        return nested[0] if nested else _wrong(value, schema, path)
    if isinstance(schema, list) and isinstance(value, list):
        if isinstance(schema[0], type) and (
                set(map(type, value)) == {schema[0]}):
            return None  # Fast for long lists of strings.
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
            return f"no key '{_join(path, key)}'"
    rest = schema.get(str, schema.get(...))
    for key, item in value.items():
        if key not in kinds and rest is None:
            return f'the unknown key {_join(path, key)!r:.80}'
        problem = _problem(item, kinds.get(key, rest), _join(path, key))
        if problem is not None:
            return problem
    return None


def _wrong(value: Any, schema: Any, path: str) -> str:
    at = f"{_name(schema)} as '{path:.80}'" if path else \
        f'{_name(schema)}'
    shown = '' if isinstance(value, (list, dict)) else f' {value!r:.60}'
    return f'{type(value).__name__}{shown} instead of {at}'


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
    raise ValueError(f'{constant} is not a JSON number')


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f'{text:.40} does not fit into a float')
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f'the key {key!r:.80} occurs twice')
            seen.add(key)
    return out
