r"""Ranks of triples, counted over blocks of queries and of nodes."""

from __future__ import annotations

import torch
from torch import Tensor

from pyg_mmkgc.data import TripleIndex
from pyg_mmkgc.distributed.group import (
    raise_on_all,
    rank,
    sum_over_ranks,
    world_size,
)
from pyg_mmkgc.errors import (
    MMKGCError,
    NonFiniteError,
    OutOfMemoryError,
    is_out_of_memory,
)
from pyg_mmkgc.evaluation.scorer import Queries, Scorer
from pyg_mmkgc.kernels.host import to_device
from pyg_mmkgc.kernels.ranks import count_rivals_in_rows
from pyg_mmkgc.metrics import Ranks, assert_finite
from pyg_mmkgc.typing import Side


class SideRanking:
    r"""Ranks the nodes on one side of triples, which are on the host, among
    all nodes.

    Args:
        scorer (Scorer): The scorer of the queries.
        given (torch.Tensor): The known nodes of the triples, :obj:`[E]`.
        rel_type (torch.Tensor): The relations, :obj:`[E]`.
        target (torch.Tensor): The nodes to rank, :obj:`[E]`.
        side (str): The side of the nodes to rank, :obj:`"head"` or
            :obj:`"tail"`.
        index (TripleIndex or None): The known triples, which are not
            candidates.
        batch_size (int): The number of queries that are scored at once. It is
            halved when memory runs out.
    """
    def __init__(self, scorer: Scorer, given: Tensor, rel_type: Tensor,
                 target: Tensor, side: Side, index: TripleIndex | None,
                 batch_size: int) -> None:
        self.scorer, self.side, self.index = scorer, side, index
        self.given, self.rel_type = given, rel_type
        # Several processes each score some of the nodes, or some of the
        # queries if a model scores all nodes at once.
        self.target = scorer.place(target)
        self.batch_size = batch_size
        self.error: MMKGCError | None = None
        # Per triple: the candidates that score higher, the candidates that
        # do not score lower, and all candidates.
        self.counts = target.new_zeros(3, target.numel(),
                                       device=scorer.device)
        self.truth = torch.zeros(target.shape, dtype=torch.float,
                                 device=scorer.device)

    def rank(self) -> tuple[Ranks, int]:
        r"""Returns the ranks :obj:`[E]` and the number of distinct queries.
        Triples that share a query share its scores.
        """
        num_nodes = self.scorer.num_nodes
        query, inverse, count = torch.unique(
            self.rel_type * num_nodes + self.given, return_inverse=True,
            return_counts=True)
        # The triples of query `q` are `order[ptr[q]:ptr[q + 1]]`.
        order = inverse.argsort(stable=True)
        ptr = [0, *count.cumsum(0).tolist()]
        step = self.scorer.max_queries
        for start in range(0, query.numel(), step):
            part = query[start:start + step]
            queries = self.scorer.ask(
                part % num_nodes,
                torch.div(part, num_nodes, rounding_mode='floor'), self.side)
            triple = order[ptr[start]:ptr[start + part.numel()]]
            place = inverse[triple] - start
            if self.scorer.nodes is None and world_size() > 1:
                mine = place % world_size() == rank()
                triple, place = triple[mine], place[mine]
            target = self.target[triple]
            # The block of the target comes first: all other blocks are
            # compared with the target's score.
            for own in (True, False):
                for block in self.scorer.blocks:
                    inside = (target >= block[0]) & (target < block[1])
                    mine = inside if own else ~inside
                    self._add(queries, block, triple[mine], place[mine])
                if own and self.scorer.nodes is not None:
                    self.truth[triple] = sum_over_ranks(self.truth[triple])
        raise_on_all(self.error)
        sum_over_ranks(self.counts)
        # The target is among the candidates that do not score lower.
        better, not_worse, num_candidates = self.counts
        return Ranks(better + 1, not_worse, num_candidates), query.numel()

    def _add(self, queries: Queries, block: tuple[int, int], triple: Tensor,
             place: Tensor) -> None:
        r"""Counts the candidates of a block for triples whose queries are
        given by ascending positions.
        """
        place, row, count = place.unique_consecutive(
            return_inverse=True, return_counts=True)
        ptr = [0, *count.cumsum(0).tolist()]
        score, start = None, 0
        if self.scorer.nodes is not None:  # All processes encode the block.
            score = queries.against(block, self.batch_size)
            if block[0] == block[1]:
                return
        while start < place.numel():
            stop = min(start + self.batch_size, place.numel())
            mine = slice(ptr[start], ptr[stop])
            try:
                if score is None:
                    score = queries.against(block, stop - start)
                scores = score(place[start:stop])
                assert_finite(scores, block[0], self.scorer.nodes)
                self.counts[:, self._send(triple[mine])] += self._count(
                    scores, block[0], triple[mine], row[mine] - start,
                    self._known(queries, place[start:stop], block))
            except NonFiniteError as error:
                self._fail(NonFiniteError(
                    f'{error}, when ranking {self.side}s'))
                return
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                if self.batch_size == 1:
                    self._fail(OutOfMemoryError(
                        f'Expected enough memory on {self.scorer.device} to '
                        f'score one query against {block[1] - block[0]} '
                        'nodes (got too little). Use a smaller model or a '
                        'device with more memory.'), error)
                    return
                self.batch_size = (self.batch_size + 1) // 2
                if self.scorer.nodes is None:
                    score = None
                continue
            start = stop

    def _fail(self, error: MMKGCError,
              cause: BaseException | None = None) -> None:
        r"""Raises an error, or keeps it until all processes can raise it."""
        if world_size() == 1:
            raise error from cause
        self.error = self.error or error

    def _known(self, queries: Queries, place: Tensor,
               block: tuple[int, int]) -> tuple[Tensor, Tensor] | None:
        r"""Returns the candidates of a block that are known answers, as
        positions of queries and positions in the block.
        """
        if self.index is None:
            return None
        given, rel = queries.node[place], queries.rel_type[place]
        which, node = (self.index.tails(given, rel) if self.side == 'tail'
                       else self.index.heads(rel, given))
        node = self.scorer.place(node)
        inside = (node >= block[0]) & (node < block[1])
        return which[inside], node[inside] - block[0]

    def _count(self, scores: Tensor, first: int, triple: Tensor, row: Tensor,
               known: tuple[Tensor, Tensor] | None) -> Tensor:
        target = self.target[triple] - first
        inside = (target >= 0) & (target < scores.size(1))
        self.truth[self._send(triple[inside])] = scores[
            self._send(row[inside]), self._send(target[inside])]
        return torch.stack(count_rivals_in_rows(
            scores, row, target, self.truth[self._send(triple)], known))

    def _send(self, ids: Tensor) -> Tensor:
        return to_device(ids, self.scorer.device)
