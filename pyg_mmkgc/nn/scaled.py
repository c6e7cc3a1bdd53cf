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

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pyg_mmkgc.nn.blockwise import backward_pairs, norm_weight, score_pairs
from pyg_mmkgc.nn.functional import moduli_distance
from pyg_mmkgc.nn.kernel import dense_distance, loops_for


class _ScaledDistance(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, scale: Tensor, table: Tensor,
                index: Tensor, side: Tensor, group: int) -> Tensor:
        args = tuple(x.contiguous() for x in (query, scale, table, index,
                                              side))
        ctx.save_for_backward(*args)
        ctx.group = group
        loops = _scaled_loops_for(*args[:3])
        if loops is None:
            return score_pairs(_scores, args, group)
        out = table.new_empty(index.shape)
        loops.forward(*(x.detach().numpy() for x in args), group, out.numpy())
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Optional[Tensor], ...]:
        args, group = ctx.saved_tensors, ctx.group
        grad = grad.contiguous()
        loops = _scaled_loops_for(*args[:3])
        if loops is None:
            return (*backward_pairs(_grads, args, grad, group), None, None,
                    None)
        grads = tuple(torch.zeros_like(x) for x in args[:3])
        query, scale, table, index, side = (x.detach().numpy() for x in args)
        loops.backward_query(query, scale, table, index, side, group,
                             grad.numpy(), *(x.numpy() for x in grads[:2]))
        ptr, order = loops.group_by_row(index.reshape(-1), table.shape[0])
        loops.backward_table(query, scale, table, ptr, order, side, group,
                             grad.numpy(), grads[2].numpy())
        return *grads, None, None, None


def _scaled_loops_for(*tensors: Tensor) -> Optional[ModuleType]:
    if loops_for(*tensors) is None:
        return None
    from pyg_mmkgc.nn import _scaled_loops
    return _scaled_loops


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
