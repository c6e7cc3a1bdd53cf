from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from pyg_mmkgc.data.knowledge_graph import KnowledgeGraph


def find_problems(kg: KnowledgeGraph) -> Iterator[str]:
    r"""Yields what is broken in a knowledge graph, one sentence each.

    Args:
        kg (KnowledgeGraph): The graph.
    """
    for key in ['num_nodes', 'num_relations']:
        value = getattr(kg, key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            yield f"'{key}' must be a positive int (got {value!r})"
            return  # Nothing below can be checked.

    if 'edge_index' not in kg or 'edge_type' not in kg:
        yield "a knowledge graph needs 'edge_index' and 'edge_type'"
        return
    yield from _triples(kg, 'edge_index', 'edge_type')
    if kg.num_edges == 0:
        yield 'the graph has no triples'
    if not _is_sampled(kg) and ('filter_edge_index' in kg
                                or 'filter_edge_type' in kg):
        yield from _triples(kg, 'filter_edge_index', 'filter_edge_type')
    yield from _splits(kg)
    for key, size in [('node_names', kg.num_nodes),
                      ('relation_names', kg.num_relations)]:
        if key in kg:
            yield from _names(kg, key, size)
    yield from _modalities(kg)


def _triples(kg: KnowledgeGraph, index_key: str,
             type_key: str) -> Iterator[str]:
    edge_index, edge_type = kg._store.get(index_key), kg._store.get(type_key)
    broken = False
    for key, value, dims in [(index_key, edge_index, 2),
                             (type_key, edge_type, 1)]:
        problem = _not_a(value, torch.long, dims)
        if problem is None and dims == 2 and value.size(0) != 2:
            problem = f'got shape {list(value.shape)}'
        if problem is not None:
            shape = '[2, num_edges]' if dims == 2 else '[num_edges]'
            yield (f"'{key}' must be a tensor of dtype int64 with shape "
                   f"{shape} ({problem})")
            broken = True
    if broken:
        return
    if edge_index.size(1) != edge_type.size(0):
        yield (f"'{index_key}' has {edge_index.size(1)} triples, but "
               f"'{type_key}' has {edge_type.size(0)}")
    yield from _range(index_key, edge_index, kg.num_nodes, 'num_nodes')
    yield from _range(type_key, edge_type, kg.num_relations, 'num_relations')


def _range(key: str, ids: Tensor, size: int, of: str) -> Iterator[str]:
    bad = ((ids < 0) | (ids >= size)).nonzero()
    if bad.size(0) > 0:
        where = tuple(bad[0].tolist())
        yield (f"'{key}' must hold ids from 0 to {size - 1} ({of}={size}), "
               f"but holds {int(ids[where])} at triple {where[-1]} and "
               f"{bad.size(0)} bad ids in all")


def _splits(kg: KnowledgeGraph) -> Iterator[str]:
    taken: Tensor | None = None
    for key in ['train_mask', 'val_mask', 'test_mask']:
        if key not in kg:
            continue
        mask = kg[key]
        problem = _not_a(mask, torch.bool, 1, kg.num_edges)
        if problem is not None:
            yield (f"'{key}' must be a bool tensor with one entry for each "
                   f"of the {kg.num_edges} triples ({problem})")
            continue
        if not bool(mask.any()) and not _is_sampled(kg):
            yield f"the split of '{key}' is empty"
        if taken is not None and bool((taken & mask).any()):
            row = int((taken & mask).nonzero()[0])
            yield f"triple {row} is in more than one split ('{key}' is one)"
        taken = mask if taken is None else taken | mask


def _names(kg: KnowledgeGraph, key: str, size: int) -> Iterator[str]:
    names = kg[key]
    if not isinstance(names, list) or not all(
            isinstance(name, str) for name in names):
        yield f"'{key}' must be a list of str (got {type(names).__name__})"
        return
    if len(names) != size and not (key == 'node_names' and _is_sampled(kg)):
        yield f"'{key}' must hold {size} names (got {len(names)})"
    if len(set(names)) != len(names):
        first: dict[str, int] = {}
        for row, name in enumerate(names):
            if first.setdefault(name, row) != row:
                yield (f"'{key}' holds {name!r} twice, at rows "
                       f"{first[name]} and {row}")
                return


def _modalities(kg: KnowledgeGraph) -> Iterator[str]:
    if kg.get('x') is not None:
        yield ("'x' is no modality, and no model would see it: name it "
               "'x_<modality>', as 'x_visual'")
    for key in kg._store.keys():
        if key.startswith('mask_') and key[5:] not in kg.modalities:
            yield (f"'{key}' belongs to no modality: known are "
                   f"{kg.modalities}")
    for name, x in kg.features().items():
        if name == '' or '.' in name:
            yield (f"a modality needs a name without a dot (got {name!r} in "
                   f"'x_{name}')")
        if name == 'structure':
            yield ("'structure' is the modality that a model learns itself: "
                   "give 'x_structure' another name")
        yield from _features(kg, name, x)


def _features(kg: KnowledgeGraph, name: str, x: Any) -> Iterator[str]:
    what = f"features 'x_{name}' of modality '{name}'"
    if not isinstance(x, Tensor) or x.dim() not in (2, 3) \
            or 0 in x.shape[1:] \
            or x.layout != torch.strided or not x.is_floating_point():
        got = f'{x.dtype} {list(x.shape)}, {x.layout}' \
            if isinstance(x, Tensor) else type(x).__name__
        yield (f'{what} must be a dense floating-point tensor with shape '
               f'[num_nodes, num_channels], or [num_nodes, num_instances, '
               f'num_channels] where a node has several (got {got})')
        return
    if x.size(0) != kg.num_nodes:
        yield f'{what} must have {kg.num_nodes} rows (got {x.size(0)})'
        return
    # A sum is finite only if all its terms are, and needs no mask in memory:
    rows = (~x.float().flatten(1).sum(dim=1).isfinite()).nonzero().view(-1)
    rows = rows[~x[rows].flatten(1).isfinite().all(dim=1)]
    if rows.numel() > 0:
        row = int(rows[0])
        label = f' ({kg.node_names[row]!r})' \
            if 'node_names' in kg and not _is_sampled(kg) else ''
        kind = 'NaN' if bool(x[row].isnan().any()) else 'infinite'
        yield (f'{what} must be finite: row {row}{label} is {kind}, '
               f'{rows.numel()} such rows in all')
        return
    mask = kg._store.get(f'mask_{name}')
    if mask is not None:
        problem = _not_a(mask, torch.bool, 1, kg.num_nodes)
        if problem is not None and x.dim() == 3:
            problem = _not_a(mask, torch.bool, 2, kg.num_nodes)
            if problem is None and mask.shape != x.shape[:2]:
                problem = f'got shape {list(mask.shape)}'
        if problem is not None:
            yield (f"'mask_{name}' must be a bool tensor with one entry for "
                   f"each of the {kg.num_nodes} nodes ({problem})")
            return
        if not bool(mask.any()) and not _is_sampled(kg):
            yield f"'mask_{name}' leaves no row of modality '{name}'"
            return
    present = x if mask is None else x[mask]
    if not bool(present.any()) and not _is_sampled(kg):
        yield f'{what} are all zero'


def _is_sampled(kg: KnowledgeGraph) -> bool:
    # A batch of a neighbor sampler: a split or a modality may be missing in
    # it, and its names and filter are those of the whole graph.
    return 'n_id' in kg


def _not_a(value: Any, dtype: torch.dtype, dims: int,
           size: int | None = None) -> str | None:
    if not isinstance(value, Tensor):
        return f'got {type(value).__name__}'
    if value.dtype != dtype:
        return f'got dtype {value.dtype}'
    if value.dim() != dims or (size is not None and value.size(0) != size):
        return f'got shape {list(value.shape)}'
    return None
