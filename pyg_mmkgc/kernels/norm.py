r"""Layer normalization, ReLU and a skip connection in one pass over rows."""
from __future__ import annotations

from typing import Any, Optional

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from pyg_mmkgc.kernels.backend import arrays, numba_loops

# The number of parts of the rows, whose sums are added in order.
PARTS = 32


def norm_relu_add(y: Tensor, x: Tensor, weight: Tensor, bias: Tensor,
                  eps: float = 1e-5) -> Tensor:
    r"""Returns :math:`\mathbf{x} + \mathrm{ReLU}(\mathrm{LayerNorm}
    (\mathbf{y}))` of rows, with shape :obj:`[M, D]`.

    Args:
        y (torch.Tensor): The rows to normalize, :obj:`[M, D]`.
        x (torch.Tensor): The rows of the skip connection, :obj:`[M, D]`.
        weight (torch.Tensor): The weight of each channel, :obj:`[D]`.
        bias (torch.Tensor): The bias of each channel, :obj:`[D]`.
        eps (float, optional): A constant that is added to the variance for
            stability. (default: :obj:`1e-5`)
    """
    if numba_loops('norm', y, x, weight, bias) is None:
        return x + F.layer_norm(y, weight.shape, weight, bias, eps).relu()
    return _NormReluAdd.apply(y, x, weight, bias, eps)


class _NormReluAdd(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor, x: Tensor, weight: Tensor, bias: Tensor,
                eps: float) -> Tensor:
        y, x = y.contiguous(), x.contiguous()
        out, mean, scale = torch.empty_like(y), y.new_empty(y.size(0)), (
            y.new_empty(y.size(0)))
        loops: Any = numba_loops('norm', y, x, weight, bias)
        loops.forward(*arrays(y, x, weight, bias), eps,
                      *arrays(out, mean, scale))
        ctx.save_for_backward(y, weight, bias, mean, scale)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Optional[Tensor], ...]:
        y, weight, bias, mean, scale = ctx.saved_tensors
        grad = grad.contiguous()
        grad_y = torch.empty_like(y)
        sums = y.new_zeros(2, PARTS, y.size(1))
        loops: Any = numba_loops('norm', y, weight, bias, grad)
        loops.backward(*arrays(y, weight, bias, mean, scale, grad, grad_y,
                               *sums))
        to_weight, to_bias = sums.sum(dim=1)
        return grad_y, grad, to_weight, to_bias, None
