r"""Counts of the candidates that outscore a target."""
from __future__ import annotations

from typing import Optional

from torch import Tensor

from pyg_mmkgc.kernels.backend import arrays, numba_loops


def count_rivals(scores: Tensor, row: Tensor, target: Tensor, truth: Tensor,
                 ptr: Tensor, known: Tensor
                 ) -> Optional[tuple[Tensor, Tensor, Tensor]]:
    r"""Returns the numbers of candidates that are better than a target, that
    are not worse, and of all, each :obj:`[E]`, in one pass over the scores;
    :obj:`None` where compiled loops cannot serve.

    Args:
        scores (torch.Tensor): The scores of candidates, :obj:`[Q, N]`.
        row (torch.Tensor): The row of each target, :obj:`[E]`.
        target (torch.Tensor): Each target as a candidate, :obj:`[E]`.
        truth (torch.Tensor): The score of each target, :obj:`[E]`.
        ptr (torch.Tensor): Where the candidates of a row that do not count
            begin in :obj:`known`, :obj:`[Q + 1]`.
        known (torch.Tensor): These candidates; a target itself counts.
    """
    loops = numba_loops('ranks', scores, truth)
    if scores.numel() == 0 or scores.stride(1) != 1 or loops is None:
        return None
    # Rows may lie apart; a row on its own is contiguous to the loop.
    num_nodes, stride = scores.size(1), scores.stride(0)
    flat = scores.as_strided(((scores.size(0) - 1) * stride + num_nodes, ),
                             (1, ))
    counts = row.new_zeros(3, row.numel())
    loops.count_rivals(*arrays(flat), stride, num_nodes, *arrays(
        row, target, truth, ptr, known, counts))
    better, not_worse, total = counts
    return better, not_worse, total
