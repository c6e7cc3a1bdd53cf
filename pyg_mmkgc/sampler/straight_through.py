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
        rest = logits.scatter(1, picks, -torch.inf)  # Never chosen, [B, M].
        picked = logits.gather(1, picks)
        # The logarithm of the softmax denominator at each draw, [B, K].
        total = torch.cat([rest.logsumexp(dim=1, keepdim=True),
                           picked.flip(1)], dim=1)
        total = total.logcumsumexp(dim=1)[:, 1:].flip(1)
        # The probabilities of the rest at the last draw, the factor that turns
        # them into the probabilities at each other draw, and the probabilities
        # of the picks at each draw, [B, draw, pick].
        prob = (rest - total[:, -1:]).exp()
        share = (total[:, -1:] - total).exp()
        of_picks = (picked.unsqueeze(1) - total.unsqueeze(2)).exp().triu()
        mean = share.unsqueeze(-1) * (prob @ table).unsqueeze(1)
        mean = mean + of_picks @ rows  # The mean row of each draw, [B, K, C].
        center = (grad * mean).sum(dim=-1)
        out = prob * ((share.unsqueeze(-1) * grad).sum(dim=1) @ table.t()
                      - (share * center).sum(dim=1, keepdim=True))
        value = grad @ rows.mT - center.unsqueeze(-1)
        return (grad, out.scatter(1, picks, (of_picks * value).sum(dim=1)),
                None, None)


def straight_through(rows: Tensor, logits: Tensor, picks: Tensor,
                     table: Tensor) -> Tensor:
    r"""Returns :obj:`rows` unchanged, and passes their gradient on to the
    logits by which the rows were chosen without replacement, following the
    straight-through estimator of the `"Categorical Reparameterization with
    Gumbel-Softmax" <https://arxiv.org/abs/1611.01144>`_ paper.

    Row :math:`k` equals :math:`\sum_m y_{k,m} \mathbf{e}_m` with a one-hot
    vector :math:`\mathbf{y}_k`. In the backward pass, :math:`\mathbf{y}_k` is
    replaced by the softmax over the logits of all candidates that were not
    chosen in an earlier draw. Candidates that were never chosen have the same
    relative probabilities in every draw, so they are summed up only once.

    Args:
        rows (torch.Tensor): The chosen rows, :obj:`[B, K, C]`.
        logits (torch.Tensor): The logits with their noise, :obj:`[B, M]`.
        picks (torch.Tensor): The positions of the chosen candidates in the
            order of the draws, :obj:`[B, K]`.
        table (torch.Tensor): The rows to choose from, :obj:`[M, C]`.
    """
    return _StraightThrough.apply(rows, logits.to(rows.dtype), picks,
                                  table.detach())
