r"""Norms over groups of channels in plain PyTorch."""
from __future__ import annotations

import torch
from torch import Tensor


def moduli_distance(x: Tensor, y: Tensor, group: int = 2) -> Tensor:
    r"""Returns the sum :math:`\sum_i \| x_i - y_i \|_2` of Euclidean norms
    over groups of channels, for rows :obj:`[*, group * S]`, with shape
    :obj:`[*]`. Channel :obj:`j` of group :obj:`i` is at :obj:`j * S + i`.

    Groups of one channel result in the :math:`L_1` distance, groups of two in
    the sum of complex moduli of rows :obj:`[re | im]`, and one group of all
    channels in the Euclidean distance. A norm of zero has a gradient of zero.
    """
    diff = x - y
    if group == 1:
        return diff.abs().sum(dim=-1)
    # The gradient of sqrt is infinite at zero. The clamp makes it zero.
    return _square_moduli(diff, group).clamp_min(
        torch.finfo(x.dtype).tiny).sqrt().sum(dim=-1)


def moduli(x: Tensor, group: int) -> Tensor:
    r"""Returns the Euclidean norms :obj:`[*, S]` over the groups of channels
    of rows :obj:`[*, group * S]`, see :func:`moduli_distance`.
    """
    return x.abs() if group == 1 else _square_moduli(x, group).sqrt()


def _square_moduli(x: Tensor, group: int) -> Tensor:
    if group > 4:
        return x.unflatten(-1, (group, -1)).square().sum(dim=-2)
    first, *rest = x.chunk(group, dim=-1)
    out = first * first
    for part in rest:
        out = out + part * part
    return out
