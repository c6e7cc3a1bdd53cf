from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import Embedding

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn.kge.base import MMKGEModel
from pyg_mmkgc.nn.kge.query import by_relation
from pyg_mmkgc.nn.similarity import Distance
from pyg_mmkgc.typing import Side

# Rows that are multiplied at once. With one, a matrix would be read, and its
# gradient written, for every row; with many, most would be zeros where groups
# are small.
TILE = 8

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
    orthonormal (:func:`gram_schmidt`).

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
        self.similarity = Distance(group=block_size)
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
        r"""Returns the parts of representations that are compared when they
        are a head and when they are a tail, each :obj:`[*, D]`; first the
        entity itself.
        """
        return [(x, x)]

    def relation(self, rel_type: Tensor) -> tuple[Turn, Tensor]:
        r"""Returns :math:`U`, for :meth:`turn`, and :math:`e^a`,
        :obj:`[*, D]`.
        """
        rel, which = rel_type.unique(return_inverse=True)
        m = self.block_size
        rows = self.rel_emb(rel).view(-1, self.hidden_channels // m, m, m)
        return (gram_schmidt(rows), which), self.rel_scale(rel_type).exp()

    def turn(self, x: Tensor, turn: Turn, back: bool = False) -> Tensor:
        r"""Returns the blocks of rows times :math:`U` or its transpose."""
        matrix, which = turn
        with torch.autocast(x.device.type, enabled=False):
            return grouped_product(x, which, matrix.mT if back else matrix)

    def score(self, head: Tensor, rel_type: Tensor, tail: Tensor) -> Tensor:
        turn, scale = self.relation(rel_type)
        heads, tails = self.sides(head), self.sides(tail)
        forth = self.turn(heads[0][0] * scale, turn)
        back = self.turn(tails[0][0] / scale, turn, back=True)
        return self._mean([
            self.similarity(forth, y) + self.similarity(back, x)
            for (x, _), (_, y) in zip(heads, tails, strict=True)])

    # A turn keeps norms, so that D(T'(t) - h) = D(t e^-a - h U) and
    # D(T(h) - t) = D(h e^a - t U'): it is enough to scale a candidate.

    def candidate_scores(self, table: Tensor, head: Tensor, rel_type: Tensor,
                         tail: Tensor, index: Tensor,
                         corrupt_head: Tensor) -> Tensor:
        turn, scale = self.relation(rel_type)
        heads, tails, rows = map(self.sides, (head, tail, table))
        moved = torch.stack([
            self.turn(heads[0][0] * scale, turn),
            self.turn(tails[0][0] / scale, turn, back=True)], dim=1)
        scales = torch.stack([1 / scale, scale], dim=1)
        parts = []
        for (x, _), (_, y), row in zip(heads, tails, rows, strict=True):
            query = torch.stack([self.turn(x, turn),
                                 self.turn(y, turn, back=True)], dim=1)
            parts.append(self._by_side(moved, *row, index, corrupt_head) +
                         self.similarity.candidates(
                             query, rows[0][0], index, corrupt_head, scales))
        return self._mean(parts)

    def _by_side(self, query: Tensor, as_head: Tensor, as_tail: Tensor,
                 index: Tensor, corrupt_head: Tensor) -> Tensor:
        if as_head is as_tail:
            return self.similarity.candidates(query, as_tail, index,
                                              corrupt_head)
        # Both are computed: rows of two tables would not be shared by the
        # positives of a pool.
        both = self.similarity.candidates(
            query, torch.cat([as_tail, as_head]),
            torch.cat([index, index + as_tail.size(0)], dim=1),
            torch.cat([torch.zeros_like(corrupt_head),
                       torch.ones_like(corrupt_head)], dim=1))
        of_tails, of_heads = both.chunk(2, dim=1)
        return torch.where(corrupt_head, of_heads, of_tails)

    def node_scores(self, x: Tensor, rel_type: Tensor, side: Side,
                    table: Tensor) -> Tensor:
        turn, scale = self.relation(rel_type)
        given, asked = (0, 1) if side == 'tail' else (1, 0)
        back, sign = side == 'head', -1 if side == 'tail' else 1
        nodes, rows = self.sides(x), self.sides(table)
        moved = self.turn(nodes[0][0] * scale ** -sign, turn, back)

        def scores(query: Tensor, rel: Tensor) -> Tensor:
            return self.similarity.table(
                query, rows[0][0] * (sign * self.rel_scale(rel)).exp())

        parts = []
        for node, row in zip(nodes, rows, strict=True):
            query = self.turn(node[given], turn, back)
            parts.append(self.similarity.table(moved, row[asked]) +
                         by_relation(query, rel_type, table, scores))
        return self._mean(parts)

    def _mean(self, parts: list[Tensor]) -> Tensor:
        return self.margin + torch.stack(parts).mean(dim=0) / 2


class _GramSchmidt(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        q, r = torch.linalg.qr(rows.mT)
        # The one with a positive diagonal is that of Gram-Schmidt.
        sign = torch.where(r.diagonal(dim1=-2, dim2=-1) < 0, -1, 1).to(r)
        q, r = q * sign.unsqueeze(-2), r * sign.unsqueeze(-1)
        ctx.save_for_backward(q, r)
        return q.mT.contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        q, r = ctx.saved_tensors
        inner = grad @ q
        grad = grad.mT - q @ (inner.tril() + inner.tril(-1).mT)
        # What is left of a row that depends on those before it is divided by
        # its length, which may be zero.
        length = r.diagonal(dim1=-2, dim2=-1)
        top = length.amax(dim=-1, keepdim=True)
        least = torch.where(top > 0, torch.finfo(r.dtype).eps * top, 1.0)
        r = r - torch.diag_embed(length - length.maximum(least))
        return torch.linalg.solve_triangular(r.mT, grad, upper=False,
                                             left=False).mT


def gram_schmidt(rows: Tensor) -> Tensor:
    r"""Returns the Gram-Schmidt orthonormalisation of the rows of square
    matrices, :obj:`[*, m, m]`, by a batched QR decomposition. The gradient is
    finite also where rows depend on each other, which happens when training
    turns a basis inside out.
    """
    return _GramSchmidt.apply(rows)


def grouped_product(x: Tensor, group: Tensor, matrix: Tensor) -> Tensor:
    r"""Returns the products :math:`\mathbf{x}_i \mathbf{M}_{g,i}` of blocks
    :math:`i` of rows with the matrices of their group :math:`g`, with shape
    :obj:`[*, m * S]`.

    Args:
        x (torch.Tensor): The rows, :obj:`[*, m * S]`. Channel :obj:`j` of
            block :obj:`i` is at :obj:`j * S + i`.
        group (torch.Tensor): The groups, in any order, :obj:`[*]`, where a
            size of one stands for any.
        matrix (torch.Tensor): The matrices, :obj:`[G, S, m, m]`.
    """
    rows = x.reshape(-1, x.size(-1)).unflatten(-1, (matrix.size(-1), -1)).mT
    group = group.expand(x.shape[:-1]).flatten()
    count = group.bincount(minlength=matrix.size(0))
    tiles = (count + TILE - 1) // TILE
    # Sorted by group, where each group begins with a tile of its own.
    shift = (tiles.cumsum(0) - tiles) * TILE - (count.cumsum(0) - count)
    order = group.argsort(stable=True)
    place = torch.empty_like(order)
    place[order] = torch.arange(
        group.numel(), device=group.device) + shift[group[order]]
    owner = torch.arange(matrix.size(0), device=group.device)
    owner = owner.repeat_interleave(tiles)
    padded = rows.new_zeros(TILE * owner.numel(), *rows.shape[1:])
    padded = padded.index_copy(0, place, rows).unflatten(
        0, (owner.numel(), TILE))
    out = padded.transpose(1, 2) @ matrix[owner]  # [T, S, TILE, m]
    return out.transpose(1, 2).flatten(0, 1)[place].mT.reshape(x.shape)
