r"""The triples of one node."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.typing import Side

#: The possible origins of a triple.
SPLITS = ('train', 'val', 'test', 'filter')


class Group(NamedTuple):
    r"""The triples that have one node on one side and one relation."""
    rel_type: int
    #: The side of the other nodes.
    side: Side
    num_triples: int
    first: int  # The position of the first triple in the sorted list.


class Adjacency:
    r"""All triples of a graph, sorted so that triples of a node are adjacent.

    Args:
        kg (KnowledgeGraph): The graph.
    """
    def __init__(self, kg: KnowledgeGraph) -> None:
        (head, tail), rel = kg.known_triples()
        head, tail, rel = head.cpu(), tail.cpu(), rel.cpu()
        split = torch.zeros(rel.numel(), dtype=torch.uint8)
        for i, name in enumerate(SPLITS[:3]):
            if f'{name}_mask' in kg:
                split[:kg.num_edges][kg[f'{name}_mask'].cpu()] = i
        split[kg.num_edges:] = 3
        self._size, self._num_relations = kg.num_nodes, kg.num_relations
        #: The number of triples of each node, :obj:`[N]`.
        self.degree = self._count(head) + self._count(tail)
        train = split == 0
        #: The number of training triples of each node, :obj:`[N]`.
        self.train_degree = self._count(head[train]) + self._count(
            tail[train])
        #: The number of triples of each relation, :obj:`[R]`.
        self.relation_count = torch.bincount(rel,
                                             minlength=self._num_relations)
        self._sorted: dict[Side, tuple[Tensor, Tensor]] = {}
        sides: tuple[tuple[Side, Tensor, Tensor], ...] = (
            ('tail', head, tail), ('head', tail, head))
        for side, node, other in sides:
            key, order = self._key(node, rel, other).sort()
            self._sorted[side] = key, split[order]

    def groups(self, node: int) -> list[Group]:
        r"""Returns the groups of triples of a node, the largest first."""
        out = []
        for side, (keys, _) in self._sorted.items():
            first, last = self._range(keys, node, 0, self._num_relations)
            rel = (keys[first:last] // self._size) % self._num_relations
            kinds, counts = rel.unique_consecutive(return_counts=True)
            starts = first + counts.cumsum(0) - counts
            out += [Group(r, side, count, start) for r, count, start in zip(
                kinds.tolist(), counts.tolist(), starts.tolist(),
                strict=True)]
        return sorted(out, key=lambda group: -group.num_triples)

    def group(self, node: int, rel_type: int, side: Side) -> Group:
        r"""Returns one group of triples, which may be empty."""
        first, last = self._range(self._sorted[side][0], node, rel_type,
                                  rel_type + 1)
        return Group(rel_type, side, last - first, first)

    def members(self, group: Group, start: int = 0,
                limit: int = 1 << 62) -> tuple[list[int], list[str]]:
        r"""Returns the other nodes of a group, in the order of their ids, and
        the splits of their triples.
        """
        keys, split = self._sorted[group.side]
        part = slice(group.first + start,
                     group.first + min(start + limit, group.num_triples))
        return ((keys[part] % self._size).tolist(),
                [SPLITS[i] for i in split[part].tolist()])

    def split_of(self, head: int, rel_type: int, tail: int) -> str | None:
        r"""Returns the first split that contains a triple, or :obj:`None`."""
        keys, split = self._sorted['tail']
        key = (head * self._num_relations + rel_type) * self._size + tail
        first, last = (int(torch.searchsorted(keys, key + i)) for i in (0, 1))
        return SPLITS[int(split[first:last].min())] if first < last else None

    def between(self, nodes: list[int]) -> list[tuple[int, int]]:
        r"""Returns the pairs of positions in a list of nodes that a triple
        connects.
        """
        place = {node: i for i, node in enumerate(nodes)}
        keys, _ = self._sorted['tail']
        out: set[tuple[int, int]] = set()
        for node, i in place.items():
            first, last = self._range(keys, node, 0, self._num_relations)
            # Hubs have too many triples to search all of them.
            for other in (keys[first:min(last, first + 5000)]
                          % self._size).tolist():
                j = place.get(other, i)
                if j != i:
                    out.add((min(i, j), max(i, j)))
        return sorted(out)

    def roles(self, nodes: Tensor) -> list[tuple[int, Side] | None]:
        r"""Returns the most frequent relation and side of each node, which
        indicates the kind of node, or :obj:`None` for nodes without triples.
        """
        out: list[tuple[int, Side] | None] = []
        for node in nodes.tolist():
            groups = self.groups(node)
            out.append((groups[0].rel_type, 'head' if groups[0].side == 'tail'
                        else 'tail') if groups else None)
        return out

    def _count(self, nodes: Tensor) -> Tensor:
        return torch.bincount(nodes, minlength=self._size)

    def _key(self, node: Tensor, rel: Tensor, other: Tensor) -> Tensor:
        return (node * self._num_relations + rel) * self._size + other

    def _range(self, keys: Tensor, node: int, first: int,
               last: int) -> tuple[int, int]:
        base = node * self._num_relations
        a, b = ((base + rel) * self._size for rel in (first, last))
        return int(torch.searchsorted(keys, a)), int(
            torch.searchsorted(keys, b))
