r"""Kernels on rows: rotation by relations, adaptive fusion, and a step of Adam
on the rows of a table.
"""
from __future__ import annotations

from typing import Any, Optional, Union

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from pyg_mmkgc.kernels.backend import arrays, check_rows, numba_loops

# The number of rows over which one thread sums the gradients of the weights.
ROWS = 256


def rotate(x: Tensor, phase: Tensor, inverse: bool = False) -> Tensor:
    r"""Rotates complex rows by :math:`e^{i\theta}`, the operation
    :math:`\circ` in eq. (6) of AdaMF-MAT.

    Args:
        x (torch.Tensor): Complex rows as :obj:`[re | im]`, :obj:`[*, 2 * D]`.
        phase (torch.Tensor): The angles in radians, :obj:`[*, D]`.
        inverse (bool, optional): If set to :obj:`True`, rotates by
            :math:`e^{-i\theta}` instead. (default: :obj:`False`)
    """
    re, im = x.chunk(2, dim=-1)
    cos, sin = phase.cos(), phase.sin()
    if inverse:
        sin = -sin
    return torch.cat([re * cos - im * sin, re * sin + im * cos], dim=-1)


class _Rotate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor,
                rel: Tensor) -> Tensor:
        ctx.save_for_backward(x, cos, sin, rel)
        out = torch.empty_like(x)
        loops: Any = numba_loops('rows', x, cos, sin)
        loops.rotate_forward(*arrays(x, cos, sin, rel, out))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Optional[Tensor], ...]:
        x, cos, sin, rel = ctx.saved_tensors
        loops: Any = numba_loops('rows', x, cos, sin)
        grad = grad.contiguous()
        grads = [torch.empty_like(x), torch.zeros_like(cos),
                 torch.zeros_like(sin)]
        # The transpose of a rotation is its inverse.
        loops.rotate_forward(*arrays(grad, cos, -sin, rel, grads[0]))
        if ctx.needs_input_grad[1]:
            loops.rotate_backward(*arrays(x, rel, grad, *grads[1:]))
        return *grads, None


def rotate_by(x: Tensor, phase: Tensor, rel_type: Tensor,
              inverse: bool = False) -> Tensor:
    r"""Rotates complex rows :obj:`[*, 2 * D]` by the angles of their
    relations. It is equivalent to :func:`rotate` with :obj:`phase[rel_type]`,
    but computes sines and cosines only once per relation.

    Args:
        x (torch.Tensor): Complex rows as :obj:`[re | im]`, :obj:`[*, 2 * D]`.
        phase (torch.Tensor): The angles of all relations in radians,
            :obj:`[R, D]`.
        rel_type (torch.Tensor): The relations :obj:`[*]`, which broadcast.
        inverse (bool, optional): If set to :obj:`True`, rotates by the
            negated angles instead. (default: :obj:`False`)

    Raises:
        IndexError: If a relation is not in :obj:`[0, R)`.
    """
    if numba_loops('rows', x, phase) is None:
        return rotate(x, F.embedding(rel_type, phase), inverse)
    check_rows(rel_type, phase.size(0))
    shape = torch.broadcast_shapes(x.shape[:-1], rel_type.shape)
    cos, sin = phase.cos(), phase.sin()
    out = _Rotate.apply(
        x.expand(*shape, -1).reshape(-1, x.size(-1)).contiguous(), cos,
        -sin if inverse else sin, rel_type.expand(shape).reshape(-1))
    return out.view(*shape, x.size(-1))


