r"""What a configuration may name, and with which keywords.

A name is looked up in the explicit lists below and nowhere else; the valid
keywords, their types and their defaults are read from the signature of what
is named, so a new model or sampler needs no line here.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import (
    Annotated,
    Any,
    Literal,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from pyg_mmkgc import datasets, sampler
from pyg_mmkgc.config.coerce import Range, check_keys, coerce, nearest
from pyg_mmkgc.errors import ConfigError
from pyg_mmkgc.nn import kge

#: Bounds of keywords that mean the same wherever they appear.
RANGES = {
    'adv_weight': Range(ge=0),
    'chunk_size': Range(ge=1),
    'generator_channels': Range(ge=1),
    'groups': Range(ge=1),
    'hidden_channels': Range(ge=1),
    'margin': Range(gt=0),
    'noise_channels': Range(ge=1),
    'num_negatives': Range(ge=1),
    'num_nodes': Range(ge=1),
    'num_relations': Range(ge=1),
    'p_norm': Range(gt=0),
    'seed': Range(ge=0),
    'temperature': Range(ge=0),
    'weight': Range(ge=0),
}


@dataclass(frozen=True)
class Option:
    r"""One keyword of a named thing: its type and its default."""

    hint: Any
    default: Any = inspect.Parameter.empty

    @property
    def required(self) -> bool:
        return self.default is inspect.Parameter.empty


@dataclass(frozen=True)
class Component:
    r"""A name with keywords: one section of a configuration."""

    name: str
    options: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        r"""Returns the section as plain values."""
        return {'name': self.name, **self.options}


def is_plain(hint: Any) -> bool:
    r"""Whether a value of this type can be written in a YAML file."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return is_plain(args[0])
    if origin in (Union, types.UnionType):
        return any(is_plain(a) for a in args if a is not type(None))
    if origin is Literal or hint is Any:
        return True
    kind = origin or hint
    if kind in (int, float, bool, str):
        return True
    if isinstance(kind, type) and issubclass(kind, (Mapping, Sequence)):
        return all(is_plain(a) for a in args if a is not Ellipsis)
    return False


def plain_value(value: Any) -> Any:
    r"""Tuples as lists, so that a dumped file reads back as equal."""
    if isinstance(value, (tuple, list)):
        return [plain_value(item) for item in value]
    if isinstance(value, Mapping):
        return {key: plain_value(item) for key, item in value.items()}
    return value


def signature_options(target: Any, skip: Sequence[str]) -> dict[str, Option]:
    r"""The keywords of a callable that a YAML file can set.

    A class that passes ``**kwargs`` on to its base class has the base
    class's keywords, too.
    """
    if not inspect.isclass(target):
        calls = [target]
    else:
        calls = [c.__init__ for c in target.__mro__ if '__init__' in vars(c)]
    out: dict[str, Option] = {}
    for call in calls:
        hints = get_type_hints(call, include_extras=True)
        passes_on = False
        for name, parameter in inspect.signature(call).parameters.items():
            if parameter.kind is parameter.VAR_KEYWORD:
                passes_on = True
            if (parameter.kind in (parameter.VAR_KEYWORD,
                                   parameter.VAR_POSITIONAL)
                    or name in ('self', 'cls') or name in skip):
                continue
            hint = hints.get(name, Any)
            if is_plain(hint) and name not in out:
                if name in RANGES:
                    hint = Annotated[hint, RANGES[name]]
                out[name] = Option(hint, plain_value(parameter.default))
        if not passes_on:
            break
    return out


def read_component(kind: str, values: Any,
                   named: Mapping[str, Callable[..., Any]],
                   skip: Sequence[str] = (),
                   extra: Mapping[str, Option] | None = None) -> Component:
    r"""Checks one section against the signature of what it names.

    Args:
        kind (str): The section's key.
        values: The section as read from the file.
        named (dict): The valid names.
        skip (list, optional): Keywords that the library fills in itself.
        extra (dict, optional): Keywords beside those of the signature.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"'{kind}': expected a mapping with 'name' and "
                          f'keywords, got {values!r}')
    if 'name' not in values:
        raise ConfigError(f"'{kind}.name' is missing."
                          f'{nearest("", named)}')
    name = coerce(values['name'], str, f'{kind}.name')
    if name not in named:
        raise ConfigError(f"'{kind}.name': '{name[:60]}' is not known."
                          f'{nearest(name[:60], named)}')
    options = {**(extra or {}), **signature_options(named[name], skip)}
    check_keys(values, ['name', *options], kind)
    out = {}
    for key, option in options.items():
        path = f'{kind}.{key}'
        if key in values:
            out[key] = coerce(values[key], option.hint, path)
        elif option.required:
            raise ConfigError(f"'{path}' is missing: {name} needs it")
        else:
            out[key] = option.default
    return Component(name, out)


def _listed(module: Any) -> dict[str, Callable[..., Any]]:
    return {name: getattr(module, name) for name in module.__all__
            if inspect.isclass(getattr(module, name))}


def named(kind: str) -> dict[str, Any]:
    r"""What a section may name: the arguments of :func:`read_component`."""
    graph = ('num_nodes', 'num_relations')
    if kind == 'dataset':
        return {
            'named': _listed(datasets),
            'skip': ['transform', 'pre_transform', 'force_reload'],
            'extra': {'root': Option(str | None, None),
                      'modalities': Option(list[str] | None, None)},
        }
    if kind == 'model':
        return {'named': _listed(kge), 'skip': [*graph, 'modalities', 'masks']}
    if kind == 'sampler':
        return {'named': _listed(sampler), 'skip': [*graph, 'seed']}
    raise NotImplementedError(kind)
