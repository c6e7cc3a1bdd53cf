from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data, Dataset

from pyg_mmkgc.data.knowledge_graph import KnowledgeGraph
from pyg_mmkgc.errors import DataError

# The prefixes of a split in PyG's datasets, by its name in this library.
_PREFIXES = {'train': ['train'], 'val': ['val', 'valid'], 'test': ['test']}
_SPLITS = [prefix for options in _PREFIXES.values() for prefix in options]


def from_pyg(
    data: Data | Dataset,
    val: Data | Dataset | None = None,
    test: Data | Dataset | None = None,
    modality: str = 'features',
) -> KnowledgeGraph:
    r"""Reads a knowledge graph in any of the layouts that :pyg:`PyG` uses.

    * One object per split, as in
      :class:`~torch_geometric.datasets.FB15k_237`:
      :obj:`from_pyg(train, val, test)`.
    * One object with :obj:`train_edge_index`, :obj:`train_edge_type` and so
      on, as in :class:`~torch_geometric.datasets.RelLinkPredDataset`. Its
      :obj:`edge_index` is ignored, since it repeats the training triples
      together with their inverses for message passing.
    * One object with :obj:`train_mask`, :obj:`val_mask` and :obj:`test_mask`
      over its triples, as in
      :class:`~torch_geometric.datasets.WordNet18RR` and
      :class:`~torch_geometric.datasets.Wikidata5M`.
    * One object with :obj:`edge_index` and :obj:`edge_type` only, whose
      triples are all training triples.

    Args:
        data (Data or Dataset): The graph or its training split. The first
            graph of a dataset is used.
        val (Data or Dataset, optional): The validation split in the first
            layout. (default: :obj:`None`)
        test (Data or Dataset, optional): The test split in the first layout.
            (default: :obj:`None`)
        modality (str, optional): The name of the modality for node features
            :obj:`x`. (default: :obj:`"features"`)

    Raises:
        DataError: If no layout applies, or the graph is not valid (see
            :meth:`~pyg_mmkgc.data.KnowledgeGraph.validate`).
    """
    data = _first(data, 'data')
    if val is not None or test is not None:
        own = [key for prefix in _SPLITS
               for key in (f'{prefix}_mask', f'{prefix}_edge_index')
               if key in data and not (key == 'train_mask'
                                       and data.train_mask.all())]
        if own:
            raise DataError("Expected 'data' to hold only training triples if "
                            f"'val' or 'test' is given (got {own})")
        parts = {'train': data}
        if val is not None:
            parts['val'] = _first(val, 'val')
        if test is not None:
            parts['test'] = _first(test, 'test')
        attributes = _join({
            name: _triples(part, '', f"the split '{name}'")
            for name, part in parts.items()
        })
        num_nodes = max(part.num_nodes for part in parts.values())
    elif isinstance(data, KnowledgeGraph):
        return data
    else:
        parts = {'train': data}
        num_nodes = data.num_nodes
        if 'train_edge_index' in data:
            prefixes = {
                name: prefix
                for name, options in _PREFIXES.items() for prefix in options
                if f'{prefix}_edge_index' in data
            }
            attributes = _join({
                name: _triples(data, f'{prefix}_', 'the graph')
                for name, prefix in prefixes.items()
            })
        else:
            edge_index, edge_type = _triples(data, '', 'the graph')
            attributes = dict(edge_index=edge_index, edge_type=edge_type)
            for name, options in _PREFIXES.items():
                for prefix in options:
                    if f'{prefix}_mask' in data:
                        attributes[f'{name}_mask'] = data[f'{prefix}_mask']

    if len(attributes['edge_type']) == 0:
        raise DataError('Expected a graph with triples (got none)')
    for key, value in data.to_dict().items():
        if key.startswith(('x_', 'mask_')) or key in {
                'node_names', 'node_ids', 'relation_names',
                'feature_encoders'}:
            attributes[key] = value
    if data.get('x') is not None:
        attributes[f'x_{modality}'] = data.x
    num_relations = max((part.get('num_relations') or 0
                         for part in parts.values()), default=0)
    kg = KnowledgeGraph(num_nodes=num_nodes,
                        num_relations=num_relations or None, **attributes)
    kg.validate()
    return kg


def _first(data: Any, name: str) -> Data:
    if isinstance(data, Dataset):
        if len(data) == 0:
            raise DataError(f"Expected a graph in dataset '{name}' (got none)")
        data = data[0]
    if not isinstance(data, Data):
        raise DataError(f"Expected '{name}' to be a torch_geometric.data.Data "
                        f"or Dataset with one 'edge_index' (got "
                        f'{type(data).__name__})')
    return data


def _triples(data: Data, prefix: str, where: str) -> tuple[Tensor, Tensor]:
    for key in [f'{prefix}edge_index', f'{prefix}edge_type']:
        if data.get(key) is None:
            raise DataError(f"Expected '{key}' in {where} (got "
                            f'{sorted(data.keys())})')
    return data[f'{prefix}edge_index'], data[f'{prefix}edge_type']


def _join(splits: dict[str, tuple[Tensor, Tensor]]) -> dict[str, Any]:
    sizes = torch.tensor([rel.numel() for _, rel in splits.values()])
    split = torch.arange(len(splits)).repeat_interleave(sizes)
    out: dict[str, Any] = dict(
        edge_index=torch.cat([index for index, _ in splits.values()], dim=1),
        edge_type=torch.cat([rel for _, rel in splits.values()]),
    )
    for i, name in enumerate(splits):
        out[f'{name}_mask'] = (split == i).to(out['edge_type'].device)
    return out
