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
        rows = table[picks]  # [B, K, C]
        rest = logits.scatter(1, picks, -torch.inf)  # Never picked, [B, M].
        picked = logits.gather(1, picks)
        # The logarithms of what softmax divides by at each draw, [B, K].
        total = torch.cat([rest.logsumexp(dim=1, keepdim=True),
                           picked.flip(1)], dim=1)
        total = total.logcumsumexp(dim=1)[:, 1:].flip(1)
        # The probabilities of the rest at the last draw, and what they are
        # multiplied by at the others; those of the picks, [B, draw, pick].
        prob = (rest - total[:, -1:]).exp()
        share = (total[:, -1:] - total).exp()
        of_picks = (picked.unsqueeze(1) - total.unsqueeze(2)).exp().triu()
        mean = share.unsqueeze(-1) * (prob @ table).unsqueeze(1)
        mean = mean + of_picks @ rows  # Of the table at each draw, [B, K, C].
        center = (grad * mean).sum(dim=-1)
        out = prob * ((share.unsqueeze(-1) * grad).sum(dim=1) @ table.t()
                      - (share * center).sum(dim=1, keepdim=True))
        value = grad @ rows.mT - center.unsqueeze(-1)
        return (grad, out.scatter(1, picks, (of_picks * value).sum(dim=1)),
                None, None)


def straight_through(rows: Tensor, logits: Tensor, picks: Tensor,
                     table: Tensor) -> Tensor:
    r"""Gives :obj:`rows` unchanged, and lets their gradient reach the logits
    by which they were chosen, without replacement: the straight-through
    estimator of the `Gumbel-softmax <https://arxiv.org/abs/1611.01144>`_.

    Row :math:`k` stands for :math:`\sum_m y_{k,m} \mathbf{e}_m` with a
    one-hot :math:`\mathbf{y}_k`, whose gradient is taken for that of the
    softmax of the logits less those of the rows before. What was never picked
    is in all of these in the same proportions, and summed up once.

    Args:
        rows (torch.Tensor): The rows that were chosen, :obj:`[B, K, C]`.
        logits (torch.Tensor): The logits with their noise, :obj:`[B, M]`.
        picks (torch.Tensor): What was chosen, in turn, :obj:`[B, K]`.
        table (torch.Tensor): The rows to choose from, :obj:`[M, C]`.
    """
    return _StraightThrough.apply(rows, logits.to(rows.dtype), picks,
                                  table.detach())
