r"""The compiled CPU loops behind :mod:`pyg_mmkgc.kernels.rows` (requires
:obj:`numba`).
"""
from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange

from pyg_mmkgc.kernels._numba_candidates import FAST, Array, group_by_row

# Shapes: U rows, M views with C channels each, and R relations.


@njit(fastmath=FAST, inline='always')
def _tanh(x: Any) -> Any:
    r"""Returns an approximation of :math:`\tanh x` in single precision with
    an error of at most 4e-7. The continued fraction of tanh, cut off at
    degree (7, 6), gives :math:`\tanh y = p / q` at :math:`y = x / 4`. Two
    steps of :math:`\tanh 2y = 2 p q / (p^2 + q^2)` lead back to :math:`x`.
    """
    one, two = np.float32(1), np.float32(2)
    y = min(max(x * np.float32(0.25), np.float32(-2.3)), np.float32(2.3))
    s = y * y
    p = y * (one + s * (np.float32(17325 / 135135) + s * (
        np.float32(378 / 135135) + s * np.float32(1 / 135135))))
    q = one + s * (np.float32(62370 / 135135) + s * (
        np.float32(3150 / 135135) + s * np.float32(28 / 135135)))
    p, q = two * p * q, p * p + q * q
    return two * p * q / (p * p + q * q)


@njit(parallel=True, fastmath=FAST, cache=True)
def fusion_forward(views: tuple[Array, ...], weight: Array, present: Array,
                   alpha: Array, joint: Array) -> None:
    r"""Writes the fusion weights and the joint embeddings of eqs. (4) and (5)
    of AdaMF, for views :obj:`[U, C]` and vectors :obj:`[M, C]`.
    """
    M, C = weight.shape
    for u in prange(joint.shape[0]):
        top = -np.float32(np.inf)
        for m in range(M):
            x, w, logit = views[m][u], weight[m], np.float32(0)
            for c in range(C):
                logit += w[c] * _tanh(x[c])
            alpha[u, m] = logit
            if present[u, m]:
                top = max(top, logit)
        total = np.float32(0)
        for m in range(M):
            value = np.exp(alpha[u, m] - top) if present[u, m] else (
                np.float32(0))
            alpha[u, m] = value
            total += value
        for m in range(M):  # Equal weights if no view is present.
            alpha[u, m] = np.float32(1 / M) if total == 0 else (
                alpha[u, m] / total)
        for m in range(M):
            x, a, out = views[m][u], alpha[u, m], joint[u]
            if m == 0:
                for c in range(C):
                    out[c] = a * x[c]
            else:
                for c in range(C):
                    out[c] += a * x[c]


@njit(parallel=True, fastmath=FAST, cache=True)
def fusion_backward(views: tuple[Array, ...], weight: Array, alpha: Array,
                    grad: Array, grad_views: tuple[Array, ...],
                    grad_weight: Array) -> None:
    r"""Writes the gradients of the views and of the vectors. Each of
    :obj:`P` blocks of rows has its own gradient of the vectors, with shape
    :obj:`[P, M, C]`, so that their sum is computed in a fixed order.
    """
    M, C = weight.shape
    P, U = grad_weight.shape[0], grad.shape[0]
    for block in prange(P):
        inner = np.empty(M, np.float32)
        for u in range(block * U // P, (block + 1) * U // P):
            g, mean = grad[u], np.float32(0)
            for m in range(M):
                x, total = views[m][u], np.float32(0)
                for c in range(C):
                    total += g[c] * x[c]
                inner[m] = total
                mean += alpha[u, m] * total
            for m in range(M):
                a, x, w = alpha[u, m], views[m][u], weight[m]
                logit = a * (inner[m] - mean)
                out, grad_w = grad_views[m][u], grad_weight[block, m]
                for c in range(C):
                    t = _tanh(x[c])
                    grad_w[c] += logit * t
                    out[c] = a * g[c] + logit * w[c] * (np.float32(1) - t * t)


@njit(parallel=True, fastmath=FAST, cache=True)
def rotate_forward(x: Array, cos: Array, sin: Array, rel: Array,
                   out: Array) -> None:
    S = cos.shape[1]
    for b in prange(x.shape[0]):
        c, s, a, o = cos[rel[b]], sin[rel[b]], x[b], out[b]
        for d in range(S):
            re, im = a[d], a[S + d]
            o[d] = re * c[d] - im * s[d]
            o[S + d] = re * s[d] + im * c[d]


@njit(parallel=True, fastmath=FAST, cache=True)
def rotate_backward(x: Array, rel: Array, grad: Array, grad_cos: Array,
                    grad_sin: Array) -> None:
    S = grad_cos.shape[1]
    ptr, order = group_by_row(rel, len(grad_cos))
    for r in prange(grad_cos.shape[0]):
        c, s = grad_cos[r], grad_sin[r]
        for i in range(ptr[r], ptr[r + 1]):
            a, g = x[order[i]], grad[order[i]]
            for d in range(S):
                c[d] += g[d] * a[d] + g[S + d] * a[S + d]
                s[d] += g[S + d] * a[d] - g[d] * a[S + d]


@njit(parallel=True, fastmath=FAST, cache=True)
def adam_rows(index: Array, grad: Array, param: Array, avg: Array,
              square: Array, beta1: float, beta2: float, eps: float,
              size: float) -> None:
    r"""Takes a step of Adam on distinct rows."""
    kind = param.dtype.type
    b1, b2, e, lr = kind(beta1), kind(beta2), kind(eps), kind(size)
    c1, c2 = kind(1 - beta1), kind(1 - beta2)
    for i in prange(index.size):
        g, p = grad[i], param[index[i]]
        a, s = avg[index[i]], square[index[i]]
        for c in range(g.size):
            a[c] = b1 * a[c] + c1 * g[c]
            s[c] = b2 * s[c] + c2 * g[c] * g[c]
            p[c] -= lr * a[c] / (np.sqrt(s[c]) + e)
