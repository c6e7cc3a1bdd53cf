r"""Counts of the candidates that outscore a target."""

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
    r"""Returns the counts of :func:`~pyg_mmkgc.metrics.count_rivals` for
    targets that share rows, without copying a row for each target.

    Args:
        scores (torch.Tensor): The scores of candidates, :obj:`[Q, N]`.
        row (torch.Tensor): The row of each target, :obj:`[E]`.
        target (torch.Tensor): The column of each target, :obj:`[E]`. It is
            outside the range from :obj:`0` to :obj:`N - 1` if the target is
            not among the candidates.
        truth (torch.Tensor): The score of each target, :obj:`[E]`.
        known (tuple, optional): The rows, ascending, and the columns of
            known answers. They are not counted, unless they are the target.
    """
    which, node = known or (row[:0], row[:0])
    size = which.bincount(minlength=scores.size(0))
    ptr = torch.cat([size.new_zeros(1), size.cumsum(0)])
    found = kernels.count_rivals(scores, row, target, truth, ptr, node)
    return found or _plain(scores, row, target, truth, ptr, node)


def _plain(scores: Tensor, row: Tensor, target: Tensor, truth: Tensor,
           ptr: Tensor, known: Tensor) -> Counts:
    # Copy at most as many rows at a time as the scores have.
    parts = [count_rivals(scores.index_select(0, rows), own)[:2]
             for rows, own in zip(row.split(len(scores) or 1),
                                  truth.split(len(scores) or 1), strict=True)]
    better, not_worse = torch.cat([torch.stack(x) for x in parts], dim=1)
    counts = torch.full_like(better, scores.size(1))
    # Pair each target with each known candidate in its row.
    which, place = ranges(ptr[row], ptr.diff()[row])
    node = known[place]
    keep = node != target[which]
    which, node = which[keep], node[keep]
    return without_known((better, not_worse, counts), which,
                         scores[row[which], node], truth[which])
