from __future__ import annotations

from typing import Optional

import torch
from torch import Tensor
from torch.nn import Embedding

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn.functional import moduli_distance
from pyg_mmkgc.nn.grouped import grouped_product
from pyg_mmkgc.nn.kernel import dense_distance
from pyg_mmkgc.nn.kge.base import MMKGEModel
from pyg_mmkgc.nn.orthonormal import gram_schmidt
from pyg_mmkgc.nn.scaled import (
    pooled_candidate_distance,
    relation_distance,
    scaled_candidate_distance,
)

Turn = tuple[Tensor, Tensor]  # Of R' relations [R', S, m, m], and which [*].


class OTE(MMKGEModel):
    r"""The OTE model, without graph context, from the `"Orthogonal Relation
    Transforms with Graph Context Modeling for Knowledge Graph Embedding"
    <https://arxiv.org/abs/1911.04910>`_ paper, which turns and scales blocks
    of :obj:`m` channels.

    .. math::
        s(h, r, t) = \gamma - \tfrac{1}{2} \left[ D(T_r(h) - t) +
        D(T'_r(t) - h) \right], \qquad D(x) = \sum_{i} \| x_i \|_2

    with :math:`T_r(x)_i = x_i \, \mathrm{diag}(e^{a_i}) \, U_i` and
    :math:`T'_r(y)_i = y_i \, \mathrm{diag}(e^{-a_i}) \, U_i^{\top}` on row
    vectors; the rows of :math:`U_i` are those of a free matrix, made
    orthonormal (:func:`~pyg_mmkgc.nn.orthonormal.gram_schmidt`).

    The original code scores a triple by the first distance when it corrupts
    tails and by the second when it corrupts heads. They differ, as
    :math:`T'_r` undoes :math:`T_r` only where the scales of a block are equal.
    Here one triple has one score, the mean, as in the sum of GC-OTE. That code
    also weighs triples by the frequency of their queries.

    Args:
        num_nodes (int): The number of nodes/entities :obj:`N` in the graph.
        num_relations (int): The number of relations :obj:`R` in the graph.
        hidden_channels (int): The hidden embedding size :obj:`D = m * S`.
            Channel :obj:`j` of block :obj:`i` is at :obj:`j * S + i`.
        block_size (int, optional): :obj:`m`. (default: :obj:`4`)
        margin (float, optional): :math:`\gamma`. (default: :obj:`6.0`)
        sparse (bool, optional): If set to :obj:`True`, gradients w.r.t. to
            the embedding matrices will be sparse. (default: :obj:`False`)
        num_negatives (int, optional): Negatives of :meth:`loss`.
            (default: :obj:`128`)
    """
    def __init__(self, num_nodes: int, num_relations: int,
                 hidden_channels: int, block_size: int = 4,
                 margin: float = 6.0, sparse: bool = False,
                 num_negatives: int = 128) -> None:
        super().__init__(num_nodes, num_relations, hidden_channels,
                         num_negatives=num_negatives, sparse=sparse)
        if block_size < 2 or hidden_channels % block_size or not margin > 0:
            raise ModelError('expected hidden_channels of whole blocks of at '
                             'least two channels and margin > 0, got '
                             f'{hidden_channels}, block_size={block_size} '
                             f'and {margin}')
        self.block_size = block_size
        self.margin = margin
        self.rel_emb = Embedding(num_relations, hidden_channels * block_size,
                                 sparse=sparse)
        self.rel_scale = Embedding(num_relations, hidden_channels,
                                   sparse=sparse)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        torch.nn.init.uniform_(self.node_emb.weight, -0.01, 0.01)
        torch.nn.init.uniform_(self.rel_emb.weight)
        torch.nn.init.zeros_(self.rel_scale.weight)

    def sides(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        r"""What of representations is compared where they are a head, and
        where they are a tail, each :obj:`[*, D]`; first the entity itself.
        """
        return [(x, x)]

    def relation(self, rel_type: Tensor) -> tuple[Turn, Tensor]:
        r""":math:`U`, for :meth:`turn`, and :math:`e^a`, :obj:`[*, D]`."""
        rel, which = rel_type.unique(return_inverse=True)
        m = self.block_size
        rows = self.rel_emb(rel).view(-1, self.hidden_channels // m, m, m)
        return (gram_schmidt(rows), which), self.rel_scale(rel_type).exp()

    def turn(self, x: Tensor, turn: Turn, back: bool = False) -> Tensor:
        r"""The blocks of rows times :math:`U` or its transpose."""
        matrix, which = turn
        with torch.autocast(x.device.type, enabled=False):
            return grouped_product(x, which, matrix.mT if back else matrix)

    def score(self, head: Tensor, rel_type: Tensor, tail: Tensor) -> Tensor:
        (turn, scale), m = self.relation(rel_type), self.block_size
        heads, tails = self.sides(head), self.sides(tail)
        forth = self.turn(heads[0][0] * scale, turn)
        back = self.turn(tails[0][0] / scale, turn, back=True)
        parts = [moduli_distance(forth, y, m) + moduli_distance(back, x, m)
                 for (x, _), (_, y) in zip(heads, tails, strict=True)]
        return self.margin - torch.stack(parts).mean(dim=0) / 2

    # A turn keeps norms, so that D(T'(t) - h) = D(t e^-a - h U) and
    # D(T(h) - t) = D(h e^a - t U'): it is enough to scale a candidate.

    def score_candidates(self, table: Tensor, head: Tensor, rel_type: Tensor,
                         tail: Tensor, index: Tensor,
                         corrupt_head: Tensor) -> Tensor:
        (turn, scale), m = self.relation(rel_type), self.block_size
        heads, tails, rows = map(self.sides, (head, tail, table))
        forth = self.turn(heads[0][0] * scale, turn)
        back = self.turn(tails[0][0] / scale, turn, back=True)
        moved = torch.stack([forth, back], dim=1)
        scales, parts = torch.stack([1 / scale, scale], dim=1), []
        for (x, _), (_, y), row in zip(heads, tails, rows, strict=True):
            query = [self.turn(x, turn), self.turn(y, turn, back=True)]
            parts.append(pooled_candidate_distance(
                moved, *row, index, corrupt_head, m
            ) + scaled_candidate_distance(torch.stack(
                query, dim=1), scales, rows[0][0], index, corrupt_head, m))
        return self.margin - torch.stack(parts).mean(dim=0) / 2

    def score_tails(self, head_index: Tensor, rel_type: Tensor,
                    table: Optional[Tensor] = None) -> Tensor:
        table = self.encode() if table is None else table
        return self._all_nodes(table[head_index], rel_type, table, True)

    def score_heads(self, rel_type: Tensor, tail_index: Tensor,
                    table: Optional[Tensor] = None) -> Tensor:
        table = self.encode() if table is None else table
        return self._all_nodes(table[tail_index], rel_type, table, False)

    def _all_nodes(self, node: Tensor, rel_type: Tensor, table: Tensor,
                   tails: bool) -> Tensor:
        (turn, scale), m = self.relation(rel_type), self.block_size
        sign = -1 if tails else 1
        nodes, rows = self.sides(node), self.sides(table)
        moved = self.turn(nodes[0][0] * scale ** -sign, turn, not tails)
        parts = [dense_distance(moved, y[tails], m) + relation_distance(
            self.turn(x[not tails], turn, not tails), rel_type, rows[0][0],
            lambda rows, r: rows * (sign * self.rel_scale(r)).exp(), m)
            for x, y in zip(nodes, rows, strict=True)]
        return self.margin - torch.stack(parts).mean(dim=0) / 2
