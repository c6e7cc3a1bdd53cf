from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import Embedding

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.kernels.host import distinct_values, on_host, to_device
from pyg_mmkgc.nn.kge.base import MMKGEModel
from pyg_mmkgc.nn.kge.query import by_relation
from pyg_mmkgc.nn.similarity import Distance
from pyg_mmkgc.typing import Side

# The number of rows that are multiplied at once. With few rows, matrices are
# read and their gradients written too often. With many rows, small groups
# consist mostly of padding.
TILE = 8

# The matrices [R', S, m, m] of the distinct relations, and the position [*]
# of each relation among them.
Turn = tuple[Tensor, Tensor]


class OTE(MMKGEModel):
    r"""The OTE model from the `"Orthogonal Relation Transforms with Graph
    Context Modeling for Knowledge Graph Embedding"
    <https://arxiv.org/abs/1911.04910>`_ paper, without graph context. It
    rotates and scales blocks of :obj:`m` channels.

    .. math::
        s(h, r, t) = \gamma - \tfrac{1}{2} \left[ D(T_r(h) - t) +
        D(T'_r(t) - h) \right], \qquad D(x) = \sum_{i} \| x_i \|_2

    with :math:`T_r(x)_i = x_i \, \mathrm{diag}(e^{a_i}) \, U_i` and
    :math:`T'_r(y)_i = y_i \, \mathrm{diag}(e^{-a_i}) \, U_i^{\top}` on row
    vectors. :func:`gram_schmidt` orthonormalizes the rows of a trained matrix
    to obtain :math:`U_i`.

    The original code scores a triple by the first distance when it corrupts
    tails, and by the second when it corrupts heads. The two distances differ,
    since :math:`T'_r` inverts :math:`T_r` only if the scales of a block are
    equal. Here, the score of a triple is the mean of both, in line with the
    sum in GC-OTE. The original code also weights triples by the frequency of
    their queries.

    Args:
        num_nodes (int): The number of nodes/entities :obj:`N` in the graph.
        num_relations (int): The number of relations :obj:`R` in the graph.
        hidden_channels (int): The hidden embedding size :obj:`D = m * S`.
            Channel :obj:`j` of block :obj:`i` is at :obj:`j * S + i`.
        block_size (int, optional): The number of channels :obj:`m` in a block.
            (default: :obj:`4`)
        margin (float, optional): The margin :math:`\gamma`.
            (default: :obj:`6.0`)
        sparse (bool, optional): If set to :obj:`True`, gradients w.r.t.
            the embedding matrices will be sparse. (default: :obj:`False`)
        num_negatives (int, optional): The number of negatives in
            :meth:`loss`. (default: :obj:`128`)

    Raises:
        ModelError: If an argument is out of range, or if
            :obj:`hidden_channels` is not divisible by :obj:`block_size`.
    """
    def __init__(self, num_nodes: int, num_relations: int,
                 hidden_channels: int, block_size: int = 4,
                 margin: float = 6.0, sparse: bool = False,
                 num_negatives: int = 128) -> None:
        super().__init__(num_nodes, num_relations, hidden_channels,
                         num_negatives=num_negatives, sparse=sparse)
        if block_size < 2 or hidden_channels % block_size or not margin > 0:
            raise ModelError("Expected 'hidden_channels' to be a multiple of "
                             "'block_size', 'block_size' to be at least 2 and "
                             f"'margin' to be positive (got {hidden_channels},"
                             f' block_size={block_size} and margin={margin})')
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
        r"""Returns pairs :obj:`(as_head, as_tail)` of parts of the
        representations, each :obj:`[*, D]`. A triple compares the first part
        of its head and the second part of its tail in each pair. The first
        pair is the entity itself.
        """
        return [(x, x)]

    def relation(self, rel_type: Tensor) -> tuple[Turn, Tensor]:
        r"""Returns the matrices :math:`U` as the input of :meth:`turn`, and
        the scales :math:`e^a`, :obj:`[*, D]`.
        """
        rel, which = distinct_values(rel_type)
        m = self.block_size
        rows = self.rel_emb(rel).view(-1, self.hidden_channels // m, m, m)
        return (gram_schmidt(rows), which), self.rel_scale(rel_type).exp()

    def turn(self, x: Tensor, turn: Turn, back: bool = False) -> Tensor:
        r"""Multiplies the blocks of rows by :math:`U` or its transpose."""
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

    # Since orthogonal matrices preserve norms, D(T'(t) - h) = D(t e^-a - h U)
    # and D(T(h) - t) = D(h e^a - t U'): candidates only need to be scaled.

    def candidate_scores(self, table: Tensor, head: Tensor, rel_type: Tensor,
                         tail: Tensor, index: Tensor,
                         corrupt_head: Tensor) -> Tensor:
        turn, scale = self.relation(rel_type)
        heads, tails, rows = map(self.sides, (head, tail, table))
        moved = torch.stack([
            self.turn(heads[0][0] * scale, turn),
            self.turn(tails[0][0] / scale, turn, back=True)])
        scales = torch.stack([1 / scale, scale])
        parts = []
        for (x, _), (_, y), row in zip(heads, tails, rows, strict=True):
            query = torch.stack([self.turn(x, turn),
                                 self.turn(y, turn, back=True)])
            parts.append(self._by_side(moved, *row, index, corrupt_head) +
                         self.similarity.candidates(
                             query, rows[0][0], index, corrupt_head, scales))
        return self._mean(parts)

    def _by_side(self, query: Tensor, as_head: Tensor, as_tail: Tensor,
                 index: Tensor, corrupt_head: Tensor) -> Tensor:
        if as_head is as_tail:
            return self.similarity.candidates(query, as_tail, index,
                                              corrupt_head)
        # Computing both sides keeps the candidates equal for all positives of
        # a pool, which is faster than selecting rows from one of two tables.
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
        # The factor with a positive diagonal is the Gram-Schmidt result.
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
        # A row that depends on previous rows has a residual of length zero, so
        # the divisor is bounded from below.
        length = r.diagonal(dim1=-2, dim2=-1)
        top = length.amax(dim=-1, keepdim=True)
        least = torch.where(top > 0, torch.finfo(r.dtype).eps * top, 1.0)
        r = r - torch.diag_embed(length - length.maximum(least))
        return torch.linalg.solve_triangular(r.mT, grad, upper=False,
                                             left=False).mT


def gram_schmidt(rows: Tensor) -> Tensor:
    r"""Returns the Gram-Schmidt orthonormalization of the rows of square
    matrices, :obj:`[*, m, m]`, by a batched QR decomposition. The gradient is
    finite even if rows are linearly dependent, which happens when training
    flips the orientation of a basis.
    """
    return _GramSchmidt.apply(rows)


def grouped_product(x: Tensor, group: Tensor, matrix: Tensor) -> Tensor:
    r"""Returns the products :math:`\mathbf{x}_i \mathbf{M}_{g,i}` of block
    :math:`i` of each row with the matrices of its group :math:`g`, with shape
    :obj:`[*, m * S]`.

    Args:
        x (torch.Tensor): The rows, :obj:`[*, m * S]`. Channel :obj:`j` of
            block :obj:`i` is at :obj:`j * S + i`.
        group (torch.Tensor): The groups of the rows in any order, :obj:`[*]`.
            Dimensions of size one broadcast.
        matrix (torch.Tensor): The matrices, :obj:`[G, S, m, m]`.
    """
    rows = x.reshape(-1, x.size(-1)).unflatten(-1, (matrix.size(-1), -1)).mT
    group = on_host(group).expand(x.shape[:-1]).flatten()
    count = group.bincount(minlength=matrix.size(0))
    tiles = (count + TILE - 1) // TILE
    # Rows are sorted by group, and each group starts a new tile.
    shift = (tiles.cumsum(0) - tiles) * TILE - (count.cumsum(0) - count)
    order = group.argsort(stable=True)
    place = torch.empty_like(order)
    place[order] = torch.arange(group.numel()) + shift[group[order]]
    owner = torch.arange(matrix.size(0)).repeat_interleave(tiles)
    place, owner = (to_device(ids, x.device) for ids in (place, owner))
    padded = rows.new_zeros(TILE * owner.numel(), *rows.shape[1:])
    padded = padded.index_copy(0, place, rows).unflatten(
        0, (owner.numel(), TILE))
    out = padded.transpose(1, 2) @ matrix[owner]  # [T, S, TILE, m]
    return out.transpose(1, 2).flatten(0, 1)[place].mT.reshape(x.shape)
