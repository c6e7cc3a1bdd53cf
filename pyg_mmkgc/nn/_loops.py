r"""Compiled CPU loops behind :mod:`pyg_mmkgc.nn.kernel` (needs
:obj:`numba`).

A row of the output is written by one thread in a fixed order, so that
results do not depend on the number of threads. They do in the last bits on
whether this process has compiled a loop: numba optimizes it once more for its
cache, from which all later processes read.
"""
from __future__ import annotations

from typing import Any, Optional

import numba
import numpy as np
from numba import njit, prange

# Names of the shapes: B positives, K candidates each, U rows of the table,
# Q queries, S groups of channels. Channel j of group i is at j * S + i.

Array = Any
# NaN must stay NaN: a diverged model has to be seen, so no nnan / ninf here.
FAST = {'reassoc', 'nsz', 'contract', 'afn', 'arcp'}
# Positives that share their candidates and one buffer of gradients.
MAX_RUN = 128

MAX_THREADS = numba.get_num_threads()


def use_threads(num_threads: int) -> None:
    r"""Uses as many threads, at most those that there are."""
    numba.set_num_threads(min(num_threads, MAX_THREADS))


@njit(fastmath=FAST, inline='always')
def _squares(q: Array, t: Array, group: int, square: Array) -> None:
    S = square.size
    square[:] = 0
    for j in range(group):
        for i in range(S):
            diff = q[j * S + i] - t[j * S + i]
            square[i] += diff * diff


@njit(fastmath=FAST, inline='always')
def distance(q: Array, t: Array, group: int, square: Array) -> Any:
    r"""The sum of norms of one pair of rows; their inner product, where
    :obj:`group` is zero.
    """
    total = q.dtype.type(0)
    if group == 0:
        for d in range(q.size):
            total += q[d] * t[d]
    elif group == 1:
        for d in range(q.size):
            total += abs(q[d] - t[d])
    elif group == 2:
        S = q.size // 2
        for d in range(S):
            re = q[d] - t[d]
            im = q[S + d] - t[S + d]
            total += np.sqrt(re * re + im * im)
    elif group == q.size:
        for d in range(q.size):
            diff = q[d] - t[d]
            total += diff * diff
        total = np.sqrt(total)
    else:
        _squares(q, t, group, square)
        for i in range(square.size):
            total += np.sqrt(square[i])
    return total


@njit(fastmath=FAST, inline='always')
def _backward(q: Array, t: Array, grad: Any, group: int, square: Array,
              grad_q: Array) -> None:
    r"""Adds the gradient of one pair to that of its query."""
    if group == 0:
        for d in range(q.size):
            grad_q[d] += grad * t[d]
    elif group == 1:
        for d in range(q.size):
            diff = q[d] - t[d]
            down = -grad if diff < 0 else diff  # Zero stays, and NaN.
            grad_q[d] += grad if diff > 0 else down
    elif group == 2:
        S = q.size // 2
        for d in range(S):
            re = q[d] - t[d]
            im = q[S + d] - t[S + d]
            norm = re * re + im * im
            w = grad / np.sqrt(norm) if norm > 0 else norm
            grad_q[d] += w * re
            grad_q[S + d] += w * im
    elif group == q.size:
        norm = distance(q, t, group, square)
        w = grad / norm if norm > 0 else norm
        for d in range(q.size):
            grad_q[d] += w * (q[d] - t[d])
    else:
        S = square.size
        _squares(q, t, group, square)
        for i in range(S):
            norm = square[i]
            square[i] = grad / np.sqrt(norm) if norm > 0 else norm
        for j in range(group):
            for i in range(S):
                d = j * S + i
                grad_q[d] += square[i] * (q[d] - t[d])


