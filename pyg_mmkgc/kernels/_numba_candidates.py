r"""The compiled CPU loops behind :mod:`pyg_mmkgc.kernels.candidates`
(requires :obj:`numba`).

One thread writes a row of the output in a fixed order, so results do not
depend on the number of threads. However, the last bits depend on whether a
process compiled a loop itself or read it from numba's cache, since numba
optimizes a loop once more before caching it.
"""
from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange

# Shapes: B positives with K candidates each, U rows of the table, and C
# channels in S groups. Channel j of group i is at j * S + i. Queries and
# scales are [2, B, C].

# A numpy array, or None for missing scales and gradients. Numba compiles a
# separate loop without branches for each case.
Array = Any
# Queries, scales, the table, the rows [B, K] of the candidates in it, and the
# sides [B, K] of the candidates.
Pairs = tuple[Array, Array, Array, Array, Array]
# Neither nnan nor ninf is set, since NaN must stay NaN to reveal a diverged
# model.
FAST = {'reassoc', 'nsz', 'contract', 'afn', 'arcp'}
# The maximum number of positives that share candidates and a gradient buffer.
MAX_RUN = 128


@njit(fastmath=FAST, inline='always')
def _squares(q: Array, t: Array, group: int, square: Array) -> None:
    S = square.size
    square[:] = 0
    for j in range(group):
        for i in range(S):
            diff = q[j * S + i] - t[j * S + i]
            square[i] += diff * diff


