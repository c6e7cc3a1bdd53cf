r"""A reader and a writer of a small, strict subset of YAML.

The subset consists of mappings, sequences, strings, integers, floats, booleans
and null, without tags, aliases, merge keys or duplicate keys. A file can
neither name Python objects nor expand to more than its text. Scalars follow
YAML 1.2's core schema: ``1e-4`` is a number, ``no`` is a string, ``010`` is
not eight.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import yaml

from pyg_mmkgc.errors import ConfigError

MAX_CHARS = 1_000_000
MAX_DEPTH = 20

_PREFIX = 'tag:yaml.org,2002:'
_SCALARS = [
    ('null', r'~|null|Null|NULL|', ['~', 'n', 'N', '']),
    ('bool', r'true|True|TRUE|false|False|FALSE', list('tTfF')),
    ('int', r'[-+]?(0|[1-9][0-9]*)', list('-+0123456789')),
    ('float', r'[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?'
     r'|[-+]?[0-9]+[eE][-+]?[0-9]+', list('-+.0123456789')),
]


class _Loader(yaml.SafeLoader):
    r"""Composes nodes only. :func:`_value` converts them to values."""

    yaml_implicit_resolvers: dict[str, Any] = {}
    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        mark = self.peek_event().start_mark
        if self.check_event(yaml.AliasEvent):
            raise _error('no aliases', 'one', mark)
        if self.depth >= MAX_DEPTH:
            raise _error(f'at most {MAX_DEPTH} levels', 'more', mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers: dict[str, Any] = {}

    def ignore_aliases(self, data: Any) -> bool:
        return True


# Loader and dumper know the same scalars, so the dumper quotes exactly the
# strings that the loader would read as something else.
for _name, _pattern, _first in _SCALARS:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(_PREFIX + _name,
                                     re.compile(f'^(?:{_pattern})$'), _first)


def _error(expected: str, got: str, mark: Any) -> ConfigError:
    return ConfigError(f'Expected {expected} (got {got} in {mark.name}, line '
                       f'{mark.line + 1}, column {mark.column + 1})')


def _integer(text: str) -> int:
    if not -1 << 63 <= int(text) < 1 << 63:
        raise ValueError
    return int(text)


_READ: dict[str, Callable[[str], Any]] = {
    'str': str, 'null': lambda text: None, 'int': _integer, 'float': float,
    'bool': lambda text: {'true': True, 'false': False}[text.lower()]}


def _value(node: yaml.Node, path: str) -> Any:
    tag, mark = node.tag.removeprefix(_PREFIX), node.start_mark
    if isinstance(node, yaml.ScalarNode) and tag in _READ:
        try:
            return _READ[tag](node.value)
        except (KeyError, ValueError):
            kind = 'a 64-bit integer' if tag == 'int' else f'a {tag}'
            raise _error(kind, repr(node.value[:40]), mark) from None
    if isinstance(node, yaml.SequenceNode) and tag == 'seq':
        return [_value(item, f'{path}[{i}]')
                for i, item in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode) or tag != 'map':
        raise _error('no tags', f"'{node.tag[:60]}'", mark)
    out: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = (_value(key_node, path)
               if isinstance(key_node, yaml.ScalarNode) else None)
        if not isinstance(key, str):
            raise _error('a string as a key', f'{key_node.value!s:.40}',
                         key_node.start_mark)
        full = f'{path}.{key}' if path else key
        if key in out:
            raise _error(f"the key '{full}' once", 'it twice, again',
                         key_node.start_mark)
        out[key] = _value(value_node, full)
    return out


def parse_yaml(text: str, name: str = 'the text') -> Any:
    r"""Reads one YAML document.

    Args:
        text (str): The document.
        name (str, optional): The name of the document in errors.
            (default: :obj:`"the text"`)
    """
    if len(text) > MAX_CHARS:
        raise ConfigError(f'Expected at most {MAX_CHARS:,} characters in '
                          f'{name} (got {len(text):,})')
    try:
        loader = _Loader(text)
        loader.name = name
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        at = mark and f'line {mark.line + 1}, column {mark.column + 1}'
        raise ConfigError(f'Expected valid YAML in {name} (got an error in '
                          f'{at}: {error.problem})') from None
    except yaml.YAMLError as error:
        reason = ' '.join(str(error).split())
        raise ConfigError(f'Expected valid YAML in {name} (got an error: '
                          f'{reason})') from None
    return None if node is None else _value(node, '')


def dump_yaml(obj: Any) -> str:
    r"""Returns plain values as text that :func:`parse_yaml` reads as equal."""
    return yaml.dump(obj, Dumper=_Dumper, sort_keys=False,
                     allow_unicode=True, default_flow_style=False)


def dump_value(value: Any) -> str:
    r"""Returns a plain value as one line of YAML."""
    text = yaml.dump([value], Dumper=_Dumper, sort_keys=False,
                     allow_unicode=True, default_flow_style=True,
                     width=math.inf)
    return text.strip()[1:-1]
