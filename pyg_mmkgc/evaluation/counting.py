r"""How many candidates outscore a target."""

from __future__ import annotations

import torch
from torch import Tensor

from pyg_mmkgc.data.index import ranges
from pyg_mmkgc.metrics import count_rivals, without_known
from pyg_mmkgc.nn.kernel import loops_for

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
    ptr = None
    if known is not None:
        size = known[0].bincount(minlength=scores.size(0))
        ptr = torch.cat([size.new_zeros(1), size.cumsum(0)])
    found = _compiled(scores, row, target, truth, known, ptr)
    return found or _plain(scores, row, target, truth, known, ptr)


def _compiled(scores: Tensor, row: Tensor, target: Tensor, truth: Tensor,
              known: tuple[Tensor, Tensor] | None,
              ptr: Tensor | None) -> Counts | None:
    if (scores.numel() == 0 or scores.stride(1) != 1
            or loops_for(scores, truth) is None):
        return None
    from pyg_mmkgc.evaluation import _loops

    # Rows may lie apart; a row on its own is contiguous to the loop.
    num_nodes, stride = scores.size(1), scores.stride(0)
    size = (scores.size(0) - 1) * stride + num_nodes
    flat = scores.as_strided((size, ), (1, )).numpy()
    better, not_worse = row.new_zeros(2, row.numel())
    counts = torch.full_like(better, num_nodes)
    _loops.count_rivals(flat, stride, num_nodes, row.numpy(), truth.numpy(),
                        better.numpy(), not_worse.numpy())
    if known is not None and ptr is not None:
        _loops.discount_known(flat, stride, row.numpy(), target.numpy(),
                              truth.numpy(), ptr.numpy(), known[1].numpy(),
                              better.numpy(), not_worse.numpy(),
                              counts.numpy())
    return better, not_worse, counts


def _plain(scores: Tensor, row: Tensor, target: Tensor, truth: Tensor,
           known: tuple[Tensor, Tensor] | None,
           ptr: Tensor | None) -> Counts:
    # As many copied rows at a time as there are.
    parts = [count_rivals(scores.index_select(0, rows), own)[:2]
             for rows, own in zip(row.split(len(scores) or 1),
                                  truth.split(len(scores) or 1), strict=True)]
    better, not_worse = torch.cat([torch.stack(x) for x in parts], dim=1)
    counts = torch.full_like(better, scores.size(1))
    if known is None or ptr is None:
        return better, not_worse, counts
    # Each target with each known candidate of its row.
    which, place = ranges(ptr[row], ptr.diff()[row])
    node = known[1][place]
    keep = node != target[which]
    which, node = which[keep], node[keep]
    return without_known((better, not_worse, counts), which,
                         scores[row[which], node], truth[which])
