r"""Compiled CPU loops behind :mod:`pyg_mmkgc.nn.scaled` for positives that
share their candidates (needs :obj:`numba`).

The innermost loop is one over candidates, whatever the number of channels in
a norm. A run is written by one thread in a fixed order, so that results do
not depend on the number of threads.
"""
from __future__ import annotations

import numpy as np
from numba import njit, prange

from pyg_mmkgc.nn._loops import FAST, Array
from pyg_mmkgc.nn._loops import add_rows as add_rows
from pyg_mmkgc.nn._loops import pooled_runs as pooled_runs

# Names of the shapes: B positives in runs that share K candidates, U rows of
# the table, S groups of channels. Channel j of group i is at j * S + i.
# Queries and scales are [B, 2, C], one for each side; `head` says which, as
# numbers of the table's type, for loops of one width.


@njit(cache=True)
def _columns(table: Array, index: Array) -> Array:
    r"""The rows of the candidates of a run, :obj:`[C, K]`."""
    out = np.empty((table.shape[1], index.size), table.dtype)
    for k in range(index.size):
        for d in range(table.shape[1]):
            out[d, k] = table[index[k], d]
    return out


@njit(fastmath=FAST, inline='always')
def _differences(query: Array, scale: Array, columns: Array, head: Array,
                 group: int, i: int, diff: Array, square: Array) -> None:
    r"""Of group :obj:`i`: the channels, :obj:`[group, K]`, and the sums of
    their squares, :obj:`[K]`, to all candidates.
    """
    S = columns.shape[0] // group
    square[:] = 0
    for j in range(group):
        d = j * S + i
        q0, q1, w0, w1 = query[0, d], query[1, d], scale[0, d], scale[1, d]
        for k in range(head.size):
            q = q1 if head[k] > 0 else q0
            w = w1 if head[k] > 0 else w0
            x = q - w * columns[d, k]
            diff[j, k] = x
            square[k] += x * x


@njit(parallel=True, fastmath=FAST, cache=True)
def forward(query: Array, scale: Array, table: Array, index: Array,
            side: Array, starts: Array, group: int, out: Array) -> None:
    K, dtype = index.shape[1], table.dtype
    S = table.shape[1] // group
    for run in prange(starts.size - 1):
        columns = _columns(table, index[starts[run]])
        diff, square = np.empty((group, K), dtype), np.empty(K, dtype)
        for b in range(starts[run], starts[run + 1]):
            head = side[b].astype(dtype)
            total = np.zeros(K, dtype)
            for i in range(S):
                _differences(query[b], scale[b], columns, head, group, i,
                             diff, square)
                for k in range(K):
                    total[k] += np.sqrt(square[k])
            out[b] = total


@njit(fastmath=FAST, inline='always')
def _weights(diff: Array, square: Array, grad: Array, group: int) -> None:
    r"""Makes of the squares of norms the factors of differences that give
    gradients.
    """
    for k in range(grad.size):
        x = abs(diff[0, k]) if group == 1 else np.sqrt(square[k])
        # The gradient of a norm at zero is zero, that of NaN is NaN.
        square[k] = grad[k] / x if x > 0 else x


@njit(parallel=True, fastmath=FAST, cache=True)
def backward(query: Array, scale: Array, table: Array, index: Array,
             side: Array, starts: Array, group: int, grad: Array,
             grad_query: Array, grad_scale: Array, grad_rows: Array) -> None:
    r"""The gradients of all three in one pass, that of the candidates of a
    run in :obj:`grad_rows[run]`, :obj:`[K, C]`.
    """
    K, C, dtype = index.shape[1], table.shape[1], table.dtype
    S = C // group
    for run in prange(starts.size - 1):
        columns = _columns(table, index[starts[run]])
        grad_columns = np.zeros((C, K), dtype)
        diff, weight = np.empty((group, K), dtype), np.empty(K, dtype)
        for b in range(starts[run], starts[run + 1]):
            head = side[b].astype(dtype)
            for i in range(S):
                _differences(query[b], scale[b], columns, head, group, i,
                             diff, weight)
                _weights(diff, weight, grad[b], group)
                for j in range(group):
                    d = j * S + i
                    w0, w1 = scale[b, 0, d], scale[b, 1, d]
                    gq0 = gq1 = gw0 = gw1 = dtype.type(0)
                    for k in range(K):
                        x = weight[k] * diff[j, k]
                        y = x * columns[d, k]
                        gq0 += dtype.type(0) if head[k] > 0 else x
                        gq1 += x if head[k] > 0 else dtype.type(0)
                        gw0 += dtype.type(0) if head[k] > 0 else y
                        gw1 += y if head[k] > 0 else dtype.type(0)
                        grad_columns[d, k] -= x * (
                            w1 if head[k] > 0 else w0)
                    grad_query[b, 0, d], grad_query[b, 1, d] = gq0, gq1
                    grad_scale[b, 0, d], grad_scale[b, 1, d] = -gw0, -gw1
        grad_rows[run] = grad_columns.T
