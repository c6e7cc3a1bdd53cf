r"""Counts of the candidates that outscore a target."""
from __future__ import annotations

from typing import Optional

from torch import Tensor

from pyg_mmkgc.kernels.backend import arrays, numba_loops


def count_rivals(scores: Tensor, row: Tensor, target: Tensor, truth: Tensor,
                 ptr: Tensor, known: Tensor
                 ) -> Optional[tuple[Tensor, Tensor, Tensor]]:
    r"""Returns the number of candidates that score higher than each target,
    the number that do not score lower, and the number of all candidates, each
    :obj:`[E]`, in one pass over the scores. Returns :obj:`None` if compiled
    loops do not support the tensors.

    Args:
        scores (torch.Tensor): The scores of candidates, :obj:`[Q, N]`.
        row (torch.Tensor): The row of each target, :obj:`[E]`.
        target (torch.Tensor): The column of each target, :obj:`[E]`.
        truth (torch.Tensor): The score of each target, :obj:`[E]`.
        ptr (torch.Tensor): The start of each row in :obj:`known`,
            :obj:`[Q + 1]`.
        known (torch.Tensor): The candidates of all rows that are not counted.
            A target always counts.
    """
    loops = numba_loops('ranks', scores, truth)
    if scores.numel() == 0 or scores.stride(1) != 1 or loops is None:
        return None
    # The loop takes a flat array, since rows may be further apart than their
    # length.
    num_nodes, stride = scores.size(1), scores.stride(0)
    flat = scores.as_strided(((scores.size(0) - 1) * stride + num_nodes, ),
                             (1, ))
    counts = row.new_zeros(3, row.numel())
    loops.count_rivals(*arrays(flat), stride, num_nodes, *arrays(
        row, target, truth, ptr, known, counts))
    better, not_worse, total = counts
    return better, not_worse, total
