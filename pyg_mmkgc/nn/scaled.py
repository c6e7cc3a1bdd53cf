r"""Distances to rows of a table that the relation of a query transforms,
without the :obj:`[B, K, C]` tensor that broadcasting would make.

On CPU the loops of :obj:`numba` are used where it is installed; plain
PyTorch, in blocks, works everywhere and gives the same values.
"""
from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any, Optional

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pyg_mmkgc.nn.functional import BLOCK, moduli_distance
from pyg_mmkgc.nn.kernel import dense_distance, loops_for


class _ScaledDistance(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, scale: Tensor, table: Tensor,
                index: Tensor, side: Tensor, group: int) -> Tensor:
        args = tuple(x.contiguous() for x in (query, scale, table, index,
                                              side))
        ctx.save_for_backward(*args)
        ctx.group = group
        out = table.new_empty(index.shape)
        loops = _scaled_loops_for(*args[:3])
        if loops is not None:
            loops.forward(*(x.detach().numpy() for x in args), group,
                          out.numpy())
            return out
        for part in _parts(args):
            q, w, rows = _gather(args, part)
            out[part] = moduli_distance(q, w * rows, group)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Optional[Tensor], ...]:
        args, group = ctx.saved_tensors, ctx.group
        grad = grad.contiguous()
        grads = tuple(torch.zeros_like(x) for x in args[:3])
        loops = _scaled_loops_for(*args[:3])
        if loops is None:
            _plain_backward(args, group, grad, grads)
            return *grads, None, None, None
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


def _parts(args: tuple[Tensor, ...]) -> list[slice]:
    B, K = args[3].shape
    step = max(1, BLOCK // max(1, K * args[2].size(1)))
    return [slice(i, min(B, i + step)) for i in range(0, B, step)]


def _gather(args: tuple[Tensor, ...],
            part: slice) -> tuple[Tensor, Tensor, Tensor]:
    query, scale, table, index, side = args
    b = torch.arange(part.start, part.stop, device=side.device).unsqueeze(-1)
    return query[b, side[part]], scale[b, side[part]], table[index[part]]


def _plain_backward(args: tuple[Tensor, ...], group: int, grad: Tensor,
                    grads: tuple[Tensor, ...]) -> None:
    index, side = args[3:]
    for part in _parts(args):
        q, w, rows = _gather(args, part)  # [b, K, C]
        diff = q - w * rows
        parts = diff.unflatten(-1, (group, -1))
        norm = torch.linalg.vector_norm(parts, dim=-2, keepdim=True)
        parts *= (grad[part, :, None, None] / norm).masked_fill(norm == 0, 0.0)
        for s in (0, 1):
            mine = (side[part] == s).unsqueeze(-1)
            grads[0][part, s] = (diff * mine).sum(dim=1)
            grads[1][part, s] = -(diff * rows * mine).sum(dim=1)
        grads[2].index_add_(0, index[part].reshape(-1),
                            (diff * w).flatten(0, 1), alpha=-1)


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