class _Fuse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, present: Tensor,
                *views: Tensor) -> Tensor:
        loops: Any = numba_loops('rows', weight, *views)
        alpha = weight.new_empty(present.shape)
        joint = torch.empty_like(views[0])
        loops.fusion_forward(tuple(arrays(*views)),
                             *arrays(weight, present, alpha, joint))
        ctx.save_for_backward(weight, alpha, *views)
        return joint

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Optional[Tensor], ...]:
        weight, alpha, *views = ctx.saved_tensors
        loops: Any = numba_loops('rows', weight, *views)
        grads = [torch.empty_like(x) for x in views]
        partial = weight.new_zeros(-(-grad.size(0) // ROWS), *weight.shape)
        loops.fusion_backward(
            tuple(arrays(*views)), *arrays(weight, alpha, grad.contiguous()),
            tuple(arrays(*grads)), *arrays(partial))
        return partial.sum(dim=0), None, *grads


def fusion_weights(weight: Tensor, views: list[Tensor],
                   skip_absent: bool) -> Tensor:
    r"""Returns the weights :math:`\alpha`, :obj:`[*, M]`, of eq. (4) of
    AdaMF-MAT, with the arguments of :func:`fuse`.
    """
    # The softmax is sensitive to rounding, so logits stay in full precision.
    with torch.autocast(weight.device.type, enabled=False):
        logits = [x.tanh() @ w for x, w in zip(views, weight, strict=True)]
    logit = torch.stack(torch.broadcast_tensors(*logits), dim=-1)
    if skip_absent:
        present = torch.stack([(x != 0).any(dim=-1).expand(logit.shape[:-1])
                               for x in views], dim=-1)
        # A softmax over minus infinities alone would be NaN.
        logit = logit.masked_fill(~present, torch.finfo(logit.dtype).min)
    return logit.softmax(dim=-1)


def fuse(weight: Tensor, views: list[Tensor], skip_absent: bool) -> Tensor:
    r"""Returns the joint embeddings :obj:`[*, C]` of eqs. (4) and (5) of
    AdaMF-MAT. Compiled loops fuse views in one pass, and recompute
    :math:`\tanh` in the backward pass to save memory.

    Args:
        weight (torch.Tensor): The vectors of eq. (4), :obj:`[M, C]`.
        views (list[torch.Tensor]): The views, which broadcast to
            :obj:`[*, C]`.
        skip_absent (bool): If set to :obj:`True`, a view of zeros gets no
            weight.
    """
    if (weight.dtype != torch.float32
            or numba_loops('rows', weight, *views) is None):
        alpha = fusion_weights(weight, views, skip_absent).unsqueeze(-1)
        out = alpha[..., 0, :] * views[0]
        for i, x in enumerate(views[1:], start=1):
            out = torch.addcmul(out, alpha[..., i, :], x)
        return out
    shape = torch.broadcast_shapes(*(x.shape for x in views))
    rows = [x.expand(shape).reshape(-1, shape[-1]).contiguous()
            for x in views]
    present = torch.ones(rows[0].size(0), len(rows), dtype=torch.bool)
    if skip_absent:
        present = torch.stack([(x != 0).any(dim=-1) for x in rows], dim=-1)
    return _Fuse.apply(weight.contiguous(), present, *rows).view(shape)


def sum_rows(grad: Tensor) -> Tensor:
    r"""Returns a sparse gradient :obj:`[N, C]` in which rows with the same
    index are added up.

    On a CPU, the result is :meth:`~torch.Tensor.coalesce`. On a device, the
    host would have to wait for the number of distinct indices. The result
    therefore keeps the number of rows: it has the sorted distinct indices with
    their sums, followed by rows of zeros with the last index.
    """
    if grad.device.type == 'cpu' or grad._nnz() == 0:
        return grad.coalesce()
    index, order = grad._indices()[0].sort(stable=True)
    place = F.pad((index[1:] != index[:-1]).cumsum(0), (1, 0))
    rows = grad._values()[order]
    return torch.sparse_coo_tensor(
        index[-1].repeat(index.numel()).scatter_(0, place, index).unsqueeze(0),
        torch.zeros_like(rows).index_add_(0, place, rows), grad.shape,
        check_invariants=False)


def adam_rows(index: Tensor, grad: Tensor, param: Tensor, avg: Tensor,
              square: Tensor, betas: tuple[float, float], eps: float,
              size: Union[float, Tensor],
              skip: Optional[Tensor] = None) -> None:
    r"""Takes a step of Adam on the rows of a table that :func:`sum_rows`
    returns.

    Args:
        index (torch.Tensor): The rows, :obj:`[U]`.
        grad (torch.Tensor): Their gradients, :obj:`[U, C]`.
        param (torch.Tensor): The table, :obj:`[N, C]`, changed in place.
        avg (torch.Tensor): The running means of the gradients, :obj:`[N, C]`,
            changed in place.
        square (torch.Tensor): The running means of the squared gradients,
            :obj:`[N, C]`, changed in place.
        betas (tuple[float, float]): The decay rates of both running means.
        eps (float): The term added to the denominator for stability.
        size (float or torch.Tensor): The step size, including the bias
            correction.
        skip (torch.Tensor, optional): One on the device if no step is to be
            taken, and zero otherwise. (default: :obj:`None`)
    """
    loops = numba_loops('rows', param, grad)
    if loops is not None:
        loops.adam_rows(*arrays(index, grad, param, avg, square), *betas, eps,
                        size)
        return
    if index.device.type != 'cpu':
        # Repeated rows get the same values, whichever is written last.
        grad = grad[torch.searchsorted(index, index)]
    new_avg = avg[index].lerp(grad, 1 - betas[0])
    new_square = square[index].lerp(grad * grad, 1 - betas[1])
    new = param[index] - size * new_avg / (new_square.sqrt() + eps)
    for table, rows in ((avg, new_avg), (square, new_square), (param, new)):
        table[index] = (rows if skip is None else
                        torch.where(skip > 0, table[index], rows))
