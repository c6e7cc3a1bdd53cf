from __future__ import annotations

from typing import Optional

import torch
from torch import Tensor
from torch.nn import Embedding

from pyg_mmkgc.nn.fast_paths import FastPaths
from pyg_mmkgc.nn.kernel import candidate_distance, dense_distance
from pyg_mmkgc.nn.pair_kernel import pair_distance, rotate_by


class QueryDistance(FastPaths):
    r"""The score of models that move a node by its relation, and measure how
    far from the other it comes.

    .. math::
        s(h, r, t) = \gamma - \sum_i \| q_i(h, r) - t_i \|_2
        = \gamma - \sum_i \| q'_i(r, t) - h_i \|_2

    In the fast forms a query is made once, for all of its candidates. A
    subclass has :obj:`margin`, :obj:`group`, the number of channels of a norm
    (see :func:`~pyg_mmkgc.nn.functional.moduli_distance`), and both queries.
    """
    margin: float
    group: int

    def tail_query(self, head: Tensor, rel_type: Tensor) -> Tensor:
        r"""What the tail is compared with, :math:`q`, :obj:`[*, C]`."""
        raise NotImplementedError

    def head_query(self, rel_type: Tensor, tail: Tensor) -> Tensor:
        r"""What the head is compared with, :math:`q'`, :obj:`[*, C]`."""
        raise NotImplementedError

    def score(self, head: Tensor, rel_type: Tensor, tail: Tensor) -> Tensor:
        return self.margin - pair_distance(self.tail_query(head, rel_type),
                                           tail, self.group)

    def score_candidates(self, table: Tensor, head: Tensor, rel_type: Tensor,
                         tail: Tensor, index: Tensor,
                         corrupt_head: Tensor) -> Tensor:
        return self.margin - candidate_distance(
            self.tail_query(head, rel_type), self.head_query(rel_type, tail),
            table, index, corrupt_head, self.group)

    def score_tails(self, head_index: Tensor, rel_type: Tensor,
                    table: Optional[Tensor] = None) -> Tensor:
        table = self.encode() if table is None else table
        query = self.tail_query(table[head_index], rel_type)
        return self.margin - dense_distance(query, table, self.group)

    def score_heads(self, rel_type: Tensor, tail_index: Tensor,
                    table: Optional[Tensor] = None) -> Tensor:
        table = self.encode() if table is None else table
        query = self.head_query(rel_type, table[tail_index])
        return self.margin - dense_distance(query, table, self.group)


class RotationDistance(QueryDistance):
    r"""The score of `RotatE <https://arxiv.org/abs/1902.10197>`_.

    .. math::
        s(h, r, t) = \gamma - \sum_{i=1}^{D} \left| h_i \,
        e^{\mathrm{i} \theta_{r,i}} - t_i \right|

    A subclass has :obj:`rel_emb` of :obj:`D` channels and
    :obj:`phase_scale`, which makes radians of them.
    """
    rel_emb: Embedding
    phase_scale: float
    group = 2  # Real and imaginary part.

    def phase(self, rel_type: Tensor) -> Tensor:
        r"""The angles :math:`\theta_r` in radians, :obj:`[*, D]`."""
        return self.rel_emb(rel_type) * self.phase_scale

    # A rotation keeps moduli, so that |h r - t| = |h - t conj(r)|.

    def tail_query(self, head: Tensor, rel_type: Tensor) -> Tensor:
        return rotate_by(head, self._phases(), rel_type)

    def head_query(self, rel_type: Tensor, tail: Tensor) -> Tensor:
        return rotate_by(tail, self._phases(), rel_type, inverse=True)

    def _phases(self) -> Tensor:
        return self.phase(torch.arange(self.rel_emb.num_embeddings,
                                       device=self.rel_emb.weight.device))
