r"""Norms of groups of channels, in plain PyTorch."""
from __future__ import annotations

import torch
from torch import Tensor


def moduli_distance(x: Tensor, y: Tensor, group: int = 2) -> Tensor:
    r"""Returns the sum of the Euclidean norms of groups of channels,
    :math:`\sum_i \| x_i - y_i \|_2`, of rows :obj:`[*, group * S]`, with shape
    :obj:`[*]`. Channel :obj:`j` of group :obj:`i` is at :obj:`j * S + i`.

    With groups of one channel it is the :math:`L_1` distance, of two the sum
    of complex moduli of rows :obj:`[re | im]`, of all channels the Euclidean
    distance. The gradient of a norm at zero is zero.
    """
    diff = x - y
    if group == 1:
        return diff.abs().sum(dim=-1)
    # sqrt has no gradient at zero; the clamp gives it a zero one there.
    return _square_moduli(diff, group).clamp_min(
        torch.finfo(x.dtype).tiny).sqrt().sum(dim=-1)


def moduli(x: Tensor, group: int) -> Tensor:
    r"""Returns the Euclidean norms :obj:`[*, S]` of the groups of channels of
    rows :obj:`[*, group * S]`, see :func:`moduli_distance`.
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
