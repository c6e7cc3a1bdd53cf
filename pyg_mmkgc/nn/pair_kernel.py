r"""Rotation and distance of rows that go in pairs, in one pass each where
:obj:`numba` is installed, by :mod:`pyg_mmkgc.nn.functional` elsewhere.
"""
from __future__ import annotations

from typing import Any, Optional

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from pyg_mmkgc.nn.functional import moduli_distance, rotate
from pyg_mmkgc.nn.kernel import check_rows, loops_for


class _Rotate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor,
                rel: Tensor) -> Tensor:
        loops: Any = loops_for(x, cos, sin)
        assert loops is not None
        ctx.save_for_backward(x, cos, sin, rel)
        out = torch.empty_like(x)
        loops.rotate_forward(*(t.detach().numpy() for t in (x, cos, sin, rel)),
                             out.numpy())
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Optional[Tensor], ...]:
        x, cos, sin, rel = ctx.saved_tensors
        loops: Any = loops_for(x, cos, sin)
        grad = grad.contiguous()
        # The transposed rotation is the one back.
        grads = [torch.empty_like(x), torch.zeros_like(cos),
                 torch.zeros_like(sin)]
        loops.rotate_forward(
            *(t.detach().numpy() for t in (grad, cos, -sin, rel)),
            grads[0].numpy())
        if ctx.needs_input_grad[1]:
            ptr, order = loops.group_by_row(rel.numpy(), cos.size(0))
            loops.rotate_backward(x.detach().numpy(), ptr, order, *(
                t.numpy() for t in (grad, grads[1], grads[2])))
        return *grads, None


class _PairDistance(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, group: int) -> Tensor:
        loops = loops_for(x, y)
        assert loops is not None
        ctx.save_for_backward(x, y)
        ctx.group = group
        out = x.new_empty(x.size(0))
        loops.pairs_forward(x.detach().numpy(), y.detach().numpy(), group,
                            out.numpy())
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Optional[Tensor], ...]:
        x, y = ctx.saved_tensors
        grads = torch.empty_like(x), torch.empty_like(y)
        loops: Any = loops_for(x, y)
        loops.pairs_backward(
            *(t.detach().numpy() for t in (x, y, grad.contiguous())),
            ctx.group, *(t.numpy() for t in grads))
        return *grads, None


def rotate_by(x: Tensor, phase: Tensor, rel_type: Tensor,
              inverse: bool = False) -> Tensor:
    r"""Rotates complex rows :obj:`[*, 2 * D]` by the angles of their
    relations: :func:`~pyg_mmkgc.nn.functional.rotate` with
    :obj:`phase[rel_type]`, but sine and cosine are taken once a relation.

    Args:
        x (torch.Tensor): Complex rows as :obj:`[re | im]`, :obj:`[*, 2 * D]`.
        phase (torch.Tensor): The angles of all relations in radians,
            :obj:`[R, D]`.
        rel_type (torch.Tensor): The relations :obj:`[*]`, which broadcast.
        inverse (bool, optional): If set to :obj:`True`, rotates back.
            (default: :obj:`False`)
    """
    if loops_for(x, phase) is None:
        return rotate(x, F.embedding(rel_type, phase), inverse)
    check_rows(rel_type, phase.size(0))
    shape = torch.broadcast_shapes(x.shape[:-1], rel_type.shape)
    cos, sin = phase.cos(), phase.sin()
    out = _Rotate.apply(
        x.expand(*shape, -1).reshape(-1, x.size(-1)).contiguous(), cos,
        -sin if inverse else sin, rel_type.expand(shape).reshape(-1))
    return out.view(*shape, x.size(-1))


def pair_distance(x: Tensor, y: Tensor, group: int = 2) -> Tensor:
    r"""The distances :obj:`[*]` of rows :obj:`[*, C]`, which broadcast, as
    :func:`~pyg_mmkgc.nn.functional.moduli_distance` gives them.
    """
    # Rows that are broadcast would have to be copied.
    if x.shape != y.shape or loops_for(x, y) is None:
        return moduli_distance(x, y, group)
    out = _PairDistance.apply(x.reshape(-1, x.size(-1)).contiguous(),
                              y.reshape(-1, y.size(-1)).contiguous(), group)
    return out.view(x.shape[:-1])
