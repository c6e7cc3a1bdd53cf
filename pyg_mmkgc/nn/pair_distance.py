from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

import torch
from torch import Tensor

from pyg_mmkgc.nn.fast_paths import FastPaths
from pyg_mmkgc.nn.functional import moduli_distance
from pyg_mmkgc.nn.kernel import candidate_distance, dense_distance


class PairDistance(FastPaths):
    r"""The score of models that compare several views of the head with several
    of the tail, and have one relation for all.

    .. math::
        s(h, r, t) = \gamma - \sum_{(X, Y)} d(\mathbf{h}_X, \mathbf{r},
        \mathbf{t}_Y), \qquad d(\mathbf{h}, \mathbf{r}, \mathbf{t}) =
        \sum_i \| q_i(\mathbf{h}, \mathbf{r}) - \mathbf{t}_i \|_2

    The representation holds the views side by side. Distances that are sums
    over channels add up to the distance of concatenations, so that a single
    call scores all pairs. A subclass has :obj:`margin`,
    :obj:`hidden_channels`, the width :obj:`D` of a view being
    :obj:`group * D`, and says what its pairs are and how a relation moves.
    """
    margin: float
    hidden_channels: int
    #: Channels of a norm; one for the :math:`L_1` distance.
    group: int = 1

    @property
    def pairs(self) -> Sequence[tuple[int, int]]:
        r"""The positions :math:`(X, Y)` of the views in each distance."""
        raise NotImplementedError

    def relation(self, rel_type: Tensor) -> Tensor:
        r"""What moves a view of the head to one of the tail, :obj:`[*, D]`."""
        raise NotImplementedError

    def move(self, x: Tensor, rel: Tensor, inverse: bool = False) -> Tensor:
        r"""Moves views :obj:`[*, group * V * D]` along :obj:`[*, V * D]`."""
        return x - rel if inverse else x + rel

    def side_by_side(self, parts: Sequence[Tensor]) -> Tensor:
        r"""The representation of :obj:`V` views :obj:`[*, group * D]`."""
        x = torch.stack(torch.broadcast_tensors(*parts), dim=-2)
        # Channel j of the groups of all views is before their channel j + 1.
        return x.unflatten(-1, (self.group, -1)).transpose(-3, -2).flatten(-3)

    def _side(self, x: Tensor, which: int) -> Tensor:
        # The views of one side of all pairs, from those of an entity.
        views = x.unflatten(-1, (self.group, -1, self.hidden_channels))
        return torch.cat([views[..., pair[which], :] for pair in self.pairs],
                         dim=-1).flatten(-2)

    def _query(self, x: Tensor, rel_type: Tensor, which: int) -> Tensor:
        rel = self.relation(rel_type)
        num_views = x.size(-1) // (self.group * self.hidden_channels)
        return self._side(self.move(x, torch.cat([rel] * num_views, dim=-1),
                                    inverse=which == 1), which)

    def score(self, head: Tensor, rel_type: Tensor, tail: Tensor) -> Tensor:
        return self.margin - moduli_distance(
            self._query(head, rel_type, 0), self._side(tail, 1), self.group)

    def score_candidates(self, table: Tensor, head: Tensor, rel_type: Tensor,
                         tail: Tensor, index: Tensor,
                         corrupt_head: Tensor) -> Tensor:
        # A candidate shows other views as a head than as a tail.
        rows = torch.cat([self._side(table, 1), self._side(table, 0)])
        return self.margin - candidate_distance(
            self._query(head, rel_type, 0), self._query(tail, rel_type, 1),
            rows, index + corrupt_head * table.size(0), corrupt_head,
            self.group)

    def score_tails(self, head_index: Tensor, rel_type: Tensor,
                    table: Optional[Tensor] = None) -> Tensor:
        table = self.encode() if table is None else table
        return self.margin - dense_distance(
            self._query(table[head_index], rel_type, 0), self._side(table, 1),
            self.group)

    def score_heads(self, rel_type: Tensor, tail_index: Tensor,
                    table: Optional[Tensor] = None) -> Tensor:
        table = self.encode() if table is None else table
        return self.margin - dense_distance(
            self._query(table[tail_index], rel_type, 1), self._side(table, 0),
            self.group)
