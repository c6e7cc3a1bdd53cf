r"""The compiled CPU loops behind :mod:`pyg_mmkgc.kernels.relational` (requires
:obj:`numba`).

Every element of an output is summed by one thread in the order of the edges,
so results do not depend on the number of threads.
"""
from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange

# Names of the shapes: Q queries, N nodes, R relations, D channels, E edges.
# Edges are sorted by their target node. Node v has the edges ptr[v], ...,
# ptr[v + 1] - 1.

Array = Any
# Neither nnan nor ninf is set, so that NaN reveals a diverged model.
FAST = {'reassoc', 'nsz', 'contract', 'afn', 'arcp'}

# The messages of weights w and a source x. Complex rows are [re | im].
PRODUCT = 0  # w * x
SUM = 1  # w + x
ROTATION = 2  # The complex product w * x.
INVERSE = 3  # The complex product conj(w) * x, for gradients.
COPY = 4  # x


@njit(fastmath=FAST, inline='always')
def _add(w: Array, x: Array, message: int, out: Array) -> None:
    r"""Adds one message to a row."""
    D = out.size
    if message == PRODUCT:
        for d in range(D):
            out[d] += w[d] * x[d]
    elif message == SUM:
        for d in range(D):
            out[d] += w[d] + x[d]
    elif message == COPY:
        for d in range(D):
            out[d] += x[d]
    else:
        S = D // 2
        sign = out.dtype.type(1 if message == ROTATION else -1)
        for d in range(S):
            re, im = w[d], sign * w[S + d]
            out[d] += re * x[d] - im * x[S + d]
            out[S + d] += re * x[S + d] + im * x[d]


@njit(parallel=True, fastmath=FAST, cache=True)
def sum_messages(x: Array, weight: Array, ptr: Array, node: Array,
                 edge_type: Array, start: Array, message: int,
                 out: Array) -> None:
    r"""Sums the messages of each node. :obj:`start` splits the nodes into
    parts of about the same size.
    """
    P = start.size - 1
    for i in prange(x.shape[0] * P):
        q, p = i // P, i % P
        for v in range(start[p], start[p + 1]):
            row = out[q, v]
            row[:] = 0
            for e in range(ptr[v], ptr[v + 1]):
                _add(weight[q, edge_type[e]], x[q, node[e]], message, row)


@njit(parallel=True, fastmath=FAST, cache=True)
def max_messages(x: Array, weight: Array, ptr: Array, node: Array,
                 edge_type: Array, start: Array, message: int, out: Array,
                 arg: Array) -> None:
    r"""Computes the largest message of each node and channel and its first
    edge, which are zero and :obj:`-1` without messages.
    """
    P, D = start.size - 1, x.shape[2]
    for i in prange(x.shape[0] * P):
        q, p = i // P, i % P
        row = np.empty(D, x.dtype)
        for v in range(start[p], start[p + 1]):
            best, edge = out[q, v], arg[q, v]
            best[:] = 0
            edge[:] = -1
            for e in range(ptr[v], ptr[v + 1]):
                row[:] = 0
                _add(weight[q, edge_type[e]], x[q, node[e]], message, row)
                for d in range(D):
                    # NaN stays the largest.
                    if edge[d] < 0 or row[d] > best[d] or (
                            row[d] != row[d] and best[d] == best[d]):
                        best[d], edge[d] = row[d], e


@njit(fastmath=FAST, inline='always')
def _add_to_weight(x: Array, grad: Array, message: int, out: Array) -> None:
    r"""Adds the gradient of the weights of one message."""
    if message == PRODUCT:
        _add(grad, x, PRODUCT, out)
    elif message == SUM:
        _add(grad, grad, COPY, out)
    else:  # grad * conj(x)
        _add(x, grad, INVERSE, out)


@njit(parallel=True, fastmath=FAST, cache=True)
def sum_backward(x: Array, weight: Array, grad: Array, ptr: Array,
                 node: Array, edge_type: Array, message: int, back: int,
                 grad_x: Array, grad_weight: Array) -> None:
    r"""Computes both gradients in one pass over edges that are sorted by
    their source. Threads share the queries. :obj:`back` is the message of the
    gradient of the sources.
    """
    for q in prange(x.shape[0]):
        for u in range(x.shape[1]):
            row, y = grad_x[q, u], x[q, u]
            row[:] = 0
            for e in range(ptr[u], ptr[u + 1]):
                g, r = grad[q, node[e]], edge_type[e]
                _add(weight[q, r], g, back, row)
                _add_to_weight(y, g, message, grad_weight[q, r])


@njit(parallel=True, fastmath=FAST, cache=True)
def sum_backward_weight(x: Array, grad: Array, ptr: Array, node: Array,
                        edge_type: Array, message: int, num_parts: int,
                        grad_weight: Array) -> None:
    r"""Adds the gradient of the weights only, in the order of
    :func:`sum_backward`. Threads share the relations.
    """
    for i in prange(x.shape[0] * num_parts):
        q, p = i // num_parts, i % num_parts
        for u in range(x.shape[1]):
            for e in range(ptr[u], ptr[u + 1]):
                r = edge_type[e]
                if r % num_parts == p:
                    _add_to_weight(x[q, u], grad[q, node[e]], message,
                                   grad_weight[q, r])


@njit(parallel=True, fastmath=FAST, cache=True)
def max_backward(x: Array, weight: Array, grad: Array, arg: Array,
                 node: Array, edge_type: Array, message: int, grad_x: Array,
                 grad_weight: Array) -> None:
    r"""Adds the gradients of the sources and the weights of the largest
    messages.
    """
    Q, N, D = x.shape
    S = D // 2
    for q in prange(Q):
        for v in range(N):
            for d in range(D):
                e = arg[q, v, d]
                if e < 0:
                    continue
                u, r, g = node[e], edge_type[e], grad[q, v, d]
                if message == PRODUCT:
                    grad_x[q, u, d] += g * weight[q, r, d]
                    grad_weight[q, r, d] += g * x[q, u, d]
                elif message == SUM:
                    grad_x[q, u, d] += g
                    grad_weight[q, r, d] += g
                else:
                    # Channel d is s[0] w[a] x[a] + s[1] w[b] x[c].
                    re = d < S
                    i, j = (d, d + S) if re else (d - S, d)
                    if re:
                        grad_x[q, u, i] += g * weight[q, r, i]
                        grad_x[q, u, j] -= g * weight[q, r, j]
                        grad_weight[q, r, i] += g * x[q, u, i]
                        grad_weight[q, r, j] -= g * x[q, u, j]
                    else:
                        grad_x[q, u, i] += g * weight[q, r, j]
                        grad_x[q, u, j] += g * weight[q, r, i]
                        grad_weight[q, r, i] += g * x[q, u, j]
                        grad_weight[q, r, j] += g * x[q, u, i]