@njit(fastmath=FAST, inline='always')
def measure(q: Array, t: Array, group: int, square: Array) -> Any:
    r"""Returns the distance between a query and a key, or their inner product
    if :obj:`group` is zero. :obj:`square` is scratch space for :obj:`S`
    numbers.
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
        for i in range(S):
            re = q[i] - t[i]
            im = q[S + i] - t[S + i]
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
def _add(d: int, x: Any, grad_q: Array, grad_t: Array) -> None:
    if grad_q is not None:
        grad_q[d] += x
    if grad_t is not None:
        grad_t[d] -= x


@njit(fastmath=FAST, inline='always')
def _add_product(grad: Any, x: Array, out: Array) -> None:
    if out is not None:
        for d in range(x.size):
            out[d] += grad * x[d]


@njit(fastmath=FAST, inline='always')
def _add_gradient(q: Array, t: Array, grad: Any, group: int, square: Array,
                  grad_q: Array, grad_t: Array) -> None:
    r"""Adds the requested gradients of :func:`measure`. A norm of zero has
    a gradient of zero, and NaN has a gradient of NaN.
    """
    if group == 0:
        _add_product(grad, t, grad_q)
        _add_product(grad, q, grad_t)
    elif group == 1:
        for d in range(q.size):
            diff = q[d] - t[d]
            down = -grad if diff < 0 else diff
            _add(d, grad if diff > 0 else down, grad_q, grad_t)
    elif group == 2:
        S = q.size // 2
        for i in range(S):
            re = q[i] - t[i]
            im = q[S + i] - t[S + i]
            norm = re * re + im * im
            w = grad / np.sqrt(norm) if norm > 0 else norm
            _add(i, w * re, grad_q, grad_t)
            _add(S + i, w * im, grad_q, grad_t)
    elif group == q.size:
        norm = measure(q, t, group, square)
        w = grad / norm if norm > 0 else norm
        for d in range(q.size):
            _add(d, w * (q[d] - t[d]), grad_q, grad_t)
    else:
        S = square.size
        _squares(q, t, group, square)
        for i in range(S):
            norm = square[i]
            square[i] = grad / np.sqrt(norm) if norm > 0 else norm
        for j in range(group):
            for i in range(S):
                d = j * S + i
                _add(d, square[i] * (q[d] - t[d]), grad_q, grad_t)


@njit(fastmath=FAST, inline='always')
def _key(t: Array, scale: Array, b: int, s: int, key: Array) -> Array:
    r"""Returns the key of a row, scaled in scratch space if needed."""
    if scale is None:
        return t
    for d in range(t.size):
        key[d] = scale[s, b, d] * t[d]
    return key


@njit(fastmath=FAST, inline='always')
def _add_pair(q: Array, t: Array, scale: Array, b: int, s: int, grad: Any,
              group: int, scratch: Array, grad_q: Array, grad_scale: Array,
              grad_t: Array) -> None:
    r"""Adds the requested gradients of one pair."""
    square, key, grad_key = scratch
    if scale is None:
        _add_gradient(q, t, grad, group, square, grad_q, grad_t)
        return
    grad_key[:] = 0
    _add_gradient(q, _key(t, scale, b, s, key), grad, group, square, grad_q,
                  grad_key)
    if grad_scale is not None:
        for d in range(t.size):
            grad_scale[s, b, d] += grad_key[d] * t[d]
    if grad_t is not None:
        for d in range(t.size):
            grad_t[d] += grad_key[d] * scale[s, b, d]


@njit(inline='always')
def _row(x: Array, i: int, j: int) -> Any:
    if x is None:
        return None
    return x[i, j]


@njit(inline='always')
def _scratch(table: Array, group: int) -> tuple[Array, Array, Array]:
    # A single allocation, since it is repeated for each row.
    C = table.shape[1]
    S = C // max(group, 1)
    out = np.empty(S + 2 * C, table.dtype)
    return out[:S], out[S:S + C], out[S + C:]


@njit(parallel=True, fastmath=FAST, cache=True)
def _forward(query: Array, scale: Array, table: Array, index: Array,
             side: Array, group: int, out: Array) -> None:
    B, K = index.shape
    for b in prange(B):
        square, key, _ = _scratch(table, group)
        for k in range(K):
            s, t = side[b, k], table[index[b, k]]
            out[b, k] = measure(query[s, b], _key(t, scale, b, s, key), group,
                                square)


@njit(parallel=True, fastmath=FAST, cache=True)
def _forward_scaled_l1(query: Array, scale: Array, table: Array, index: Array,
                       side: Array, out: Array) -> None:
    r"""Writes the distances of PairRE, whose keys need no scratch space."""
    B, K = index.shape
    for b in prange(B):
        for k in range(K):
            s, t = side[b, k], table[index[b, k]]
            q, w, total = query[s, b], scale[s, b], t.dtype.type(0)
            for d in range(t.size):
                total += abs(q[d] - w[d] * t[d])
            out[b, k] = total


@njit(parallel=True, fastmath=FAST, cache=True)
def _backward_table(query: Array, table: Array, side: Array, ptr: Array,
                    order: Array, grad: Array, group: int,
                    grad_table: Array) -> None:
    K = side.shape[1]
    for u in prange(table.shape[0]):
        square = np.empty(table.shape[1] // max(group, 1), table.dtype)
        for i in range(ptr[u], ptr[u + 1]):
            b, k = order[i] // K, order[i] % K
            # Both measures are symmetric.
            _add_gradient(table[u], query[side[b, k], b], grad[b, k], group,
                          square, grad_table[u], None)


@njit(parallel=True, fastmath=FAST, cache=True)
def _backward_scaled_table(query: Array, scale: Array, table: Array,
                           side: Array, ptr: Array, order: Array, grad: Array,
                           group: int, grad_table: Array) -> None:
    K = side.shape[1]
    for u in prange(table.shape[0]):
        scratch = _scratch(table, group)
        for i in range(ptr[u], ptr[u + 1]):
            b, k = order[i] // K, order[i] % K
            s = side[b, k]
            _add_pair(query[s, b], table[u], scale, b, s, grad[b, k], group,
                      scratch, None, None, grad_table[u])


@njit(parallel=True, fastmath=FAST, cache=True)
def _backward_runs(query: Array, scale: Array, table: Array, index: Array,
                   side: Array, starts: Array, grad: Array, group: int,
                   grad_query: Array, grad_scale: Array,
                   grad_rows: Array) -> None:
    r"""Adds all gradients in one pass over runs of positives. If requested,
    the gradients of the candidates of a run go to :obj:`grad_rows[run]`.
    """
    K = index.shape[1]
    for run in prange(starts.size - 1):
        scratch = _scratch(table, group)
        for b in range(starts[run], starts[run + 1]):
            for k in range(K):
                s = side[b, k]
                _add_pair(query[s, b], table[index[b, k]], scale, b, s,
                          grad[b, k], group, scratch, grad_query[s, b],
                          grad_scale, _row(grad_rows, run, k))


@njit(cache=True)
def _columns(table: Array, index: Array) -> Array:
    r"""Returns the rows of the candidates of a run, :obj:`[C, K]`."""
    out = np.empty((table.shape[1], index.size), table.dtype)
    for k in range(index.size):
        for d in range(table.shape[1]):
            out[d, k] = table[index[k], d]
    return out


@njit(fastmath=FAST, inline='always')
def _differences(query: Array, scale: Array, columns: Array, head: Array,
                 group: int, i: int, diff: Array, square: Array) -> None:
    r"""Writes the differences :obj:`[group, K]` between a query and all
    candidates in group :obj:`i`, and the sums :obj:`[K]` of their squares. The
    innermost loop runs over candidates, so it is long even if there are few
    channels.
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
def _forward_columns(pairs: Pairs, starts: Array, group: int,
                     out: Array) -> None:
    query, scale, table, index, side = pairs
    K, dtype = index.shape[1], table.dtype
    for run in prange(starts.size - 1):
        columns = _columns(table, index[starts[run]])
        diff, square = np.empty((group, K), dtype), np.empty(K, dtype)
        for b in range(starts[run], starts[run + 1]):
            # Sides have the table's type, so that the compiler can vectorize
            # a loop with a single width.
            head = side[b].astype(dtype)
            total = np.zeros(K, dtype)
            for i in range(table.shape[1] // group):
                _differences(query[:, b], scale[:, b], columns, head, group, i,
                             diff, square)
                for k in range(K):
                    total[k] += np.sqrt(square[k])
            out[b] = total


@njit(parallel=True, fastmath=FAST, cache=True)
def _backward_columns(pairs: Pairs, starts: Array, grad: Array, group: int,
                      grad_query: Array, grad_scale: Array,
                      grad_rows: Array) -> None:
    r"""Adds the gradients of :func:`_backward_runs` for norms over any number
    of channels.
    """
    query, scale, table, index, side = pairs
    K, C, dtype = index.shape[1], table.shape[1], table.dtype
    S, zero = C // group, dtype.type(0)
    for run in prange(starts.size - 1):
        columns = _columns(table, index[starts[run]])
        grad_columns = np.zeros((C, K), dtype)
        diff, weight = np.empty((group, K), dtype), np.empty(K, dtype)
        for b in range(starts[run], starts[run + 1]):
            head, g = side[b].astype(dtype), grad[b]
            for i in range(S):
                _differences(query[:, b], scale[:, b], columns, head, group, i,
                             diff, weight)
                for k in range(K):
                    x = abs(diff[0, k]) if group == 1 else np.sqrt(weight[k])
                    weight[k] = g[k] / x if x > 0 else x
                for j in range(group):
                    d = j * S + i
                    w0, w1 = scale[0, b, d], scale[1, b, d]
                    gq0 = gq1 = gw0 = gw1 = zero
                    for k in range(K):
                        x = weight[k] * diff[j, k]
                        y = x * columns[d, k]
                        gq0 += zero if head[k] > 0 else x
                        gq1 += x if head[k] > 0 else zero
                        gw0 += zero if head[k] > 0 else y
                        gw1 += y if head[k] > 0 else zero
                        grad_columns[d, k] -= x * (
                            w1 if head[k] > 0 else w0)
                    grad_query[0, b, d], grad_query[1, b, d] = gq0, gq1
                    grad_scale[0, b, d], grad_scale[1, b, d] = -gw0, -gw1
        grad_rows[run] = grad_columns.T


@njit(cache=True)
def group_by_row(index: Array, num_rows: int) -> tuple[Array, Array]:
    r"""Groups pairs by table row with a counting sort, in pair order."""
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


@njit(cache=True)
def find_runs(index: Array) -> Array:
    r"""Returns the starts of runs, which are at most :obj:`MAX_RUN`
    consecutive positives with the same candidates. The last entry is the end.
    """
    B = index.shape[0]
    starts = np.empty(B + 1, np.int64)
    num = 0
    for b in range(B):
        if num == 0 or b - starts[num - 1] == MAX_RUN or (
                not np.array_equal(index[b], index[b - 1])):
            starts[num] = b
            num += 1
    starts[num] = B
    return starts[:num + 1]


def _pooled_runs(index: Array) -> Any:
    r"""Returns the starts of runs, or :obj:`None` if runs are too short to
    pay off.
    """
    starts = find_runs(index)
    return starts if 4 * starts.size <= index.shape[0] else None


@njit(fastmath=FAST, cache=True)
def _add_rows(index: Array, rows: Array, out: Array) -> None:
    for i in range(index.size):
        a, b = rows[i], out[index[i]]
        for c in range(a.size):
            b[c] += a[c]


def scores(pairs: Pairs, group: int, out: Array) -> None:
    r"""Writes the scores :obj:`[B, K]`."""
    # Norms over few channels are fast without a loop over candidates.
    starts = _pooled_runs(pairs[3]) if _in_blocks(pairs, group) else None
    if starts is not None:
        _forward_columns(_scaled(pairs), starts, group, out)
    elif pairs[1] is not None and group == 1:
        _forward_scaled_l1(*pairs, out)
    else:
        _forward(*pairs, group, out)


def gradients(pairs: Pairs, grad: Array, group: int, grad_query: Array,
              grad_scale: Array, grad_table: Array) -> None:
    r"""Adds the gradients to arrays of zeros."""
    _, scale, table, index, _ = pairs
    positives = np.arange(len(index) + 1)
    if len(table) == index.size and np.array_equal(
            index[:, 0], positives[:-1]):  # A row for each positive.
        _backward_runs(*pairs, positives, grad, group, grad_query, grad_scale,
                       grad_table[:, None])
        return
    # No caller scales the keys of inner products, since scaling the query is
    # equivalent and cheaper.
    starts = _pooled_runs(index) if scale is None or group > 0 else None
    if starts is None:
        _backward_runs(*pairs, positives, grad, group, grad_query, grad_scale,
                       None)
        ptr, order = group_by_row(index.reshape(-1), len(table))
        rest = pairs[4], ptr, order, grad, group, grad_table
        if scale is None:
            _backward_table(pairs[0], table, *rest)
        else:
            _backward_scaled_table(pairs[0], scale, table, *rest)
        return
    rows = np.zeros((starts.size - 1, index.shape[1], table.shape[1]),
                    table.dtype)
    if scale is None and not _in_blocks(pairs, group):
        _backward_runs(*pairs, starts, grad, group, grad_query, None, rows)
    else:
        _backward_columns(
            _scaled(pairs), starts, grad, group, grad_query,
            np.empty_like(grad_query) if scale is None else grad_scale, rows)
    _add_rows(index[starts[:-1]].reshape(-1),
              rows.reshape(-1, table.shape[1]), grad_table)


def _in_blocks(pairs: Pairs, group: int) -> bool:
    return 2 < group < pairs[2].shape[1] and len(pairs[0]) == 2


def _scaled(pairs: Pairs) -> Pairs:
    query, scale, *rest = pairs
    return query, np.ones_like(query) if scale is None else scale, *rest
