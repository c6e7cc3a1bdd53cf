from __future__ import annotations

from typing import Any, Optional

import torch
from torch import Tensor


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, logits: Tensor, picks: Tensor,
                table: Tensor) -> Tensor:
        ctx.save_for_backward(logits, picks, table)
        return rows.view_as(rows)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Optional[Tensor], ...]:
        logits, picks, table = ctx.saved_tensors
        logits, out = logits.clone(), torch.zeros_like(logits)
        for k in range(picks.size(1)):
            prob = logits.softmax(dim=-1)  # [B, M]
            value = grad[:, k] @ table.t()
            out += prob * (value - (prob * value).sum(-1, keepdim=True))
            logits.scatter_(1, picks[:, k:k + 1], -torch.inf)
        return grad, out, None, None


def straight_through(rows: Tensor, logits: Tensor, picks: Tensor,
                     table: Tensor) -> Tensor:
    r"""Gives :obj:`rows` unchanged, and lets their gradient reach the logits
    by which they were chosen, without replacement: the straight-through
    estimator of the `Gumbel-softmax <https://arxiv.org/abs/1611.01144>`_.

    Row :math:`k` stands for :math:`\sum_m y_{k,m} \mathbf{e}_m` with a
    one-hot :math:`\mathbf{y}_k`, whose gradient is taken for that of the
    softmax of the logits less those of the rows before. Only one
    :obj:`[B, M]` is in memory at a time.

    Args:
        rows (torch.Tensor): The rows that were chosen, :obj:`[B, K, C]`.
        logits (torch.Tensor): The logits with their noise, :obj:`[B, M]`.
        picks (torch.Tensor): What was chosen, in turn, :obj:`[B, K]`.
        table (torch.Tensor): The rows to choose from, :obj:`[M, C]`.
    """
    return _StraightThrough.apply(rows, logits.to(rows.dtype), picks,
                                  table.detach())
