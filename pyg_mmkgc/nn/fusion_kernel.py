r"""Adaptive fusion in one pass over the views, where :obj:`numba` is
installed: each row of each view is read once in forward and once in
backward, which takes its :math:`\tanh` anew instead of keeping it.
"""
from __future__ import annotations

from typing import Any, Optional

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pyg_mmkgc.nn.kernel import loops_for

# Rows whose gradients of the weights are summed by one thread.
ROWS = 256


class _Fuse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, present: Tensor,
                *views: Tensor) -> Tensor:
        loops: Any = loops_for(weight, *views)
        assert loops is not None
        alpha = weight.new_empty(present.shape)
        joint = torch.empty_like(views[0])
        loops.fusion_forward(
            tuple(x.detach().numpy() for x in views), weight.detach().numpy(),
            present.numpy(), alpha.numpy(), joint.numpy())
        ctx.save_for_backward(weight, alpha, *views)
        return joint

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Optional[Tensor], ...]:
        weight, alpha, *views = ctx.saved_tensors
        loops: Any = loops_for(weight, *views)
        grads = [torch.empty_like(x) for x in views]
        partial = weight.new_zeros(-(-grad.size(0) // ROWS), *weight.shape)
        loops.fusion_backward(
            tuple(x.detach().numpy() for x in views), weight.detach().numpy(),
            alpha.numpy(), grad.contiguous().numpy(),
            tuple(x.numpy() for x in grads), partial.numpy())
        return partial.sum(dim=0), None, *grads


def fuse(weight: Tensor, views: list[Tensor],
         skip_absent: bool) -> Optional[Tensor]:
    r"""The joint embedding :obj:`[*, C]` of views that broadcast to
    :obj:`[*, C]`, with the vectors :obj:`[M, C]` of eq. (4); :obj:`None`
    where there is no fast path for these tensors.
    """
    if weight.dtype != torch.float32 or loops_for(weight, *views) is None:
        return None
    shape = torch.broadcast_shapes(*(x.shape for x in views))
    rows = [x.expand(shape).reshape(-1, shape[-1]).contiguous()
            for x in views]
    present = torch.ones(rows[0].size(0), len(rows), dtype=torch.bool)
    if skip_absent:
        present = torch.stack([(x != 0).any(dim=-1) for x in rows], dim=-1)
    return _Fuse.apply(weight.contiguous(), present, *rows).view(shape)
