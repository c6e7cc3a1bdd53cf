from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from pyg_mmkgc.data.knowledge_graph import KnowledgeGraph


# The number of rows of features that are read at once.
ROWS = 1 << 15
NO_TRIPLES = "Expected 'edge_index' and 'edge_type' in the graph (got none)"


def find_problems(kg: KnowledgeGraph) -> Iterator[str]:
    r"""Yields a message for each problem of a knowledge graph.

    Args:
        kg (KnowledgeGraph): The graph.
    """
    for key in ['num_nodes', 'num_relations']:
        value = getattr(kg, key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            yield f"Expected '{key}' to be a positive integer (got {value!r})"
            return  # The checks below need it.

    if 'edge_index' not in kg or 'edge_type' not in kg:
        yield NO_TRIPLES
        return
    yield from _triples(kg, 'edge_index', 'edge_type')
    if kg.num_edges == 0:
        yield 'Expected a graph with triples (got none)'
    if not _is_sampled(kg) and ('filter_edge_index' in kg
                                or 'filter_edge_type' in kg):
        yield from _triples(kg, 'filter_edge_index', 'filter_edge_type')
    yield from _splits(kg)
    for key, size in [('node_names', kg.num_nodes),
                      ('node_ids', kg.num_nodes),
                      ('relation_names', kg.num_relations)]:
        if key in kg:
            yield from _names(kg, key, size)
    yield from _modalities(kg)


def _triples(kg: KnowledgeGraph, index_key: str,
             type_key: str) -> Iterator[str]:
    edge_index, edge_type = kg._store.get(index_key), kg._store.get(type_key)
    broken = False
    for key, value in [(index_key, edge_index), (type_key, edge_type)]:
        problem = not_ids(key, value)
        if problem is not None:
            yield problem
            broken = True
    if broken:
        return
    if edge_index.size(1) != edge_type.size(0):
        yield (f"Expected '{type_key}' to have {edge_index.size(1)} triples, "
               f"like '{index_key}' (got {edge_type.size(0)})")
    yield from _range(index_key, edge_index, kg.num_nodes, 'num_nodes')
    yield from _range(type_key, edge_type, kg.num_relations, 'num_relations')


def not_ids(key: str, value: Any) -> str | None:
    r"""Returns the problem of a value that cannot hold the ids of triples.

    Args:
        key (str): The name of the attribute, which ends with
            :obj:`edge_index` or :obj:`edge_type`.
        value (Any): The value.
    """
    dims = 2 if key.endswith('edge_index') else 1
    problem = _not_a(value, torch.long, dims)
    if problem is None and dims == 2 and value.size(0) != 2:
        problem = f'got shape {list(value.shape)}'
    if problem is None:
        return None
    shape = '[2, num_edges]' if dims == 2 else '[num_edges]'
    return (f"Expected '{key}' to be a tensor of dtype int64 with shape "
            f'{shape} ({problem})')


def _range(key: str, ids: Tensor, size: int, of: str) -> Iterator[str]:
    bad = ((ids < 0) | (ids >= size)).nonzero()
    if bad.size(0) > 0:
        where = tuple(bad[0].tolist())
        yield (f"Expected '{key}' to hold ids from 0 to {size - 1}, since "
               f"{of}={size} (got {int(ids[where])} at triple {where[-1]}, "
               f"and {bad.size(0)} invalid ids in total)")


def _splits(kg: KnowledgeGraph) -> Iterator[str]:
    taken: Tensor | None = None
    for key in ['train_mask', 'val_mask', 'test_mask']:
        if key not in kg:
            continue
        mask = kg[key]
        problem = _not_a(mask, torch.bool, 1, kg.num_edges)
        if problem is not None:
            yield (f"Expected '{key}' to be a bool tensor with one entry for "
                   f"each of the {kg.num_edges} triples ({problem})")
            continue
        if not bool(mask.any()) and not _is_sampled(kg):
            yield f"Expected triples in the split of '{key}' (got none)"
        if taken is not None and bool((taken & mask).any()):
            row = int((taken & mask).nonzero()[0])
            yield ("Expected every triple in at most one split (got triple "
                   f"{row} in '{key}' and another one)")
        taken = mask if taken is None else taken | mask


def _names(kg: KnowledgeGraph, key: str, size: int) -> Iterator[str]:
    names = kg[key]
    if not isinstance(names, list) or not all(
            isinstance(name, str) for name in names):
        yield (f"Expected '{key}' to be a list of str (got "
               f"{type(names).__name__})")
        return
    if len(names) != size and not (key != 'relation_names'
                                   and _is_sampled(kg)):
        yield f"Expected '{key}' to hold {size} names (got {len(names)})"
    if len(set(names)) != len(names) and not (key == 'node_names'
                                              and 'node_ids' in kg):
        first: dict[str, int] = {}
        for row, name in enumerate(names):
            if first.setdefault(name, row) != row:
                yield (f"Expected unique names in '{key}' (got {name!r} at "
                       f"rows {first[name]} and {row})")
                return


def _modalities(kg: KnowledgeGraph) -> Iterator[str]:
    if kg.get('x') is not None:
        yield ("Expected features with a modality, such as 'x_visual' (got "
               "'x', which models ignore). Rename it to 'x_<modality>'.")
    for key in kg._store.keys():
        if key.startswith('mask_') and key[5:] not in kg.modalities:
            yield (f"Expected '{key}' to belong to a modality of the graph "
                   f"(got {kg.modalities})")
    for name, x in kg.features().items():
        if name == '' or '.' in name:
            yield ("Expected a modality to have a name without a dot (got "
                   f"{name!r} in 'x_{name}')")
        if name == 'structure':
            yield ("Expected a modality that models do not learn themselves "
                   "(got 'structure'). Give 'x_structure' another name.")
        yield from _features(kg, name, x)


def not_features(name: str, x: Any) -> str | None:
    r"""Returns the problem of a value that cannot hold features.

    Args:
        name (str): The name of the modality.
        x (Any): The value.
    """
    if isinstance(x, Tensor) and x.dim() in (2, 3) and (
            0 not in x.shape[1:] and x.layout == torch.strided
            and x.is_floating_point()):
        return None
    got = f'{x.dtype} {list(x.shape)}, {x.layout}' \
        if isinstance(x, Tensor) else type(x).__name__
    return (f'Expected {_what(name)} to be a dense floating-point tensor with '
            f'shape [num_nodes, num_channels], or [num_nodes, '
            f'num_instances, num_channels] for nodes with several '
            f'instances (got {got})')


def _what(name: str) -> str:
    return f"features 'x_{name}' of modality '{name}'"


def _features(kg: KnowledgeGraph, name: str, x: Any) -> Iterator[str]:
    what, problem = _what(name), not_features(name, x)
    if problem is not None:
        yield problem
        return
    if x.size(0) != kg.num_nodes:
        yield (f'Expected {what} to have {kg.num_nodes} rows (got '
               f'{x.size(0)})')
        return
    rows = torch.cat([_not_finite(part) + i * ROWS
                      for i, part in enumerate(x.split(ROWS))])
    if rows.numel() > 0:
        row = int(rows[0])
        label = f' ({kg.node_names[row]!r})' \
            if 'node_names' in kg and not _is_sampled(kg) else ''
        kind = 'NaN' if bool(x[row].isnan().any()) else 'infinity'
        yield (f'Expected {what} to be finite (got {kind} in row '
               f'{row}{label}, and {rows.numel()} such rows in total)')
        return
    mask = kg._store.get(f'mask_{name}')
    if mask is not None:
        problem = _not_a(mask, torch.bool, 1, kg.num_nodes)
        if problem is not None and x.dim() == 3:
            problem = _not_a(mask, torch.bool, 2, kg.num_nodes)
            if problem is None and mask.shape != x.shape[:2]:
                problem = f'got shape {list(mask.shape)}'
        if problem is not None:
            yield (f"Expected 'mask_{name}' to be a bool tensor with one "
                   f"entry for each of the {kg.num_nodes} nodes ({problem})")
            return
        if not bool(mask.any()) and not _is_sampled(kg):
            yield (f"Expected 'mask_{name}' to select rows of modality "
                   f"'{name}' (got none)")
            return
    parts: Iterable[Tensor] = x.split(ROWS)
    if mask is not None:
        parts = (part[there] for part, there in zip(
            parts, mask.split(ROWS), strict=True))
    if not _is_sampled(kg) and not any(bool(part.any()) for part in parts):
        yield f'Expected {what} to be nonzero somewhere (got only zeros)'


def _not_finite(x: Tensor) -> Tensor:
    # The sum of each row is checked first, which is faster.
    rows = (~x.float().flatten(1).sum(dim=1).isfinite()).nonzero().view(-1)
    return rows[~x[rows].flatten(1).isfinite().all(dim=1)]


def _is_sampled(kg: KnowledgeGraph) -> bool:
    # A batch of a neighbor sampler may lack a split or a modality, and keeps
    # the names and filter of the whole graph.
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
