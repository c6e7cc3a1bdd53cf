r"""Sums of norms, and inner products, between queries and rows of a table,
without the :obj:`[B, K, C]` tensor that broadcasting would make.

On CPU the loops of :obj:`numba` are used where it is installed
(:obj:`pip install pyg_mmkgc[fast]`), on a GPU what :func:`torch.compile`
makes of the formulas; plain PyTorch, in blocks, works everywhere and gives
the same values.
"""
from __future__ import annotations

import functools
import importlib.util
import warnings
from types import ModuleType
from typing import Any, Optional

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pyg_mmkgc.nn.blockwise import (
    backward_pairs,
    fused,
    norm_weight,
    score_pairs,
)
from pyg_mmkgc.nn.functional import BLOCK, moduli, moduli_distance


@functools.lru_cache(maxsize=1)
def _numba_loops() -> Optional[ModuleType]:
    if importlib.util.find_spec('numba') is None:
        warnings.warn(
            'Training and ranking on this CPU are several times faster with '
            "numba: run 'pip install numba'", UserWarning, stacklevel=4)
        return None
    # Where numba starts its threads, OpenMP forgets how many torch may use.
    num_threads = torch.get_num_threads()
    try:
        from pyg_mmkgc.nn import _loops
    except RuntimeError as error:  # No folder for numba's cache is writable.
        warnings.warn(f'numba is not used: {error}', UserWarning,
                      stacklevel=4)
        return None
    finally:
        torch.set_num_threads(num_threads)
    return _loops


def loops_for(*tensors: Tensor) -> Optional[ModuleType]:
    r"""The compiled loops, where they serve these tensors."""
    if any(x.device.type != 'cpu' or x.dtype != tensors[0].dtype
           or x.dtype not in (torch.float32, torch.float64)
           for x in tensors):
        return None
    loops = _numba_loops()
    if loops is not None:
        loops.use_threads(torch.get_num_threads())
    return loops


def check_rows(index: Tensor, num_rows: int) -> None:
    r"""Compiled loops would read other memory. On a GPU, which would have to
    be waited for, nothing is checked.

    Raises:
        IndexError: If :obj:`index` has a row that is not in
            :obj:`[0, num_rows)`.
    """
    if index.numel() > 0 and index.device.type == 'cpu':
        low, high = (int(x) for x in index.aminmax())
        if low < 0 or high >= num_rows:
            raise IndexError(f'expected indices in [0, {num_rows}), got '
                             f'{low if low < 0 else high}')


class _Candidates(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tail_query: Tensor, head_query: Tensor,
                table: Tensor, index: Tensor, corrupt_head: Tensor,
                group: int) -> Tensor:
        check_rows(index, table.size(0))
        args = tuple(x.contiguous() for x in (tail_query, head_query, table,
                                              index, corrupt_head))
        ctx.save_for_backward(*args)
        ctx.group = group
        loops = loops_for(*args[:3])
        if loops is None:
            return score_pairs(_scores, args, group)
        out = table.new_empty(index.shape)
        loops.candidates_forward(*(x.detach().numpy() for x in args), group,
                                 out.numpy())
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Optional[Tensor], ...]:
        args = ctx.saved_tensors
        grad = grad.contiguous()
        loops = loops_for(*args[:3])
        if loops is None:
            return (*backward_pairs(_grads, args, grad, ctx.group), None,
                    None, None)
        return (*_loops_backward(loops, args, grad, ctx.group), None, None,
                None)


def _loops_backward(loops: ModuleType, tensors: tuple[Tensor, ...],
                    grad: Tensor, group: int) -> tuple[Tensor, ...]:
    grads = tuple(torch.zeros_like(x) for x in tensors[:3])
    args = [x.detach().numpy() for x in (*tensors, grad)]
    out = [x.numpy() for x in grads]
    index, num_rows = args[3], out[2].shape[0]
    starts = loops.pooled_runs(index) if group == 2 else None
    if starts is not None:  # Both gradients in one pass.
        nodes = index[starts[:-1]].reshape(-1)
        rows = tensors[2].new_zeros(nodes.size, out[2].shape[1]).numpy()
        loops.candidates_backward_runs(
            *args, starts, *out[:2], rows.reshape(starts.size - 1, -1,
                                                  rows.shape[1]))
        loops.add_rows(nodes, rows, out[2])
        return grads
    loops.candidates_backward_query(*args, group, *out[:2])
    ptr, order = loops.group_by_row(index.reshape(-1), num_rows)
    loops.candidates_backward_table(*args[:3], ptr, order, *args[4:], group,
                                    out[2])
    return grads


def _gather(tail_query: Tensor, head_query: Tensor, table: Tensor,
            index: Tensor, corrupt_head: Tensor) -> tuple[Tensor, Tensor]:
    query = torch.where(corrupt_head.unsqueeze(-1), head_query.unsqueeze(1),
                        tail_query.unsqueeze(1))
    return query, table[index]


