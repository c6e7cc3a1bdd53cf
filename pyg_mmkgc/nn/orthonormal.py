r"""Orthonormal matrices of any matrices."""
from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


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
    r"""The Gram-Schmidt orthonormalisation of the rows of square matrices,
    :obj:`[*, m, m]`, by a batched QR decomposition. The gradient is finite
    also where rows depend on each other, as those that are trained come to do
    where they change a side.
    """
    return _GramSchmidt.apply(rows)
