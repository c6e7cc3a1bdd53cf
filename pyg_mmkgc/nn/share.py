r"""The share of a batch that a process computes when several processes train
on one batch.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor


class Share(NamedTuple):
    r"""Consecutive triples of a batch, and the factor of their loss in the
    loss of the batch.
    """
    first: int
    size: int
    total: int  # The size of the batch.
    factor: float


_current: ContextVar[Optional[Share]] = ContextVar('share', default=None)


@contextmanager
def sharing(share: Optional[Share]) -> Iterator[None]:
    r"""Context manager in which :func:`mine` and :func:`draw` select the
    triples of a share. Without one, they select all triples.
    """
    token = _current.set(share)
    try:
        yield
    finally:
        _current.reset(token)


def mine(x: Tensor, dim: int = 0) -> Tensor:
    r"""Returns the rows of the share from the rows of a batch. There may be
    several rows per triple, if the first rows of all triples precede the
    second rows.
    """
    share = _current.get()
    if share is None or share.size == share.total:
        return x
    x = x.unflatten(dim, (-1, share.total))
    return x.narrow(dim + 1, share.first, share.size).flatten(dim, dim + 1)


def draw(function: Callable[..., Tensor], *size: int, dim: int = 0,
         **kwargs: Any) -> Tensor:
    r"""Draws random numbers for the triples of the share, along :obj:`dim`.
    They are the numbers that one process draws for these triples.

    Args:
        function (callable): A function such as :func:`torch.rand`.
        *size (int): The shape of the result.
        dim (int, optional): The dimension of the triples.
            (default: :obj:`0`)
        **kwargs (optional): Further arguments of :obj:`function`.
    """
    share = _current.get()
    if share is None or share.size == share.total:
        return function(size, **kwargs)
    full = list(size)
    full[dim] = full[dim] // share.size * share.total
    return mine(function(torch.Size(full), **kwargs), dim)
