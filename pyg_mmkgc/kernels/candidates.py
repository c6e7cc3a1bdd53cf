r"""Scores of queries against the candidates of a batch, computed without the
:obj:`[B, K, C]` tensor that broadcasting would allocate.
"""
from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Optional

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pyg_mmkgc.kernels.backend import (
    arrays,
    check_rows,
    fused,
    numba_loops,
    parts,
)
from pyg_mmkgc.kernels.formulas import moduli, moduli_distance

# Queries, scales, the table, the rows of the candidates in it, and the sides
# of the candidates.
Pairs = tuple[Any, Any, Any, Any, Any]


class _Candidates(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, scale: Optional[Tensor],
                table: Tensor, index: Tensor, side: Tensor,
                group: int) -> Tensor:
        check_rows(index, table.size(0))
        query, table, index, side = (x.contiguous() for x in (
            query, table, index, side))
        scale = scale if scale is None else scale.contiguous()
        pairs = query, scale, table, index, side
        ctx.save_for_backward(*pairs)
        ctx.group = group
        out = table.new_empty(index.shape)
        loops, whole = _loops(pairs), fused(_scores, *pairs)
        if whole is not None:
            return whole(pairs, group)
        if loops is not None:
            loops.scores(tuple(arrays(*pairs)), group, *arrays(out))
        else:
            for part in _parts(pairs):
                out[part] = _scores(_take(pairs, part), group)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Optional[Tensor], ...]:
        pairs, group = ctx.saved_tensors, ctx.group
        grad = grad.contiguous()
        loops, whole = _loops(pairs), fused(_gradients, *pairs)
        if whole is not None:
            return *whole(pairs, group, grad), None, None, None
        grads: list[Any] = [None if x is None else torch.zeros_like(x)
                            for x in pairs[:3]]
        if loops is not None:
            loops.gradients(tuple(arrays(*pairs)), *arrays(grad), group,
                            *arrays(*grads))
        else:
            for part in _parts(pairs):
                found = _gradients(_take(pairs, part), group, grad[part])
                for i, x in enumerate(grads):
                    if x is not None:
                        (x[:, part] if i < 2 else x).add_(found[i])
        return *grads, None, None, None


def _loops(pairs: Pairs) -> Optional[Any]:
    return numba_loops('candidates', *(x for x in pairs[:3] if x is not None))


def _parts(pairs: Pairs) -> Iterator[slice]:
    _, _, table, index, _ = pairs
    return parts(index.size(0), index.size(1) * table.size(1))


def _take(pairs: Pairs, part: slice) -> Pairs:
    query, scale, table, index, side = pairs
    return (query[:, part], None if scale is None else scale[:, part], table,
            index[part], side[part])


def _scores(pairs: Pairs, group: int) -> Tensor:
    query, scale, table, index, side = pairs
    query, key = _by_side(query, side), table[index]
    if scale is not None:
        key = key * _by_side(scale, side)
    if group == 0:
        return (query * key).sum(dim=-1)
    return moduli_distance(query, key, group)


def _gradients(pairs: Pairs, group: int,
               grad: Tensor) -> tuple[Tensor, Optional[Tensor], Tensor]:
    query, scale, table, index, side = pairs
    q, rows, grad = _by_side(query, side), table[index], grad.unsqueeze(-1)
    w = None if scale is None else _by_side(scale, side)
    key = rows if w is None else w * rows
    if group == 0:
        to_query, to_key = grad * key, grad * q
    else:
        norm = moduli(q - key, group)
        weight = (grad / norm).masked_fill(norm == 0, 0.0)
        to_query = (q - key) * weight.repeat(1, 1, group)
        to_key = -to_query
    to_rows = to_key if w is None else to_key * w
    return (_sums(to_query, query, side),
            None if w is None else _sums(to_key * rows, query, side),
            torch.zeros_like(table).index_add_(0, index.reshape(-1),
                                               to_rows.flatten(0, 1)))


def _sums(x: Tensor, query: Tensor, side: Tensor) -> Tensor:
    if len(query) == 1:
        return x.sum(dim=1).unsqueeze(0)
    head = side.bool().unsqueeze(-1)
    return torch.stack([x.masked_fill(head, 0.0).sum(dim=1),
                        x.masked_fill(~head, 0.0).sum(dim=1)])


def _by_side(x: Tensor, side: Tensor) -> Tensor:
    if len(x) == 1:
        return x[0].unsqueeze(1)
    tail, head = x.unsqueeze(2)
    return torch.where(side.bool().unsqueeze(-1), head, tail)


def candidate_scores(query: Tensor, table: Tensor, index: Tensor,
                     corrupt_head: Tensor, group: int,
                     scale: Optional[Tensor] = None) -> Tensor:
    r"""Returns the distances :math:`\sum_i \| q_{b,i} - w_{b,i} \circ t_{k,i}
    \|_2` between the queries of each positive and its candidates, with shape
    :obj:`[B, K]`. With :obj:`group=0`, it returns their inner products.

    Args:
        query (torch.Tensor): The queries, :obj:`[2, B, C]`. The first query
            of a positive asks for a tail, the second for a head.
        table (torch.Tensor): The keys of the candidates, :obj:`[U, C]`.
        index (torch.Tensor): Rows of :obj:`table`, :obj:`[B, K]`.
        corrupt_head (torch.Tensor): :obj:`True` where the candidate replaces
            the head, :obj:`[B, K]`.
        group (int): The number of channels in a norm, see
            :func:`~pyg_mmkgc.nn.functional.moduli_distance`, or zero for
            inner products.
        scale (torch.Tensor, optional): The factors :math:`w` of the channels
            of a candidate, :obj:`[2, B, C]`. (default: :obj:`None`, all ones)

    Raises:
        IndexError: If :obj:`index` has an entry outside :obj:`[0, U)`.
    """
    return _Candidates.apply(query, scale, table, index,
                             corrupt_head.view(torch.uint8), group)


def pair_scores(x: Tensor, y: Tensor, group: int) -> Tensor:
    r"""Returns the distances :obj:`[*]` between rows :obj:`[*, C]`, which
    broadcast. With :obj:`group=0`, it returns their inner products.
    """
    if group == 0:
        return (x * y).sum(dim=-1)
    # PyTorch is fast enough for norms over one channel or all of them, and the
    # compiled loops would need a copy of broadcast rows.
    if (group in (1, x.size(-1)) or x.shape != y.shape
            or numba_loops('candidates', x, y) is None):
        return moduli_distance(x, y, group)
    rows = y.reshape(-1, y.size(-1))
    index = torch.arange(rows.size(0)).unsqueeze(-1)
    out = candidate_scores(x.reshape(1, -1, x.size(-1)), rows, index,
                           torch.zeros_like(index, dtype=torch.bool), group)
    return out.view(x.shape[:-1])