def _scores(tail_query: Tensor, head_query: Tensor, table: Tensor,
            index: Tensor, corrupt_head: Tensor, group: int) -> Tensor:
    query, rows = _gather(tail_query, head_query, table, index, corrupt_head)
    if group == 0:
        return (query * rows).sum(dim=-1)
    return moduli_distance(query, rows, group)


def _grads(tail_query: Tensor, head_query: Tensor, table: Tensor,
           index: Tensor, corrupt_head: Tensor, grad: Tensor, group: int,
           grad_table: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of both queries; that of the table is added to."""
    query, rows = _gather(tail_query, head_query, table, index, corrupt_head)
    grad = grad.unsqueeze(-1)  # [B, K, 1]
    if group == 0:
        to_query, to_rows = grad * rows, grad * query
    else:
        diff = query - rows
        to_query = to_rows = diff * norm_weight(diff, grad, group)
    head = corrupt_head.unsqueeze(-1)
    grad_table.index_add_(0, index.reshape(-1), to_rows.flatten(0, 1),
                          alpha=-1 if group else 1)
    return (to_query.masked_fill(head, 0.0).sum(dim=1),
            to_query.masked_fill(~head, 0.0).sum(dim=1))


def candidate_distance(tail_query: Tensor, head_query: Tensor, table: Tensor,
                       index: Tensor, corrupt_head: Tensor,
                       group: int = 2) -> Tensor:
    r"""The distances :math:`\sum_i \| q_{b,i} - t_{k,i} \|_2` between the
    query of each positive and its candidates, with shape :obj:`[B, K]`: the
    function :func:`~pyg_mmkgc.nn.functional.moduli_distance`.

    Args:
        tail_query (torch.Tensor): The queries that ask for a tail,
            :obj:`[B, C]`.
        head_query (torch.Tensor): The queries that ask for a head,
            :obj:`[B, C]`.
        table (torch.Tensor): The candidates, :obj:`[U, C]`.
        index (torch.Tensor): Rows of :obj:`table`, :obj:`[B, K]`.
        corrupt_head (torch.Tensor): :obj:`True` where the candidate stands
            for the head, :obj:`[B, K]`.
        group (int, optional): The channels of a norm: one for the
            :math:`L_1` distance, two for complex moduli. (default: :obj:`2`)
    """
    return _Candidates.apply(tail_query, head_query, table, index,
                             corrupt_head, group)


def candidate_product(tail_query: Tensor, head_query: Tensor, table: Tensor,
                      index: Tensor, corrupt_head: Tensor) -> Tensor:
    r"""The inner products :math:`\langle q_b, t_k \rangle` between the query
    of each positive and its candidates, with shape :obj:`[B, K]`; arguments
    are those of :func:`candidate_distance`.
    """
    return _Candidates.apply(tail_query, head_query, table, index,
                             corrupt_head, 0)


def dense_distance(query: Tensor, table: Tensor, group: int = 2) -> Tensor:
    r"""The distances :math:`\sum_i \| q_i - t_i \|_2` of every query
    :obj:`[Q, C]` to every row of a table :obj:`[N, C]`, with shape
    :obj:`[Q, N]`.
    """
    if torch.is_grad_enabled() and (query.requires_grad
                                    or table.requires_grad):
        index = torch.arange(table.size(0), device=table.device)
        index = index.expand(query.size(0), -1)
        return candidate_distance(query, query, table, index,
                                  torch.zeros_like(index, dtype=torch.bool),
                                  group)
    query, table = query.detach().contiguous(), table.detach().contiguous()
    out = table.new_empty(query.size(0), table.size(0))
    if loops_for(query, table) is not None:
        from pyg_mmkgc.nn import _dense_loops

        forward = (_dense_loops.columns_forward if 2 < group < table.size(1)
                   else _dense_loops.dense_forward)
        forward(query.numpy(), table.numpy(), group, out.numpy())
        return out
    whole = fused(_dense, query, table)
    if whole is not None:
        return whole(query, table, group)
    if group == 1:
        return torch.cdist(query, table, p=1.0)
    step = max(1, BLOCK // max(1, query.size(0) * table.size(1)))
    for i in range(0, table.size(0), step):
        out[:, i:i + step] = moduli_distance(query[:, None],
                                             table[i:i + step], group)
    return out


def _dense(query: Tensor, table: Tensor, group: int) -> Tensor:
    # A sum in double precision does not depend on its order, which the
    # compiler takes from the shape: ranks would with the size of a block.
    diff = query.unsqueeze(1) - table
    if group > 4:
        diff = diff.double()
    return moduli(diff, group).sum(dim=-1, dtype=torch.double).to(query.dtype)
