r"""Compiled CPU loops behind :mod:`pyg_mmkgc.evaluation.counting` (needs
:obj:`numba`).
"""
from __future__ import annotations

from numba import njit, prange

from pyg_mmkgc.nn._loops import FAST, Array


@njit(parallel=True, fastmath=FAST, cache=True)
def count_rivals(scores: Array, stride: int, num_nodes: int, row: Array,
                 truth: Array, better: Array, not_worse: Array) -> None:
    r"""Counts the scores above :obj:`truth[i]`, and those not below, in row
    :obj:`row[i]`; rows of :obj:`num_nodes` begin every :obj:`stride` of the
    flat scores.
    """
    zero, one = scores.dtype.type(0), scores.dtype.type(1)
    for i in prange(row.size):
        start = row[i] * stride
        part = scores[start:start + num_nodes]
        x = truth[i]
        # Floating-point counts, which stay in the registers of the scores;
        # short runs, since single precision counts up to 2 ** 24.
        for first in range(0, part.size, 4096):
            above, level = zero, zero
            for score in part[first:first + 4096]:
                above += one if score > x else zero
                level += one if score >= x else zero
            better[i] += int(above)
            not_worse[i] += int(level)


@njit(parallel=True, cache=True)
def discount_known(scores: Array, stride: int, row: Array, target: Array,
                   truth: Array, ptr: Array, known: Array, better: Array,
                   not_worse: Array, count: Array) -> None:
    r"""Takes the candidates :obj:`known[ptr[q]:ptr[q + 1]]` of row :obj:`q`,
    but the target itself, off the counts of its targets.
    """
    for i in prange(row.size):
        start, x = row[i] * stride, truth[i]
        for m in range(ptr[row[i]], ptr[row[i] + 1]):
            if known[m] != target[i]:
                score = scores[start + known[m]]
                better[i] -= score > x
                not_worse[i] -= score >= x
                count[i] -= 1
