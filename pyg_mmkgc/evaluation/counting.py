r"""How many candidates outscore a target."""

from __future__ import annotations

import torch
from torch import Tensor

from pyg_mmkgc.metrics import count_rivals, without_known
from pyg_mmkgc.nn.kernel import loops_for


def count_rivals_in_rows(
    scores: Tensor,
    row: Tensor,
    truth: Tensor,
    known: tuple[Tensor, Tensor] | None,
) -> tuple[Tensor, Tensor, Tensor]:
    r"""The counts of :func:`~pyg_mmkgc.metrics.count_rivals` where targets
    share rows, which are neither copied nor read twice.

    Args:
        scores (torch.Tensor): The scores of candidates, :obj:`[Q, N]`.
        row (torch.Tensor): The row of each target, :obj:`[E]`.
        truth (torch.Tensor): The score of each target, :obj:`[E]`.
        known (tuple, optional): The candidates that do not count: the
            position of the target among :obj:`[E]`, and the candidate.
    """
    num_nodes = scores.size(1)
    better, not_worse = _compiled(scores, row, truth) or _plain(scores, row,
                                                                truth)
    counts = torch.full_like(better, num_nodes)
    if known is None:
        return better, not_worse, counts
    which, node = known
    return without_known((better, not_worse, counts), which,
                         scores[row[which], node], truth[which])


def _compiled(scores: Tensor, row: Tensor,
              truth: Tensor) -> tuple[Tensor, Tensor] | None:
    if (scores.numel() == 0 or scores.stride(1) != 1
            or loops_for(scores, truth) is None):
        return None
    from pyg_mmkgc.evaluation import _loops

    # Rows may lie apart; a row on its own is contiguous to the loop.
    num_nodes, stride = scores.size(1), scores.stride(0)
    size = (scores.size(0) - 1) * stride + num_nodes
    better, not_worse = row.new_zeros(2, row.numel())
    _loops.count_rivals(scores.as_strided((size, ), (1, )).numpy(), stride,
                        num_nodes, row.numpy(), truth.numpy(),
                        better.numpy(), not_worse.numpy())
    return better, not_worse


def _plain(scores: Tensor, row: Tensor,
           truth: Tensor) -> tuple[Tensor, Tensor]:
    # As many copied rows at a time as there are.
    parts = [count_rivals(scores.index_select(0, rows), own)[:2]
             for rows, own in zip(row.split(len(scores) or 1),
                                  truth.split(len(scores) or 1), strict=True)]
    better, not_worse = torch.cat([torch.stack(x) for x in parts], dim=1)
    return better, not_worse
