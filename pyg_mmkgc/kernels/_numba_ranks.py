r"""The compiled CPU loops behind :mod:`pyg_mmkgc.kernels.ranks` (requires
:obj:`numba`).
"""
from __future__ import annotations

from numba import njit, prange

from pyg_mmkgc.kernels._numba_candidates import FAST, Array


@njit(parallel=True, fastmath=FAST, cache=True)
def count_rivals(scores: Array, stride: int, num_nodes: int, row: Array,
                 target: Array, truth: Array, ptr: Array, known: Array,
                 counts: Array) -> None:
    r"""Counts the scores in row :obj:`row[i]` that are greater than
    :obj:`truth[i]`, the scores that are not smaller, and all scores. Except
    for the target, the candidates :obj:`known[ptr[q]:ptr[q + 1]]` of row
    :obj:`q` are not counted. Rows of :obj:`num_nodes` scores start every
    :obj:`stride` elements of the flat scores.
    """
    zero, one = scores.dtype.type(0), scores.dtype.type(1)
    for i in prange(row.size):
        start, x = row[i] * stride, truth[i]
        part = scores[start:start + num_nodes]
        # Floating-point counts stay in the registers of the scores. Runs are
        # short, since single precision counts exactly only up to 2 ** 24.
        for first in range(0, part.size, 4096):
            above, level = zero, zero
            for score in part[first:first + 4096]:
                above += one if score > x else zero
                level += one if score >= x else zero
            counts[0, i] += int(above)
            counts[1, i] += int(level)
        counts[2, i] = num_nodes
        for m in range(ptr[row[i]], ptr[row[i] + 1]):
            if known[m] != target[i]:
                counts[0, i] -= part[known[m]] > x
                counts[1, i] -= part[known[m]] >= x
                counts[2, i] -= 1
