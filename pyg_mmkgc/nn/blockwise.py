r"""Functions of pairs of rows where the loops of :obj:`numba` do not serve:
on a GPU as fused kernels, by :func:`torch.compile`, elsewhere in blocks.
"""
from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, Optional

import torch
from torch import Tensor

from pyg_mmkgc.nn.functional import BLOCK, moduli

DEVICES = 'cuda',
# By default a value that several sums take is written to memory once. Here
# that value is all pairs of rows: it is cheaper to make anew for each sum.
OPTIONS: dict[str, str | int | bool | Callable[..., Any]] = {
    f'realize_{what}_threshold': 100_000
    for what in ('reads', 'acc_reads', 'opcount')}


@functools.lru_cache
def _compiles(device: torch.device) -> bool:
    def double(x: Tensor) -> Tensor:
        return x + x

    try:
        torch.compile(double)(torch.ones(2, device=device))
    except RuntimeError as error:  # No triton, or no compiler that it needs.
        reason = str(error).strip().partition('\n')[0]
        warnings.warn(
            f'Distances on {device.type} are made in blocks, since '
            f'torch.compile does not work here: {reason}', UserWarning,
            stacklevel=4)
        return False
    return True


@functools.lru_cache
def _compile(function: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(function, dynamic=True, options=OPTIONS)


def fused(function: Callable[..., Any],
          *tensors: Tensor) -> Optional[Callable[..., Any]]:
    r"""The function in kernels that keep what they make of :obj:`tensors` in
    registers, :obj:`None` where there are none.
    """
    device = tensors[0].device
    # Sizes of one would be compiled apart, and empty tensors: both are small.
    if (device.type not in DEVICES
            or any(size < 2 for x in tensors for size in x.shape)
            or not _compiles(device)):
        return None
    return _compile(function)


def score_pairs(scores: Callable[..., Tensor], args: tuple[Tensor, ...],
                group: int) -> Tensor:
    r"""The scores :obj:`[B, K]` that the function has for
    :obj:`(*args, group)`.

    Args:
        scores (callable): The function.
        args (tuple of torch.Tensor): Two tensors of queries, :obj:`[B, *]`,
            the table :obj:`[U, C]`, the rows of it that are the candidates,
            :obj:`[B, K]`, and their sides :obj:`[B, K]`.
        group (int): The channels of a norm.
    """
    whole = fused(scores, *args)
    if whole is not None:
        return whole(*args, group)
    out = args[2].new_empty(args[3].shape)
    for part in _parts(args):
        out[part] = scores(*_take(args, part), group)
    return out


def backward_pairs(grads: Callable[..., tuple[Tensor, Tensor]],
                   args: tuple[Tensor, ...], grad: Tensor,
                   group: int) -> tuple[Tensor, Tensor, Tensor]:
    r"""The gradients of the first three arguments of :func:`score_pairs`,
    given that of the scores, :obj:`[B, K]`. The function has those of both
    queries for :obj:`(*args, grad, group, grad_table)`, and adds that of the
    table to its last argument.
    """
    grad_table = torch.zeros_like(args[2])
    whole = fused(grads, *args)
    if whole is not None:
        return *whole(*args, grad, group, grad_table), grad_table
    out = torch.zeros_like(args[0]), torch.zeros_like(args[1])
    for part in _parts(args):
        out[0][part], out[1][part] = grads(*_take(args, part), grad[part],
                                           group, grad_table)
    return *out, grad_table


def norm_weight(diff: Tensor, grad: Tensor, group: int) -> Tensor:
    r"""What the differences :obj:`[*, C]` are multiplied with in the gradient
    of their norms, zero at zero, given that of the distance, :obj:`[*, 1]`.
    """
    norm = moduli(diff, group)
    weight = (grad / norm).masked_fill(norm == 0, 0.0)
    return weight.repeat(*[1] * (diff.dim() - 1), group)


def _parts(args: tuple[Tensor, ...]) -> list[slice]:
    B, K = args[3].shape
    step = max(1, BLOCK // max(1, K * args[2].size(1)))
    return [slice(i, min(B, i + step)) for i in range(0, B, step)]


def _take(args: tuple[Tensor, ...], part: slice) -> tuple[Tensor, ...]:
    return tuple(x if i == 2 else x[part] for i, x in enumerate(args))
