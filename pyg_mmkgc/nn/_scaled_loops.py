r"""Compiled CPU loops behind :mod:`pyg_mmkgc.nn.scaled` (needs
:obj:`numba`).

A row of the output is written by one thread in a fixed order, so that
results do not depend on the number of threads.
"""
from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange

from pyg_mmkgc.nn._loops import FAST, Array
from pyg_mmkgc.nn._loops import group_by_row as group_by_row

# Names of the shapes: B positives, K candidates each, U rows of the table, S
# groups of channels. Channel j of group i is at j * S + i. Queries and scales
# are [B, 2, C], one for each side.


@njit(fastmath=FAST, inline='always')
def _squares(q: Array, w: Array, t: Array, group: int, out: Array) -> None:
    S = out.size
    out[:] = 0
    for j in range(group):
        for i in range(S):
            d = j * S + i
            diff = q[d] - w[d] * t[d]
            out[i] += diff * diff


@njit(parallel=True, fastmath=FAST, cache=True)
def forward(query: Array, scale: Array, table: Array, index: Array,
            side: Array, group: int, out: Array) -> None:
    B, K = index.shape
    C = table.shape[1]
    for b in prange(B):
        square = np.empty(C // group, table.dtype)
        for k in range(K):
            q, w = query[b, side[b, k]], scale[b, side[b, k]]
            t = table[index[b, k]]
            total = table.dtype.type(0)
            if group == 1:
                for d in range(C):
                    total += abs(q[d] - w[d] * t[d])
            else:
                _squares(q, w, t, group, square)
                for i in range(square.size):
                    total += np.sqrt(square[i])
            out[b, k] = total


@njit(fastmath=FAST, inline='always')
def _gradient(q: Array, w: Array, t: Array, group: int, grad: Any,
              square: Array, out: Array) -> None:
    r"""The gradient of one distance with respect to the query."""
    if group == 1:
        for d in range(q.size):
            diff = q[d] - w[d] * t[d]
            out[d] = grad if diff > 0 else (-grad if diff < 0 else 0 * diff)
        return
    _squares(q, w, t, group, square)
    S = square.size
    for i in range(S):
        x = square[i]  # The gradient of a norm at zero is zero.
        square[i] = grad / np.sqrt(x) if x > 0 else x
    for j in range(group):
        for i in range(S):
            d = j * S + i
            out[d] = square[i] * (q[d] - w[d] * t[d])


@njit(parallel=True, fastmath=FAST, cache=True)
def backward_query(query: Array, scale: Array, table: Array, index: Array,
                   side: Array, group: int, grad: Array, grad_query: Array,
                   grad_scale: Array) -> None:
    B, K = index.shape
    C = table.shape[1]
    for b in prange(B):
        square = np.empty(C // group, table.dtype)
        x = np.empty(C, table.dtype)
        for k in range(K):
            s, t = side[b, k], table[index[b, k]]
            _gradient(query[b, s], scale[b, s], t, group, grad[b, k], square,
                      x)
            grad_q, grad_w = grad_query[b, s], grad_scale[b, s]
            for d in range(C):
                grad_q[d] += x[d]
                grad_w[d] -= x[d] * t[d]


@njit(parallel=True, fastmath=FAST, cache=True)
def backward_table(query: Array, scale: Array, table: Array, ptr: Array,
                   order: Array, side: Array, group: int, grad: Array,
                   grad_table: Array) -> None:
    K, C = side.shape[1], table.shape[1]
    for u in prange(table.shape[0]):
        square = np.empty(C // group, table.dtype)
        x = np.empty(C, table.dtype)
        out = grad_table[u]
        for pair in range(ptr[u], ptr[u + 1]):
            b, k = order[pair] // K, order[pair] % K
            w = scale[b, side[b, k]]
            _gradient(query[b, side[b, k]], w, table[u], group, grad[b, k],
                      square, x)
            for d in range(C):
                out[d] -= x[d] * w[d]
