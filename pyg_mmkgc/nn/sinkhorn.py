from __future__ import annotations

import math

import torch
from torch import Tensor


@torch.no_grad()
def transport_plan(cost: Tensor, strength: float,
                   max_iterations: int = 1000,
                   tolerance: float = 1e-6) -> Tensor:
    r"""Entropic optimal transport between uniform marginals, by `Sinkhorn's
    iteration <https://arxiv.org/abs/1306.0895>`_ on the logarithms of the
    scalings, so that no cost is too large for it.

    .. math::
        \Pi = \arg\min_{\Pi} \langle \Pi, \mathbf{C} \rangle - \epsilon
        H(\Pi), \qquad \Pi \mathbf{1} = \tfrac{1}{P} \mathbf{1}, \quad
        \Pi^{\top} \mathbf{1} = \tfrac{1}{Q} \mathbf{1}

    Args:
        cost (torch.Tensor): The costs :math:`\mathbf{C}`, :obj:`[*, P, Q]`.
        strength (float): :math:`\epsilon`.
        max_iterations (int, optional): When to stop in any case.
            (default: :obj:`1000`)
        tolerance (float, optional): The change of the logarithms at which to
            stop. (default: :obj:`1e-6`)

    Returns:
        The plans :math:`\Pi`, :obj:`[*, P, Q]`.
    """
    kernel = -cost / strength
    P, Q = kernel.shape[-2:]
    column = kernel.new_zeros(*kernel.shape[:-2], 1, Q)
    for _ in range(max_iterations):
        row = -math.log(P) - (kernel + column).logsumexp(-1, keepdim=True)
        before = column
        column = -math.log(Q) - (kernel + row).logsumexp(-2, keepdim=True)
        if float((column - before).abs().max()) <= tolerance:
            break
    return (kernel + row + column).exp()
