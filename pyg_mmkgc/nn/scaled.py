r"""Distances to rows of a table that the relation of a query transforms,
without the :obj:`[B, K, C]` tensor that broadcasting would make.

On CPU the loops of :obj:`numba` are used where it is installed, on a GPU
what :func:`torch.compile` makes of the formulas; plain PyTorch, in blocks,
works everywhere and gives the same values.
"""
from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any, Optional

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pyg_mmkgc.nn.blockwise import backward_pairs, norm_weight, score_pairs
from pyg_mmkgc.nn.functional import moduli_distance
from pyg_mmkgc.nn.kernel import check_rows, dense_distance, loops_for


class _ScaledDistance(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, scale: Tensor, table: Tensor,
                index: Tensor, side: Tensor, group: int) -> Tensor:
        check_rows(index, table.size(0))
        args = tuple(x.contiguous() for x in (query, scale, table, index,
                                              side))
        ctx.save_for_backward(*args)
        ctx.group = group
        if loops_for(*args[:3]) is None:
            return score_pairs(_scores, args, group)
        return _loops_forward(args, group)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Optional[Tensor], ...]:
        args, group = ctx.saved_tensors, ctx.group
        grad = grad.contiguous()
        if loops_for(*args[:3]) is None:
            return (*backward_pairs(_grads, args, grad, group), None, None,
                    None)
        return (*_loops_backward(args, grad, group), None, None, None)


def _loops() -> tuple[ModuleType, ModuleType]:
    r"""Those for pooled candidates, and those for any."""
    from pyg_mmkgc.nn import _pooled_loops, _scaled_loops
    return _pooled_loops, _scaled_loops


def _loops_forward(tensors: tuple[Tensor, ...], group: int) -> Tensor:
    pooled, single = _loops()
    args = [x.detach().numpy() for x in tensors]
    out = tensors[2].new_empty(tensors[3].shape)
    # Moduli of one channel need no loop over candidates to be fast.
    starts = pooled.pooled_runs(args[3]) if group > 1 else None
    if starts is not None:
        pooled.forward(*args, starts, group, out.numpy())
    else:
        single.forward(*args, group, out.numpy())
    return out


def _loops_backward(tensors: tuple[Tensor, ...], grad: Tensor,
                    group: int) -> tuple[Tensor, ...]:
    pooled, single = _loops()
    grads = tuple(torch.zeros_like(x) for x in tensors[:3])
    out = [x.numpy() for x in grads]
    query, scale, table, index, side = (x.detach().numpy() for x in tensors)
    starts = pooled.pooled_runs(index)
    if starts is not None:
        nodes = index[starts[:-1]].reshape(-1)
        rows = np.empty((starts.size - 1, index.shape[1], table.shape[1]),
                        table.dtype)
        pooled.backward(query, scale, table, index, side, starts, group,
                        grad.numpy(), *out[:2], rows)
        pooled.add_rows(nodes, rows.reshape(-1, table.shape[1]), out[2])
        return grads
    single.backward_query(query, scale, table, index, side, group,
                          grad.numpy(), *out[:2])
    ptr, order = single.group_by_row(index.reshape(-1), len(table))
    single.backward_table(query, scale, table, ptr, order, side, group,
                          grad.numpy(), out[2])
    return grads


def _gather(query: Tensor, scale: Tensor, table: Tensor, index: Tensor,
            side: Tensor) -> tuple[Tensor, ...]:
    head = side.bool().unsqueeze(-1)  # [B, K, 1]
    return (torch.where(head, query[:, 1:], query[:, :1]),
            torch.where(head, scale[:, 1:], scale[:, :1]), table[index])


def _scores(query: Tensor, scale: Tensor, table: Tensor, index: Tensor,
            side: Tensor, group: int) -> Tensor:
    q, w, rows = _gather(query, scale, table, index, side)
    return moduli_distance(q, w * rows, group)


