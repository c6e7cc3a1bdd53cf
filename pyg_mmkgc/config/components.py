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
from functools import cache
from typing import (
    Annotated,
    Any,
    Literal,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import torch_geometric.nn.kge as pyg_kge
from torch_geometric.data import Dataset

from pyg_mmkgc import datasets, nn, sampler, training
from pyg_mmkgc.config.coerce import (
    Choice,
    Range,
    check_keys,
    coerce,
    nearest,
)
from pyg_mmkgc.data.tsv import from_tsv
from pyg_mmkgc.errors import ConfigError
from pyg_mmkgc.kernels.relational import MESSAGES, REDUCTIONS
from pyg_mmkgc.nn import kge
from pyg_mmkgc.nn import path as paths
from pyg_mmkgc.nn.adversarial import KINDS, PARITY
from pyg_mmkgc.nn.encoder import MISSING
from pyg_mmkgc.nn.kge.mose import ENSEMBLES

#: Limits of keywords that mean the same wherever they appear.
LIMITS: dict[str, Range | Choice] = {
    'attention_channels': Range(ge=1),
    'beta': Range(ge=0, le=1),
    'block_size': Range(ge=2),
    'chunk_size': Range(ge=1),
    'contrast': Range(ge=0),
    'coverage': Range(gt=0, le=1),
    'ensemble': Choice(ENSEMBLES),
    'epsilon': Range(gt=0),
    'exploration': Range(gt=0),
    'forget': Range(ge=0, le=1),
    'form': Choice(('official', 'port')),
    'fusion': Choice(('adaptive', 'shared', 'mean')),
    'generator_channels': Range(ge=1),
    'groups': Range(ge=1),
    'hidden_channels': Range(ge=1),
    'kinds': Choice(KINDS),
    'l3': Range(ge=0),
    'label_smoothing': Range(ge=0, lt=1),
    'margin': Range(gt=0),
    'message': Choice(MESSAGES),
    'missing': Choice(MISSING),
    'n3': Range(ge=0),
    'noise': Range(ge=0),
    'noise_channels': Range(ge=1),
    'norm': Choice(('constraint', 'score', 'none')),
    'num_active': Range(ge=1),
    'num_candidates': Range(ge=1),
    'num_edges': Range(ge=1),
    'num_layers': Range(ge=1),
    'num_negatives': Range(ge=1),
    'num_nodes': Range(ge=2),
    'num_relations': Range(ge=1),
    'p_norm': Range(gt=0),
    'parity': Choice(PARITY),
    'reduce': Choice(REDUCTIONS),
    'refresh': Range(ge=1),
    'scale': Range(gt=0),
    'seed': Range(ge=0),
    'temperature': Range(ge=0),
    'test_ratio': Range(ge=0, lt=1),
    'val_ratio': Range(ge=0, lt=1),
    'valid': Choice(('clean', 'official')),
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


@cache
def signature_options(target: Callable[..., Any],
                      skip: tuple[str, ...]) -> Mapping[str, Option]:
    r"""The keywords of a callable that a YAML file can set.

    What passes ``**kwargs`` on also has the keywords of where they go: a
    class method those of its class, a class those of its base class.
    """
    owner = target if inspect.isclass(target) else getattr(
        target, '__self__', None)
    calls = [] if owner is target else [target]
    if inspect.isclass(owner):
        calls += [vars(c)['__init__'] for c in owner.__mro__
                  if '__init__' in vars(c)]
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
                if name in LIMITS:
                    hint = Annotated[hint, LIMITS[name]]
                out[name] = Option(hint, plain_value(parameter.default))
        if not passes_on:
            break
    return out


def read_component(kind: str, values: Any, skip: Sequence[str] = (),
                   extra: Mapping[str, Option] | None = None) -> Component:
    r"""Checks one section against the signature of what it names.

    Args:
        kind (str): The section's key.
        values: The section as read from the file.
        skip (list, optional): Keywords that the library fills in itself.
        extra (dict, optional): Keywords beside, or instead of, those of the
            signature.
    """
    known = valid_names(kind)
    if not isinstance(values, Mapping):
        raise ConfigError(f"'{kind}': expected a mapping with 'name' and "
                          f'keywords, got {values!r}')
    if 'name' not in values:
        raise ConfigError(f"'{kind}.name' is missing.{nearest('', known)}")
    name = coerce(values['name'], str, f'{kind}.name')
    if name not in known:
        raise ConfigError(f"'{kind}.name': '{name[:60]}' is not known."
                          f'{nearest(name[:60], known)}')
    options = {**signature_options(known[name], tuple(skip)), **(extra or {})}
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


def _listed(module: Any, *bases: type) -> dict[str, Callable[..., Any]]:
    found = {name: getattr(module, name) for name in module.__all__}
    return {name: item for name, item in found.items()
            if inspect.isclass(item) and issubclass(item, bases)
            and item not in bases}


def valid_names(kind: str) -> dict[str, Callable[..., Any]]:
    r"""What a section may name. PyG's own models are called ``PyG.TransE``
    and so on, because this library's of the same name may differ.
    """
    if kind == 'dataset':
        graphs = _listed(datasets, Dataset, datasets.MMKGDataset)
        return {**graphs, 'TSV': from_tsv}
    if kind == 'model':
        theirs = _listed(pyg_kge, pyg_kge.KGEModel)
        return {**_listed(kge, kge.MMKGEModel, kge.QueryModel),
                **_listed(paths, paths.PathModel),
                **{f'PyG.{name}': item for name, item in theirs.items()}}
    if kind == 'sampler':
        return _listed(sampler, sampler.NegativeSampler)
    if kind == 'loss':
        return {item.__name__: item for item in (
            nn.SelfAdversarialLoss, nn.MarginRankingLoss, nn.BCELoss,
            nn.OneVsAllLoss, nn.KvsAllLoss)}
    found = _listed(training, training.Adversary)
    return {name: item.from_model  # type: ignore[attr-defined]
            for name, item in found.items()}


def model_rules(name: str) -> dict[str, Any]:
    r"""The arguments of :func:`read_component` for the model of a name. What
    is skipped comes from the graph, or is used in a plain PyG loop only.
    """
    counts = ['num_nodes', 'num_relations']
    target: Any = valid_names('model').get(name, paths.PathModel)
    if not issubclass(target, paths.PathModel):
        return {'skip': [*counts, 'num_negatives', 'adv_weight']}
    extra = ({'pretrained': Option(str | None, None)}
             if target is paths.ULTRA else {})
    return {'skip': counts, 'extra': extra}


def takes_all_nodes(loss: Component) -> bool:
    r"""Whether a loss is one on the scores of all nodes."""
    return issubclass(valid_names('loss')[loss.name],  # type: ignore[arg-type]
                      nn.AllNodesLoss)
