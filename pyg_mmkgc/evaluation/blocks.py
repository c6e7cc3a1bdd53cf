r"""Ranks of triples, counted over blocks of queries and of nodes."""

from __future__ import annotations

import torch
from torch import Tensor

from pyg_mmkgc.data import TripleIndex
from pyg_mmkgc.errors import (
    NonFiniteError,
    OutOfMemoryError,
    is_out_of_memory,
)
from pyg_mmkgc.evaluation.counting import count_rivals_in_rows
from pyg_mmkgc.evaluation.scorer import Queries, Scorer
from pyg_mmkgc.metrics import Ranks, assert_finite
from pyg_mmkgc.typing import Side


class SideRanking:
    r"""Ranks the nodes on one side of triples among all nodes.

    Args:
        scorer (Scorer): What scores queries.
        given (torch.Tensor): The other nodes, :obj:`[E]`.
        rel_type (torch.Tensor): The relations, :obj:`[E]`.
        target (torch.Tensor): The nodes to rank, :obj:`[E]`.
        side (str): Their side, :obj:`"head"` or :obj:`"tail"`.
        index (TripleIndex, optional): The triples that do not count.
        batch_size (int): The number of queries that are scored at once; it
            is halved where memory runs out.
    """
    def __init__(self, scorer: Scorer, given: Tensor, rel_type: Tensor,
                 target: Tensor, side: Side, index: TripleIndex | None,
                 batch_size: int) -> None:
        self.scorer, self.side, self.index = scorer, side, index
        self.given, self.rel_type, self.target = given, rel_type, target
        self.batch_size = batch_size
        # Better candidates, those that are not worse, and all, by triple.
        self.counts = target.new_zeros(3, target.numel())
        self.truth = torch.empty(target.shape, dtype=torch.float,
                                 device=target.device)

    def rank(self) -> tuple[Ranks, int]:
        r"""The ranks :obj:`[E]`, and the number of distinct queries, each of
        which is scored once for all triples that share it.
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
            place, target = inverse[triple] - start, self.target[triple]
            # First the block of the target, whose score the others need.
            for own in (True, False):
                for block in self.scorer.blocks:
                    inside = (target >= block[0]) & (target < block[1])
                    mine = inside if own else ~inside
                    self._add(queries, block, triple[mine], place[mine])
        # The target has counted itself as one that is not worse.
        better, not_worse, num_candidates = self.counts
        return Ranks(better + 1, not_worse, num_candidates), query.numel()

    def _add(self, queries: Queries, block: tuple[int, int], triple: Tensor,
             place: Tensor) -> None:
        r"""Counts the candidates of a block for triples, by the places of
        their queries, in order.
        """
        place, row, count = place.unique_consecutive(
            return_inverse=True, return_counts=True)
        ptr = [0, *count.cumsum(0).tolist()]
        score, start = None, 0
        while start < place.numel():
            stop = min(start + self.batch_size, place.numel())
            mine = slice(ptr[start], ptr[stop])
            try:
                if score is None:
                    score = queries.against(block, stop - start)
                scores = score(place[start:stop])
                assert_finite(scores, block[0])
                self.counts[:, triple[mine]] += self._count(
                    scores, block[0], triple[mine], row[mine] - start,
                    self._known(queries, place[start:stop], block))
            except NonFiniteError as error:
                raise NonFiniteError(
                    f'{error}, when ranking {self.side}s') from None
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                if self.batch_size == 1:
                    raise OutOfMemoryError(
                        f'Scoring one query against {block[1] - block[0]} '
                        f'nodes does not fit into the memory of '
                        f'{self.target.device}: expected more of it, or a '
                        f'smaller model') from error
                self.batch_size, score = (self.batch_size + 1) // 2, None
                continue
            start = stop

    def _known(self, queries: Queries, place: Tensor,
               block: tuple[int, int]) -> tuple[Tensor, Tensor] | None:
        r"""The candidates of a block that are known answers of queries, by
        the query's position.
        """
        if self.index is None:
            return None
        given, rel = queries.node[place], queries.rel_type[place]
        which, node = (self.index.tails(given, rel) if self.side == 'tail'
                       else self.index.heads(rel, given))
        inside = (node >= block[0]) & (node < block[1])
        return which[inside], node[inside] - block[0]

    def _count(self, scores: Tensor, first: int, triple: Tensor, row: Tensor,
               known: tuple[Tensor, Tensor] | None) -> Tensor:
        target = self.target[triple] - first
        inside = (target >= 0) & (target < scores.size(1))
        self.truth[triple[inside]] = scores[row[inside], target[inside]]
        return torch.stack(count_rivals_in_rows(
            scores, row, target, self.truth[triple], known))