@njit(parallel=True, fastmath=FAST, cache=True)
def candidates_forward(tail_query: Array, head_query: Array, table: Array,
                       index: Array, corrupt_head: Array, group: int,
                       out: Array) -> None:
    B, K = index.shape
    for b in prange(B):
        square = np.empty(table.shape[1] // max(group, 1), table.dtype)
        for k in range(K):
            q = head_query[b] if corrupt_head[b, k] else tail_query[b]
            out[b, k] = distance(q, table[index[b, k]], group, square)


@njit(parallel=True, fastmath=FAST, cache=True)
def candidates_backward_query(tail_query: Array, head_query: Array,
                              table: Array, index: Array,
                              corrupt_head: Array, grad: Array, group: int,
                              grad_tail_query: Array,
                              grad_head_query: Array) -> None:
    B, K = index.shape
    for b in prange(B):
        square = np.empty(table.shape[1] // max(group, 1), table.dtype)
        for k in range(K):
            q, out = tail_query[b], grad_tail_query[b]
            if corrupt_head[b, k]:
                q, out = head_query[b], grad_head_query[b]
            _backward(q, table[index[b, k]], grad[b, k], group, square, out)


@njit(cache=True)
def group_by_row(index: Array, num_rows: int) -> tuple[Array, Array]:
    r"""A counting sort: the pairs of each table row, in pair order."""
    ptr = np.zeros(num_rows + 1, np.int64)
    for i in range(index.size):
        ptr[index[i] + 1] += 1
    for u in range(num_rows):
        ptr[u + 1] += ptr[u]
    order = np.empty(index.size, np.int64)
    place = ptr[:-1].copy()
    for i in range(index.size):
        order[place[index[i]]] = i
        place[index[i]] += 1
    return ptr, order


@njit(parallel=True, fastmath=FAST, cache=True)
def candidates_backward_table(tail_query: Array, head_query: Array,
                              table: Array, ptr: Array, order: Array,
                              corrupt_head: Array, grad: Array, group: int,
                              grad_table: Array) -> None:
    K = corrupt_head.shape[1]
    for u in prange(table.shape[0]):
        square = np.empty(table.shape[1] // max(group, 1), table.dtype)
        for i in range(ptr[u], ptr[u + 1]):
            b, k = order[i] // K, order[i] % K
            q = head_query[b] if corrupt_head[b, k] else tail_query[b]
            _backward(table[u], q, grad[b, k], group, square, grad_table[u])


@njit(cache=True)
def find_runs(index: Array) -> Array:
    r"""Where positives begin that share all candidates with the ones before
    them, at most :obj:`MAX_RUN` together; the last entry is the end.
    """
    B, K = index.shape
    starts = np.empty(B + 1, np.int64)
    num = 0
    for b in range(B):
        same = num > 0 and b - starts[num - 1] < MAX_RUN
        if same:
            for k in range(K):
                if index[b, k] != index[b - 1, k]:
                    same = False
                    break
        if not same:
            starts[num] = b
            num += 1
    starts[num] = B
    return starts[:num + 1]


def pooled_runs(index: Array) -> Optional[Array]:
    r"""Where runs begin, if they are long enough to be worth their loops."""
    starts = find_runs(index)
    return starts if 4 * starts.size <= index.shape[0] else None


@njit(parallel=True, fastmath=FAST, cache=True)
def candidates_backward_runs(tail_query: Array, head_query: Array,
                             table: Array, index: Array, corrupt_head: Array,
                             grad: Array, starts: Array,
                             grad_tail_query: Array, grad_head_query: Array,
                             grad_rows: Array) -> None:
    r"""Complex moduli (:obj:`group == 2`) of positives in runs: one pass for
    both gradients, that of the candidates of a run in
    :obj:`grad_rows[run]`.
    """
    K, S = index.shape[1], table.shape[1] // 2
    for run in prange(starts.size - 1):
        for b in range(starts[run], starts[run + 1]):
            for k in range(K):
                q, grad_q = tail_query[b], grad_tail_query[b]
                if corrupt_head[b, k]:
                    q, grad_q = head_query[b], grad_head_query[b]
                t, grad_t = table[index[b, k]], grad_rows[run, k]
                g = grad[b, k]
                for d in range(S):
                    re = q[d] - t[d]
                    im = q[S + d] - t[S + d]
                    norm = re * re + im * im
                    w = g / np.sqrt(norm) if norm > 0 else norm
                    grad_q[d] += w * re
                    grad_q[S + d] += w * im
                    grad_t[d] -= w * re
                    grad_t[S + d] -= w * im


@njit(fastmath=FAST, cache=True)
def add_rows(index: Array, rows: Array, out: Array) -> None:
    for i in range(index.size):
        a, b = rows[i], out[index[i]]
        for c in range(a.size):
            b[c] += a[c]


@njit(fastmath=FAST, inline='always')
def _tanh(x: Any) -> Any:
    r"""The fraction of degree (7, 6) of the continued fraction of tanh at
    :math:`x / 4`, doubled twice by :math:`\tanh 2y = 2 p q / (p^2 + q^2)`,
    :math:`\tanh y = p / q`; within 4e-7 of it, for single precision.
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
    r"""Eqs. (4) and (5) of AdaMF: views :obj:`[U, C]`, weights
    :obj:`[M, C]`.
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
        for m in range(M):  # All alike where nothing is present.
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
    r"""Gradients of the views, and of the weights :obj:`[P, M, C]` for each
    of :obj:`P` blocks of rows: their sum has a fixed order.
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
def rotate_backward(x: Array, ptr: Array, order: Array, grad: Array,
                    grad_cos: Array, grad_sin: Array) -> None:
    r"""The gradients of the relations, whose rows :func:`group_by_row` has
    found.
    """
    S = grad_cos.shape[1]
    for r in prange(grad_cos.shape[0]):
        c, s = grad_cos[r], grad_sin[r]
        for i in range(ptr[r], ptr[r + 1]):
            a, g = x[order[i]], grad[order[i]]
            for d in range(S):
                c[d] += g[d] * a[d] + g[S + d] * a[S + d]
                s[d] += g[S + d] * a[d] - g[d] * a[S + d]


@njit(parallel=True, fastmath=FAST, cache=True)
def pairs_forward(x: Array, y: Array, group: int, out: Array) -> None:
    for b in prange(x.shape[0]):
        square = np.empty(x.shape[1] // max(group, 1), x.dtype)
        out[b] = distance(x[b], y[b], group, square)


@njit(parallel=True, fastmath=FAST, cache=True)
def pairs_backward(x: Array, y: Array, grad: Array, group: int,
                   grad_x: Array, grad_y: Array) -> None:
    for b in prange(x.shape[0]):
        square = np.empty(x.shape[1] // max(group, 1), x.dtype)
        a, c = grad_x[b], grad_y[b]
        a[:] = 0
        _backward(x[b], y[b], grad[b], group, square, a)
        for d in range(a.size):
            c[d] = -a[d]


@njit(parallel=True, fastmath=FAST, cache=True)
def adam_rows(index: Array, grad: Array, param: Array, avg: Array,
              square: Array, beta1: float, beta2: float, eps: float,
              size: float) -> None:
    r"""A step of Adam on distinct rows."""
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
