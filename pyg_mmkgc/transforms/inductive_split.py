from __future__ import annotations

import copy

import torch
from torch_geometric.transforms import BaseTransform

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.data.knowledge_graph import SPLITS
from pyg_mmkgc.errors import DataError


class InductiveSplit(BaseTransform):
    r"""Splits the triples of a graph by their nodes, to measure how well a
    model scores nodes that it was not trained on.

    Random nodes are held out. A triple with a test node is a test triple, any
    other triple with a validation node is a validation triple, and training
    triples have neither. In this way, no training triple has a node that was
    held out, and no validation triple has a test node. Every relation keeps at
    least one training triple, since nodes that would leave it without one are
    not held out.

    .. code-block:: python

        kg = InductiveSplit(num_val=0.05, num_test=0.1, seed=0)(kg)

    The previous splits of the graph are replaced. Its filter is kept.

    Args:
        num_val (int or float, optional): The number of nodes to hold out for
            validation, or their share if set to a floating-point value in
            :math:`[0, 1)`. (default: :obj:`0.1`)
        num_test (int or float, optional): The number or share of nodes to hold
            out for testing. (default: :obj:`0.1`)
        seed (int, optional): The seed. (default: :obj:`0`)

    Raises:
        DataError: If a number or share is out of range, or if a split remains
            without triples.
    """
    def __init__(self, num_val: int | float = 0.1, num_test: int | float = 0.1,
                 seed: int = 0) -> None:
        for name, value in (('num_val', num_val), ('num_test', num_test)):
            if isinstance(value, bool) or value < 0 or (
                    isinstance(value, float) and value >= 1):
                raise DataError(f"Expected '{name}' to be a number of nodes "
                                f'or a share in [0, 1) (got {value!r})')
        self.num_val, self.num_test, self.seed = num_val, num_test, seed

    def forward(self, data: KnowledgeGraph) -> KnowledgeGraph:
        N = data.num_nodes
        used = torch.zeros(N, dtype=torch.bool)
        used[data.edge_index.cpu().flatten()] = True
        num_used = int(used.sum())
        sizes = [round(x * num_used) if isinstance(x, float) else x
                 for x in (self.num_val, self.num_test)]
        if sum(sizes) == 0:
            raise DataError("Expected 'num_val' or 'num_test' to hold out at "
                            f'least one node (got {sizes[0]} and {sizes[1]})')
        if sum(sizes) >= num_used:
            raise DataError("Expected 'num_val' and 'num_test' to leave nodes "
                            f'to train with (got {sizes[0]} and {sizes[1]} of '
                            f'{num_used} nodes with triples)')
        generator = torch.Generator().manual_seed(self.seed)
        perm = torch.randperm(N, generator=generator)
        perm = perm[used[perm]]  # Nodes without triples test nothing.
        part = torch.zeros(N, dtype=torch.long)  # Positions in `SPLITS`.
        part[perm[:sizes[1]]] = 2
        part[perm[sizes[1]:sum(sizes)]] = 1

        index, rel = data.edge_index.cpu(), data.edge_type.cpu()
        first = torch.full((data.num_relations, ), rel.numel())
        first.scatter_reduce_(0, rel, torch.arange(rel.numel()), 'amin')
        while True:
            split = part[index].amax(dim=0)
            trained = torch.zeros(data.num_relations, dtype=torch.bool)
            trained[rel[split == 0]] = True
            lost = first[~trained & (first < rel.numel())]
            if lost.numel() == 0:
                break
            part[index[:, lost].flatten()] = 0

        out = copy.copy(data)
        for i, name in enumerate(SPLITS):
            mask = (split == i).to(data.edge_index.device)
            if bool(mask.any()):
                out[f'{name}_mask'] = mask
            elif i == 0 or sizes[i - 1] > 0:
                raise DataError(f"Expected triples in the split '{name}' (got "
                                f'none of {rel.numel()} with {sizes[0]} '
                                f'validation and {sizes[1]} test nodes). '
                                'Hold out another number of nodes.')
            elif f'{name}_mask' in out:
                del out[f'{name}_mask']
        return out

    def __repr__(self) -> str:
        return (f'{self.__class__.__name__}(num_val={self.num_val}, '
                f'num_test={self.num_test}, seed={self.seed})')
