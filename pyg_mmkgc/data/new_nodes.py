from __future__ import annotations

import copy
import operator
import os
from collections.abc import Iterable, Mapping, Sequence, Set
from contextlib import suppress
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pyg_mmkgc.data.alignment import align_features
from pyg_mmkgc.data.knowledge_graph import SPLITS, KnowledgeGraph
from pyg_mmkgc.data.names import places
from pyg_mmkgc.errors import DataError

_EDGES = ('edge_index', 'edge_type', *(f'{name}_mask' for name in SPLITS))


def add_nodes(
    kg: KnowledgeGraph,
    names: str | Sequence[str],
    features: Mapping[str, Any] | None = None,
    triples: Iterable[Sequence[int | str]] | None = None,
    split: str = 'train',
    node_ids: Sequence[str] | None = None,
) -> KnowledgeGraph:
    r"""Returns a graph with additional nodes (see
    :meth:`~pyg_mmkgc.data.KnowledgeGraph.add_nodes`).
    """
    if 'n_id' in kg:
        raise DataError('Expected a whole graph (got a sampled batch)')
    if 'node_names' not in kg:
        raise DataError("Expected a graph with 'node_names' to add nodes to "
                        '(got none)')
    names = [names] if isinstance(names, str) else list(names)
    ids = None if node_ids is None else list(node_ids)
    _check_names(kg, names, ids)
    out, old, size = copy.copy(kg), kg.num_nodes, len(names)
    out.num_nodes, out.node_names = old + size, [*kg.node_names, *names]
    if 'node_ids' in kg or ids is not None:
        out.node_ids = [*(kg.get('node_ids') or kg.node_names),
                        *(ids or names)]
    features = {} if features is None else features
    if not isinstance(features, Mapping):
        raise DataError("Expected 'features' to be a dict of modalities (got "
                        f'{type(features).__name__})')
    unknown = [name for name in features if name not in kg.modalities]
    if unknown:
        raise DataError(f"Expected 'features' for the modalities of the "
                        f'graph, {kg.modalities} (got {unknown})')
    masks = {f'mask_{name}': mask for name, mask in kg.masks().items()}
    for key, value in {**kg.to_dict(), **masks}.items():
        if isinstance(value, Tensor) and kg.is_node_attr(key):
            out[key] = torch.cat([value, value.new_zeros(
                size, *value.shape[1:])])
    for name, given in features.items():
        x, mask = _rows(name, given, names, ids, kg[f'x_{name}'])
        out[f'x_{name}'][old:] = x
        if out[f'mask_{name}'].dim() < mask.dim():  # One flag per node.
            out[f'mask_{name}'] = out[f'mask_{name}'].unsqueeze(-1).repeat(
                1, mask.size(1))
        out[f'mask_{name}'][old:] = mask
    if triples is not None:
        _add_triples(out, triples, split)
    if out.num_edges > 0:  # The graph of a saved model has no triples.
        out.validate()
    return out


def _check_names(kg: KnowledgeGraph, names: list[str],
                 ids: list[str] | None) -> None:
    for kind, values in (('names', names), ('node_ids', ids or [])):
        bad = [x for x in values if not isinstance(x, str) or x.strip() == '']
        if bad:
            raise DataError(f"Expected '{kind}' to hold labels (got "
                            f'{bad[0]!r})')
    if not names:
        raise DataError("Expected 'names' to hold at least one label (got "
                        'none)')
    if ids is not None and len(ids) != len(names):
        raise DataError(f"Expected 'node_ids' to hold {len(names)} "
                        f'identifiers, like the names (got {len(ids)})')
    # Without identifiers, the label identifies a node.
    key = 'node_ids' if ids is not None and 'node_ids' in kg else 'node_names'
    seen = {*kg[key]} | ({*kg.node_ids} if 'node_ids' in kg else set())
    for value in names if ids is None else ids:
        if value in seen:
            raise DataError(f'Expected new nodes (got {value!r}, which is '
                            'in the graph or given twice)')
        seen.add(value)


