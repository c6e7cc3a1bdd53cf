r"""Compiled CPU loops behind :mod:`pyg_mmkgc.nn.kernel` (needs
:obj:`numba`).

A row of the output is written by one thread in a fixed order, so that
results do not depend on the number of threads.
"""
from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba import njit, prange

# Names of the shapes: B positives, K candidates each, U rows of the table,
# Q queries, D complex channels. A row is [re | im].

Array = Any
# NaN must stay NaN: a diverged model has to be seen, so no nnan / ninf here.
FAST = {'reassoc', 'nsz', 'contract', 'afn', 'arcp'}


MAX_THREADS = numba.get_num_threads()


def use_threads(num_threads: int) -> None:
    r"""Uses as many threads, at most those that there are."""
    numba.set_num_threads(min(num_threads, MAX_THREADS))


@njit(parallel=True, fastmath=FAST, cache=True)
def candidates_forward(tail_query: Array, head_query: Array, table: Array,
                       index: Array, corrupt_head: Array, out: Array) -> None:
    B, K = index.shape
    D = table.shape[1] // 2
    for b in prange(B):
        for k in range(K):
            q = head_query[b] if corrupt_head[b, k] else tail_query[b]
            t = table[index[b, k]]
            total = out.dtype.type(0)
            for d in range(D):
                re = q[d] - t[d]
                im = q[D + d] - t[D + d]
                total += np.sqrt(re * re + im * im)
            out[b, k] = total


@njit(parallel=True, fastmath=FAST, cache=True)
def candidates_backward_query(tail_query: Array, head_query: Array,
                              table: Array, index: Array,
                              corrupt_head: Array, grad: Array,
                              grad_tail_query: Array,
                              grad_head_query: Array) -> None:
    B, K = index.shape
    D = table.shape[1] // 2
    for b in prange(B):
        for k in range(K):
            t = table[index[b, k]]
            q, out = tail_query[b], grad_tail_query[b]
            if corrupt_head[b, k]:
                q, out = head_query[b], grad_head_query[b]
            g = grad[b, k]
            for d in range(D):
                re = q[d] - t[d]
                im = q[D + d] - t[D + d]
                square = re * re + im * im
                w = g / np.sqrt(square) if square > 0 else square
                out[d] += w * re
                out[D + d] += w * im


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
                              corrupt_head: Array, grad: Array,
                              grad_table: Array) -> None:
    K = corrupt_head.shape[1]
    D = table.shape[1] // 2
    for u in prange(table.shape[0]):
        t, out = table[u], grad_table[u]
        for i in range(ptr[u], ptr[u + 1]):
            b, k = order[i] // K, order[i] % K
            q = head_query[b] if corrupt_head[b, k] else tail_query[b]
            g = grad[b, k]
            for d in range(D):
                re = q[d] - t[d]
                im = q[D + d] - t[D + d]
                square = re * re + im * im
                w = g / np.sqrt(square) if square > 0 else square
                out[d] -= w * re
                out[D + d] -= w * im


@njit(parallel=True, fastmath=FAST, cache=True)
def dense_forward(query: Array, table: Array, out: Array) -> None:
    # Four queries share each table row while it is in cache.
    Q, D = query.shape[0], query.shape[1] // 2
    for block in prange((Q + 3) // 4):
        for n in range(table.shape[0]):
            t = table[n]
            for i in range(block * 4, min(Q, block * 4 + 4)):
                q = query[i]
                total = out.dtype.type(0)
                for d in range(D):
                    re = q[d] - t[d]
                    im = q[D + d] - t[D + d]
                    total += np.sqrt(re * re + im * im)
                out[i, n] = total
