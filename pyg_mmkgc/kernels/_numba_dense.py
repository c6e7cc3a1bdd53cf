r"""The compiled CPU loops behind
:func:`pyg_mmkgc.kernels.dense.dense_scores`, which compare all queries with
all rows of a table (requires :obj:`numba`).
"""
from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange

from pyg_mmkgc.kernels._numba_candidates import FAST, Array, measure

# The number of queries, and of table rows, that stay in cache together.
TILE = 64
# The number of table rows in a loop over rows instead of channels.
WIDTH = 128


@njit(fastmath=FAST, inline='always')
def _four(q0: Array, q1: Array, q2: Array, q3: Array, t: Array,
          norm: bool) -> tuple[Any, Any, Any, Any]:
    r"""Returns the distances of four queries to a row, which are Euclidean if
    :obj:`norm` is set and :math:`L_1` otherwise. Each element of the row is
    read once for all four queries.
    """
    s0 = s1 = s2 = s3 = t.dtype.type(0)
    if norm:
        for d in range(t.size):
            x = t[d]
            a, b, c, e = q0[d] - x, q1[d] - x, q2[d] - x, q3[d] - x
            s0 += a * a
            s1 += b * b
            s2 += c * c
            s3 += e * e
        return np.sqrt(s0), np.sqrt(s1), np.sqrt(s2), np.sqrt(s3)
    for d in range(t.size):
        x = t[d]
        s0 += abs(q0[d] - x)
        s1 += abs(q1[d] - x)
        s2 += abs(q2[d] - x)
        s3 += abs(q3[d] - x)
    return s0, s1, s2, s3


@njit(parallel=True, fastmath=FAST, cache=True)
def _forward(query: Array, table: Array, group: int, out: Array) -> None:
    r"""Writes the sums :obj:`[Q, N]` of norms over groups of channels. The
    last query is repeated to complete a group of four, so that all sums are
    computed in the same order.
    """
    Q, N = out.shape
    for tile in prange((Q + TILE - 1) // TILE):
        square = np.empty(table.shape[1] // group, table.dtype)
        for first in range(0, N, TILE):
            rows = range(first, min(N, first + TILE))
            for i in range(tile * TILE, min(Q, (tile + 1) * TILE), 4):
                j, k, m = (min(i + 1, Q - 1), min(i + 2, Q - 1),
                           min(i + 3, Q - 1))
                q0, q1, q2, q3 = query[i], query[j], query[k], query[m]
                if group == 1 or group == table.shape[1]:
                    for n in rows:
                        out[i, n], out[j, n], out[k, n], out[m, n] = _four(
                            q0, q1, q2, q3, table[n], group != 1)
                else:
                    for n in rows:
                        t = table[n]
                        out[i, n] = measure(q0, t, group, square)
                        out[j, n] = measure(q1, t, group, square)
                        out[k, n] = measure(q2, t, group, square)
                        out[m, n] = measure(q3, t, group, square)


@njit(parallel=True, fastmath=FAST, cache=True)
def _forward_columns(query: Array, table: Array, group: int,
                     out: Array) -> None:
    r"""Writes the distances of :func:`_forward` for groups of several
    channels. A loop over the few channels of a group would be short, so the
    innermost loop runs over table rows. All loops have the same length, so
    that all sums are computed in the same order.
    """
    Q, N = out.shape
    C, S = table.shape[1], table.shape[1] // group
    for tile in prange((N + WIDTH - 1) // WIDTH):
        first = tile * WIDTH
        count = min(N - first, WIDTH)
        columns = np.zeros((C, WIDTH), table.dtype)
        for n in range(count):
            for d in range(C):
                columns[d, n] = table[first + n, d]
        square = np.empty(WIDTH, table.dtype)
        total = np.empty(WIDTH, table.dtype)
        for q in range(Q):
            total[:] = 0
            for i in range(S):
                square[:] = 0
                for j in range(group):
                    x = query[q, j * S + i]
                    for n in range(WIDTH):
                        diff = x - columns[j * S + i, n]
                        square[n] += diff * diff
                for n in range(WIDTH):
                    total[n] += np.sqrt(square[n])
            out[q, first:first + count] = total[:count]


def forward(query: Array, table: Array, group: int, out: Array) -> None:
    r"""Writes the distances :obj:`[Q, N]`."""
    blocks = 2 < group < table.shape[1]
    (_forward_columns if blocks else _forward)(query, table, group, out)
