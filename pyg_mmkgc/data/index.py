from __future__ import annotations

import torch
from torch import Tensor

from pyg_mmkgc.errors import DataError


class TripleIndex:
    r"""An immutable set of triples that answers many queries at once.

    A triple :math:`(h, r, t)` is stored as the integer
    :math:`(h \cdot |\mathcal{R}| + r) \cdot |\mathcal{V}| + t`. The integers
    are sorted, so that all tails of :math:`(h, r)` are adjacent and a query
    takes two binary searches. A second list answers queries for heads.

    Args:
        edge_index (torch.Tensor): The heads and tails with shape
            :obj:`[2, num_edges]`.
        edge_type (torch.Tensor): The relations with shape
            :obj:`[num_edges]`.
        num_nodes (int): The number of nodes.
        num_relations (int): The number of relations.

    Raises:
        DataError: If an id is out of range, or the triples do not fit into 64
            bits.
    """
    def __init__(
        self,
        edge_index: Tensor,
        edge_type: Tensor,
        num_nodes: int,
        num_relations: int,
    ) -> None:
        if num_nodes * num_nodes * num_relations > 2**63 - 1:
            raise DataError(f'Expected triples that fit into 64 bits (got '
                            f'{num_nodes} nodes and {num_relations} '
                            f'relations)')
        self.num_nodes = num_nodes
        self.num_relations = num_relations
        head, tail = edge_index
        self._check(edge_type, head, tail)
        self._tails = torch.unique(self._key(head, edge_type, tail))
        self._heads = torch.unique(self._key(tail, edge_type, head))

    def contains(self, head: Tensor, rel: Tensor, tail: Tensor) -> Tensor:
        r"""Returns a mask of the triples that are in the set.

        Args:
            head (torch.Tensor): The heads.
            rel (torch.Tensor): The relations.
            tail (torch.Tensor): The tails. The three shapes are broadcast to
                the shape of the output.
        """
        self._check(rel, head, tail)
        key = self._key(head, rel, tail)
        if self._tails.numel() == 0:
            return torch.zeros_like(key, dtype=torch.bool)
        pos = torch.searchsorted(self._tails, key.contiguous())
        return self._tails[pos.clamp_(max=self._tails.numel() - 1)] == key

    def tails(self, head: Tensor, rel: Tensor) -> tuple[Tensor, Tensor]:
        r"""Returns all tails of each query in COO format.

        The output is the position of the query with shape :obj:`[M]`, in
        ascending order, and the tail with shape :obj:`[M]`, in ascending
        order for each query.

        Args:
            head (torch.Tensor): The heads with shape :obj:`[Q]`.
            rel (torch.Tensor): The relations with shape :obj:`[Q]`.
        """
        self._check(rel, head)
        return self._ranges(self._tails, head, rel)

    def heads(self, rel: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
        r"""Returns all heads of each query in COO format (see :meth:`tails`).

        Args:
            rel (torch.Tensor): The relations with shape :obj:`[Q]`.
            tail (torch.Tensor): The tails with shape :obj:`[Q]`.
        """
        self._check(rel, tail)
        return self._ranges(self._heads, tail, rel)

    def to(self, device: torch.device | str) -> TripleIndex:
        r"""Returns the same set on another device."""
        out = self.__class__.__new__(self.__class__)
        out.num_nodes = self.num_nodes
        out.num_relations = self.num_relations
        out._tails = self._tails.to(device)
        out._heads = self._heads.to(device)
        return out

    def __len__(self) -> int:
        return self._tails.numel()

    def __repr__(self) -> str:
        return (f'{self.__class__.__name__}({len(self)}, '
                f'num_nodes={self.num_nodes}, '
                f'num_relations={self.num_relations})')

    def _key(self, node: Tensor, rel: Tensor, other: Tensor) -> Tensor:
        return (node * self.num_relations + rel) * self.num_nodes + other

    def _ranges(self, keys: Tensor, node: Tensor,
                rel: Tensor) -> tuple[Tensor, Tensor]:
        start = (node * self.num_relations + rel) * self.num_nodes
        first = torch.searchsorted(keys, start)
        count = torch.searchsorted(keys, start + self.num_nodes) - first
        row, place = ranges(first, count)
        return row, keys[place] - start[row]

    def _check(self, rel: Tensor, *nodes: Tensor) -> None:
        # An id out of range would result in the integer of another triple.
        for ids, size, name in [(rel, self.num_relations, 'relation')
                                ] + [(n, self.num_nodes, 'node')
                                     for n in nodes]:
            if ids.dtype != torch.long:
                raise DataError(f'Expected {name} ids of dtype int64 (got '
                                f'{ids.dtype})')
            if ids.numel() > 0:
                low, high = ids.aminmax()
                if int(low) < 0 or int(high) >= size:
                    raise DataError(f'Expected {name} ids from 0 to '
                                    f'{size - 1} (got {int(low)} to '
                                    f'{int(high)})')


def ranges(first: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    r"""Expands ranges to positions.

    Args:
        first (torch.Tensor): The first position of each range.
        count (torch.Tensor): The length of each range.

    Returns:
        For all positions
        :math:`\mathrm{first}_i, \ldots, \mathrm{first}_i + \mathrm{count}_i
        - 1`, the index :math:`i` of the range and the position itself.
    """
    row = torch.arange(count.numel(), device=count.device)
    row = row.repeat_interleave(count)
    # The offset within a range is the position minus the start of the range.
    within = torch.arange(row.numel(), device=count.device)
    within = within - (count.cumsum(0) - count)[row]
    return row, first[row] + within