def _grads(query: Tensor, scale: Tensor, table: Tensor, index: Tensor,
           side: Tensor, grad: Tensor, group: int,
           grad_table: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of queries and scales; that of the table is added to."""
    q, w, rows = _gather(query, scale, table, index, side)
    diff = q - w * rows
    diff = diff * norm_weight(diff, grad.unsqueeze(-1), group)
    grad_table.index_add_(0, index.reshape(-1), (diff * w).flatten(0, 1),
                          alpha=-1)
    head = side.bool().unsqueeze(-1)

    def by_side(x: Tensor) -> Tensor:
        of_heads = x.masked_fill(~head, 0.0).sum(dim=1)
        of_tails = x.masked_fill(head, 0.0).sum(dim=1)
        return torch.stack([of_tails, of_heads], dim=1)

    return by_side(diff), -by_side(diff * rows)


def scaled_candidate_distance(query: Tensor, scale: Tensor, table: Tensor,
                              index: Tensor, corrupt_head: Tensor,
                              group: int) -> Tensor:
    r"""The distances :math:`\sum_i \| q_{b,i} - w_{b,i} \circ t_{k,i} \|_2`
    between the query of each positive and its candidates, with shape
    :obj:`[B, K]`, where :math:`q` and :math:`w` depend on the side.

    Args:
        query (torch.Tensor): The queries, :obj:`[B, 2, C]`: first those that
            ask for a tail, then those that ask for a head.
        scale (torch.Tensor): What the channels of the candidates are scaled
            by, likewise :obj:`[B, 2, C]`.
        table (torch.Tensor): The candidates, :obj:`[U, C]`.
        index (torch.Tensor): Rows of :obj:`table`, :obj:`[B, K]`.
        corrupt_head (torch.Tensor): :obj:`True` where the candidate stands
            for the head, :obj:`[B, K]`.
        group (int): The channels of a norm, see
            :func:`~pyg_mmkgc.nn.functional.moduli_distance`.
    """
    return _ScaledDistance.apply(query, scale, table, index,
                                 corrupt_head.long(), group)


def pooled_candidate_distance(query: Tensor, head_table: Tensor,
                              tail_table: Tensor, index: Tensor,
                              corrupt_head: Tensor, group: int) -> Tensor:
    r"""The distances :math:`\sum_i \| q_{b,i} - t_{k,i} \|_2` as those of
    :func:`scaled_candidate_distance`, where a candidate has a row in
    :obj:`head_table` and another in :obj:`tail_table`, which may be the same
    tensor. Faster than those of
    :func:`~pyg_mmkgc.nn.kernel.candidate_distance` where positives share
    their candidates and a norm has many channels.
    """
    ones = torch.ones_like(query)
    if head_table is tail_table:
        return scaled_candidate_distance(query, ones, tail_table, index,
                                         corrupt_head, group)
    # Both are computed: places in two tables would no longer be shared.
    tails = torch.zeros_like(index)
    both = scaled_candidate_distance(
        query, ones, torch.cat([tail_table, head_table]),
        torch.cat([index, index + tail_table.size(0)], dim=1),
        torch.cat([tails, tails + 1], dim=1), group)
    of_tails, of_heads = both.chunk(2, dim=1)
    return torch.where(corrupt_head, of_heads, of_tails)


def relation_distance(query: Tensor, rel_type: Tensor, table: Tensor,
                      transform: Callable[[Tensor, Tensor], Tensor],
                      group: int) -> Tensor:
    r"""The distances :math:`\sum_i \| q_i - f_r(t)_i \|_2` of every query to
    every row of a table that its relation transforms, with shape
    :obj:`[Q, N]`. The table is transformed once for all queries of a relation.

    Args:
        query (torch.Tensor): The queries, :obj:`[Q, C]`.
        rel_type (torch.Tensor): Their relations, :obj:`[Q]`.
        table (torch.Tensor): The rows, :obj:`[N, *]`.
        transform (callable): :math:`f`, maps the table and a relation
            :obj:`[]` to :obj:`[N, C]`.
        group (int): The channels of a norm.
    """
    order = rel_type.argsort(stable=True)
    rel, count = rel_type[order].unique_consecutive(return_counts=True)
    out = [dense_distance(query[rows], transform(table, r), group)
           for r, rows in zip(rel, order.split(count.tolist()), strict=True)]
    if not out:
        return query.new_empty(0, table.size(0))
    return torch.cat(out)[order.argsort()]
