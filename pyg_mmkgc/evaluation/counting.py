r"""How many candidates outscore a target."""

from __future__ import annotations

import torch
from torch import Tensor

from pyg_mmkgc.data.index import ranges
from pyg_mmkgc.kernels import ranks as kernels
from pyg_mmkgc.metrics import count_rivals, without_known

Counts = tuple[Tensor, Tensor, Tensor]


def count_rivals_in_rows(
    scores: Tensor,
    row: Tensor,
    target: Tensor,
    truth: Tensor,
    known: tuple[Tensor, Tensor] | None,
) -> Counts:
    r"""The counts of :func:`~pyg_mmkgc.metrics.count_rivals` where targets
    share rows, which are neither copied nor read twice.

    Args:
        scores (torch.Tensor): The scores of candidates, :obj:`[Q, N]`.
        row (torch.Tensor): The row of each target, :obj:`[E]`.
        target (torch.Tensor): Each target as a candidate, :obj:`[E]`; one
            that is none of them is not below zero and less than :obj:`N`.
        truth (torch.Tensor): The score of each target, :obj:`[E]`.
        known (tuple, optional): The candidates that do not count, except
            for themselves: their row, ascending, and the candidate.
    """
    which, node = known or (row[:0], row[:0])
    size = which.bincount(minlength=scores.size(0))
    ptr = torch.cat([size.new_zeros(1), size.cumsum(0)])
    found = kernels.count_rivals(scores, row, target, truth, ptr, node)
    return found or _plain(scores, row, target, truth, ptr, node)


def _plain(scores: Tensor, row: Tensor, target: Tensor, truth: Tensor,
           ptr: Tensor, known: Tensor) -> Counts:
    # As many copied rows at a time as there are.
    parts = [count_rivals(scores.index_select(0, rows), own)[:2]
             for rows, own in zip(row.split(len(scores) or 1),
                                  truth.split(len(scores) or 1), strict=True)]
    better, not_worse = torch.cat([torch.stack(x) for x in parts], dim=1)
    counts = torch.full_like(better, scores.size(1))
    # Each target with each known candidate of its row.
    which, place = ranges(ptr[row], ptr.diff()[row])
    node = known[place]
    keep = node != target[which]
    which, node = which[keep], node[keep]
    return without_known((better, not_worse, counts), which,
                         scores[row[which], node], truth[which])