def _rows(name: str, given: Any, names: list[str], ids: list[str] | None,
          like: Tensor) -> tuple[Tensor, Tensor]:
    what = f"features of modality '{name}'"
    if isinstance(given, (Mapping, str, os.PathLike)):
        x, mask = align_features(name, given, names, ids)
    else:
        try:
            x = torch.as_tensor(given)
        except (TypeError, ValueError, RuntimeError) as error:
            raise DataError(f'Expected a dict, a path or a tensor as the '
                            f'{what} (got an error: {error})') from error
        if x.dim() < 2 or x.size(0) != len(names):
            raise DataError(f'Expected {len(names)} rows in the {what}, one '
                            f'for each new node (got shape {list(x.shape)})')
        mask = torch.ones(x.shape[:-1], dtype=torch.bool)
    if like.dim() == 3 and x.dim() == 2:  # The only instance of each node.
        x, mask = x.unsqueeze(1), mask.unsqueeze(-1)
    if (x.dim() != like.dim() or x.size(-1) != like.size(-1)
            or x.shape[1] > like.shape[1] or not x.is_floating_point()):
        raise DataError(f'Expected the {what} to be floats with shape '
                        f'[{len(names)}, {str(list(like.shape[1:]))[1:]}, '
                        f'like the graph (got {x.dtype} with shape '
                        f'{list(x.shape)})')
    if like.dim() == 3:
        pad = like.shape[1] - x.shape[1]
        x, mask = F.pad(x, (0, 0, 0, pad)), F.pad(mask, (0, pad))
    return x.to(like.device, like.dtype), mask.to(like.device)


def _add_triples(kg: KnowledgeGraph, triples: Iterable[Sequence[int | str]],
                 split: str) -> None:
    if split not in SPLITS:
        raise DataError(f"Expected 'split' to be one of {', '.join(SPLITS)} "
                        f'(got {split!r})')
    others = [key for key, value in kg.to_dict().items() if key not in _EDGES
              and isinstance(value, Tensor) and kg.is_edge_attr(key)]
    if others:
        raise DataError(f'Expected no attributes of triples except for '
                        f'{_EDGES} in a graph that triples are added to (got '
                        f'{others})')
    node = places(kg.node_names, kg.get('node_ids'))
    rel = places(kg.get('relation_names'))
    if not isinstance(triples, Iterable):
        raise DataError("Expected 'triples' to hold rows of head, relation "
                        f'and tail (got {triples!r})')
    rows = []
    for i, row in enumerate(triples):
        parts: list[Any] = []
        # A tensor without dimensions has a length and an iterator by its type,
        # but raises as a plain number does.
        with suppress(TypeError):
            if not isinstance(row, (str, bytes, Mapping, Set)):
                parts = [*row]
        if len(parts) != 3:
            raise DataError(f'Expected a head, a relation and a tail in row '
                            f'{i} of the triples (got {row!r})')
        rows.append([_find(part, known, size, kind, i)
                     for part, known, size, kind in zip(
                         parts, (node, rel, node),
                         (kg.num_nodes, kg.num_relations, kg.num_nodes),
                         ('node', 'relation', 'node'), strict=True)])
    if not rows:
        return
    head, edge_type, tail = torch.tensor(
        rows, device=kg.edge_index.device).t()
    present = [name for name in SPLITS if f'{name}_mask' in kg]
    if not present and split != 'train':
        kg.train_mask = torch.ones_like(kg.edge_type, dtype=torch.bool)
        present = ['train']
    if split not in present and (present or split != 'train'):
        kg[f'{split}_mask'] = torch.zeros_like(kg.edge_type,
                                               dtype=torch.bool)
    for name in SPLITS:
        if f'{name}_mask' in kg:
            mask = kg[f'{name}_mask']
            kg[f'{name}_mask'] = torch.cat([mask, mask.new_full(
                (len(rows), ), name == split)])
    kg.edge_index = torch.cat([kg.edge_index, torch.stack([head, tail])],
                              dim=1)
    kg.edge_type = torch.cat([kg.edge_type, edge_type])


def _find(value: int | str, known: dict[str, int], size: int, kind: str,
          row: int) -> int:
    if isinstance(value, str) and value in known:
        return known[value]
    if not isinstance(value, (str, bool)):
        with suppress(TypeError):  # Raised for what is not an integer.
            index = operator.index(value)
            if 0 <= index < size:
                return index
    raise DataError(f'Expected a {kind} of the graph in row {row} of the '
                    f'triples (got {value!r})')
