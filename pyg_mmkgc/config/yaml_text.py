r"""A small, strict subset of YAML: text to plain Python values and back.

Only mappings, sequences, strings, integers, floats, booleans and null. There
are no tags, no aliases, no merge keys and no duplicate keys, so a file can
neither name Python objects nor explode. Scalars follow YAML 1.2's core
schema: ``1e-4`` is a number, ``no`` is a string, ``010`` is not eight.
"""

from __future__ import annotations

import re
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
    r"""Composes nodes only; :func:`_value` turns them into values."""

    yaml_implicit_resolvers: dict[str, Any] = {}
    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise ConfigError(f'aliases are not allowed, got one in '
                              f'{_where(mark)}')
        if self.depth >= MAX_DEPTH:
            mark = self.peek_event().start_mark
            raise ConfigError(f'expected at most {MAX_DEPTH} levels, got '
                              f'more in {_where(mark)}')
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers: dict[str, Any] = {}

    def ignore_aliases(self, data: Any) -> bool:
        return True


# The dumper quotes exactly those strings that the loader would read as
# something else, because both know the same scalars.
for _name, _pattern, _first in _SCALARS:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(_PREFIX + _name,
                                     re.compile(f'^(?:{_pattern})$'), _first)


def _where(mark: Any) -> str:
    return f'{mark.name}, line {mark.line + 1}, column {mark.column + 1}'


def _scalar(node: yaml.ScalarNode) -> Any:
    tag, text = node.tag.removeprefix(_PREFIX), node.value
    try:
        if tag == 'str':
            return text
        if tag == 'null':
            return None
        if tag == 'bool':
            return {'true': True, 'false': False}[text.lower()]
        if tag == 'int':
            return int(text)
        if tag == 'float':
            return float(text)
    except (KeyError, ValueError):
        raise ConfigError(f"'{text[:40]}' is not of type {tag}, in "
                          f'{_where(node.start_mark)}') from None
    raise ConfigError(f"tags are not allowed, got '{node.tag[:60]}' in "
                      f'{_where(node.start_mark)}')


def _value(node: yaml.Node, path: str) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node)
    kind = 'map' if isinstance(node, yaml.MappingNode) else 'seq'
    if node.tag != _PREFIX + kind:
        raise ConfigError(f"tags are not allowed, got '{node.tag[:60]}' in "
                          f'{_where(node.start_mark)}')
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, f'{path}[{i}]')
                for i, item in enumerate(node.value)]
    out: dict[str, Any] = {}
    for key_node, value_node in node.value:
        where = _where(key_node.start_mark)
        key = (_scalar(key_node)
               if isinstance(key_node, yaml.ScalarNode) else None)
        if not isinstance(key, str):
            raise ConfigError(f'expected a string as key, got '
                              f"'{str(key_node.value)[:40]}' in {where}")
        full = f'{path}.{key}' if path else key
        if key in out:
            raise ConfigError(f"the key '{full}' is given twice, again in "
                              f'{where}')
        out[key] = _value(value_node, full)
    return out


def parse_yaml(text: str, name: str = 'the text') -> Any:
    r"""Reads one YAML document.

    Args:
        text (str): The document.
        name (str, optional): What to call it in an error.
    """
    if len(text) > MAX_CHARS:
        raise ConfigError(f'expected at most {MAX_CHARS:,} characters, got '
                          f'{len(text):,} in {name}')
    try:
        loader = _Loader(text)
        loader.name = name
        node = loader.get_single_node()
    except yaml.YAMLError as error:
        reason = ' '.join(str(error).split())
        raise ConfigError(f'{name} is not valid YAML: {reason}') from None
    return None if node is None else _value(node, '')


def dump_yaml(obj: Any) -> str:
    r"""The inverse of :func:`parse_yaml` for plain values."""
    return yaml.dump(obj, Dumper=_Dumper, sort_keys=False,
                     allow_unicode=True, default_flow_style=False)
