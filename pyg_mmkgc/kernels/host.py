r"""Ids that are known on the host, and copies without waiting.

The host has to know the size of a result that depends on values, such as the
distinct nodes of a batch. If a device computed it, the host would have to wait
until all previous computations are finished. Batches are therefore drawn on
the host, and their ids remain known there.
"""
from __future__ import annotations

from typing import Any, Optional, Union

import torch
from torch import Tensor

Device = Union[str, torch.device]


def to_device(x: Tensor, device: Device) -> Tensor:
    r"""Returns a tensor of the host on a device, without waiting for the copy.
    The values of the result remain known to :func:`on_host`.
    """
    device = torch.device(device)
    if device.type == 'cpu' or x.device.type != 'cpu':
        return x.to(device)
    # The host would wait for a copy from memory that may be swapped out.
    source = x.pin_memory() if device.type == 'cuda' else x
    out = source.to(device, non_blocking=True)
    if not x.is_floating_point():
        _remember(out, x)
    return out


def on_host(x: Tensor) -> Tensor:
    r"""Returns the values of a tensor on the host. For a device, the host
    waits only if the values are not known from :func:`to_device` or from
    an earlier call. The result must not be changed.
    """
    if x.device.type == 'cpu':
        return x
    if known_on_host(x):
        known: Any = vars(x)['_on_host']
        return known[1]
    values = x.detach().cpu()
    _remember(x, values)
    return values


def known_on_host(x: Tensor) -> bool:
    r"""Returns :obj:`True` if :func:`on_host` does not wait."""
    known: Any = vars(x).get('_on_host')
    return x.device.type == 'cpu' or (
        known is not None and known[0] == x._version)


def distinct_values(x: Tensor) -> tuple[Tensor, Tensor]:
    r"""Returns the sorted distinct values :obj:`[U]` of a tensor :obj:`[*]`,
    and the position :obj:`[*]` of each value among them.
    """
    value, place = on_host(x).unique(return_inverse=True)
    return to_device(value, x.device), to_device(place, x.device)


def by_value(x: Tensor, device: Optional[torch.device] = None
             ) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
    r"""Groups the positions of a tensor :obj:`[M]` by their values.

    Returns:
        The sorted distinct values :obj:`[U]`, the positions of each of them
        in ascending order, and the position :obj:`[M]` of each element in the
        concatenation of the groups.
    """
    device = x.device if device is None else device
    x = on_host(x)
    order = x.argsort(stable=True)
    value, count = x[order].unique_consecutive(return_counts=True)
    return (to_device(value, device),
            to_device(order, device).split(count.tolist()),
            to_device(order.argsort(), device))


def rows_of(table: Tensor, index: Tensor) -> Tensor:
    r"""Returns the rows :obj:`[*, F]` of a table :obj:`[N, F]` on the device
    of their indices :obj:`[*]`. The table may stay on the host.
    """
    ids = index if table.device == index.device else on_host(index)
    # Unlike table[ids], index_select rejects negative indices.
    rows = table.index_select(0, ids.reshape(-1))
    return to_device(rows.view(index.shape + table.shape[1:]), index.device)


def drawn_for(x: Tensor, numbers: Tensor) -> Tensor:
    r"""Returns random numbers that were drawn on the host with the type and on
    the device of a tensor.
    """
    return to_device(numbers.to(x.dtype), x.device)


def sum_where(mask: Tensor, x: Tensor) -> Tensor:
    r"""Returns the sum of the elements of a tensor :obj:`[*]` at the true
    values of a mask :obj:`[*]`.
    """
    if x.device.type == 'cpu':
        return x[mask].sum()
    # Selecting elements would wait for their number.
    return torch.where(mask, x, 0.0).sum()


def true_places(mask: Tensor) -> Tensor:
    r"""Returns the positions :obj:`[M]` of the true values of a mask
    :obj:`[*]`.
    """
    return to_device(on_host(mask).nonzero().view(-1), mask.device)


def _remember(x: Tensor, values: Tensor) -> None:
    # The version of a tensor counts the operations that changed it, except
    # in inference mode.
    if not x.is_inference():
        vars(x)['_on_host'] = x._version, values
