r"""The compiled CPU loops behind :mod:`pyg_mmkgc.kernels.norm` (requires
:obj:`numba`). Rows are summed in parts that do not depend on the number of
threads.
"""
from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange

Array = Any
# Neither nnan nor ninf is set, so that NaN reveals a diverged model.
FAST = {'reassoc', 'nsz', 'contract', 'afn', 'arcp'}


@njit(parallel=True, fastmath=FAST, cache=True)
def forward(y: Array, x: Array, weight: Array, bias: Array, eps: float,
            out: Array, mean: Array, scale: Array) -> None:
    M, D = y.shape
    zero = y.dtype.type(0)
    for m in prange(M):
        row = y[m]
        total, square = zero, zero
        for d in range(D):
            total += row[d]
        total /= D
        for d in range(D):
            diff = row[d] - total
            square += diff * diff
        s = y.dtype.type(1) / np.sqrt(square / D + y.dtype.type(eps))
        mean[m], scale[m] = total, s
        for d in range(D):
            z = (row[d] - total) * s * weight[d] + bias[d]
            out[m, d] = x[m, d] + (zero if z < 0 else z)  # NaN stays.


@njit(parallel=True, fastmath=FAST, cache=True)
def backward(y: Array, weight: Array, bias: Array, mean: Array, scale: Array,
             grad: Array, grad_y: Array, grad_weight: Array,
             grad_bias: Array) -> None:
    r"""Computes the gradients. The gradients of weight and bias are partial
    sums :obj:`[P, D]` over parts of the rows.
    """
    M, D = y.shape
    P = grad_weight.shape[0]
    zero = y.dtype.type(0)
    for p in prange(P):
        to_weight, to_bias = grad_weight[p], grad_bias[p]
        normal, back = np.empty(D, y.dtype), np.empty(D, y.dtype)
        for m in range(p * M // P, (p + 1) * M // P):
            total, product = zero, zero
            for d in range(D):
                n = (y[m, d] - mean[m]) * scale[m]
                g = grad[m, d]
                if n * weight[d] + bias[d] <= 0:
                    g = zero
                to_weight[d] += g * n
                to_bias[d] += g
                normal[d], back[d] = n, g * weight[d]
                total += back[d]
                product += back[d] * n
            total /= D
            product /= D
            for d in range(D):
                grad_y[m, d] = scale[m] * (back[d] - total
                                           - normal[d] * product)
