r"""Counts of the candidates that outscore a target."""
from __future__ import annotations

from typing import Optional

import torch
from torch import Tensor

from pyg_mmkgc.kernels.backend import arrays, numba_loops
from pyg_mmkgc.kernels.host import on_host, to_device

Counts = tuple[Tensor, Tensor, Tensor]


def count_rivals_in_rows(scores: Tensor, row: Tensor, target: Tensor,
                         truth: Tensor,
                         known: Optional[tuple[Tensor, Tensor]] = None
                         ) -> Counts:
    r"""Returns the number of candidates that score higher than each target,
    the number that do not score lower, and the number of all candidates, each
    :obj:`[E]`. Targets may share rows, which are not copied for each target if
    compiled loops support the scores. Rows, targets and known answers are on
    the host, which therefore knows their numbers without waiting.

    Args:
        scores (torch.Tensor): The scores of candidates, :obj:`[Q, N]`.
        row (torch.Tensor): The row of each target, :obj:`[E]`.
        target (torch.Tensor): The column of each target, :obj:`[E]`. It is
            outside the range from :obj:`0` to :obj:`N - 1` if the target is
            not among the candidates.
        truth (torch.Tensor): The score of each target, :obj:`[E]`.
        known (tuple, optional): The rows, ascending, and the columns of
            known answers. They are not counted, unless they are the target.
            (default: :obj:`None`)
    """
    row, target = on_host(row), on_host(target)
    which, node = map(on_host, known or (row[:0], row[:0]))
    size = which.bincount(minlength=scores.size(0))
    ptr = torch.cat([size.new_zeros(1), size.cumsum(0)])
    loops = numba_loops('ranks', scores, truth)
    if scores.numel() == 0 or scores.stride(1) != 1 or loops is None:
        # Copies at most as many rows at once as the scores have.
        step = len(scores) or 1
        parts = [_count(scores, rows, targets, own, ptr, node)
                 for rows, targets, own in zip(
                     row.split(step), target.split(step), truth.split(step),
                     strict=True)]
        better, not_worse, total = torch.cat(parts, dim=1)
        return better, not_worse, total
    # The loop takes a flat array, since rows may be further apart than their
    # length.
    num_nodes, stride = scores.size(1), scores.stride(0)
    flat = scores.as_strided(((scores.size(0) - 1) * stride + num_nodes, ),
                             (1, ))
    counts = row.new_zeros(3, row.numel())
    loops.count_rivals(*arrays(flat), stride, num_nodes, *arrays(
        row, target, truth, ptr, node, counts))
    better, not_worse, total = counts
    return better, not_worse, total


def _count(scores: Tensor, row: Tensor, target: Tensor, truth: Tensor,
           ptr: Tensor, known: Tensor) -> Tensor:
    device = scores.device
    scores = scores.index_select(0, to_device(row, device))
    truth, size = truth.unsqueeze(-1), ptr.diff()[row]
    mine = torch.arange(row.numel()).repeat_interleave(size)
    place = torch.arange(mine.numel())
    node = known[place - (size.cumsum(0) - size - ptr[row])[mine]]
    rival = node != target[mine]
    mine, node = mine[rival], node[rival]
    # A comparison with NaN is false.
    scores[to_device(mine, device), to_device(node, device)] = torch.nan
    total = scores.size(1) - mine.bincount(minlength=row.numel())
    return torch.stack([(scores > truth).sum(dim=1),
                        (scores >= truth).sum(dim=1),
                        to_device(total, device)])
