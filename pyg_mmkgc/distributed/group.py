r"""The process group and its collectives. Without a process group, there is
one process, and no function communicates.
"""
from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Optional, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from pyg_mmkgc.errors import MMKGCError

T = TypeVar('T')

# A process that fails ends its job, but a job of few processes should not
# wait half an hour, the default, for a process that is stuck.
TIMEOUT = datetime.timedelta(minutes=10)


def world_size() -> int:
    r"""Returns the number of processes."""
    return (dist.get_world_size()
            if dist.is_available() and dist.is_initialized() else 1)


def rank() -> int:
    r"""Returns the number of this process, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


def is_main() -> bool:
    r"""Returns :obj:`True` for the process that writes files."""
    return rank() == 0


def local_device() -> Optional[torch.device]:
    r"""Returns the GPU of this process if :obj:`torchrun` started it and
    there are GPUs, and :obj:`None` otherwise.
    """
    if not torch.cuda.is_available() or not dist.is_torchelastic_launched():
        return None
    place = dist.get_node_local_rank(fallback_rank=0)
    return torch.device('cuda', place % torch.cuda.device_count())


@contextmanager
def process_group(backend: Optional[str] = None) -> Iterator[None]:
    r"""Context manager that joins the process group of :obj:`torchrun`. It
    has no effect without :obj:`torchrun`, or inside of a process group.

    Args:
        backend (str, optional): :obj:`"gloo"` or :obj:`"nccl"`.
            (default: :obj:`"nccl"` if there are GPUs, :obj:`"gloo"`
            otherwise)
    """
    if (not dist.is_available() or dist.is_initialized()
            or not dist.is_torchelastic_launched()):
        yield
        return
    device = local_device()
    if device is not None:
        torch.cuda.set_device(device)
    dist.init_process_group(
        backend or ('gloo' if device is None else 'nccl'), timeout=TIMEOUT)
    try:
        yield
    finally:
        dist.destroy_process_group()


def sum_over_ranks(x: Tensor) -> Tensor:
    r"""Replaces a tensor by its sum over all processes, and returns it."""
    if world_size() > 1:
        dist.all_reduce(x)
    return x


def any_over_ranks(flag: bool) -> bool:
    r"""Returns :obj:`True` if the flag of any process is set."""
    if world_size() == 1:
        return flag
    x = torch.tensor([float(flag)], device=_device())
    return bool(sum_over_ranks(x) > 0)


def stack_ranks(x: Tensor) -> Tensor:
    r"""Stacks equally shaped tensors of all processes, :obj:`[K, *]`."""
    if world_size() == 1:
        return x.unsqueeze(0)
    out = x.new_empty(world_size(), *x.shape)
    dist.all_gather_into_tensor(out.view(-1), x.contiguous().view(-1))
    return out


def gather_objects(value: Any) -> list[Any]:
    r"""Returns the plain values of all processes."""
    if world_size() == 1:
        return [value]
    out: list[Any] = [None] * world_size()
    dist.all_gather_object(out, value)
    return out


def from_main(value: Any) -> Any:
    r"""Returns the plain value of the first process."""
    if world_size() == 1:
        return value
    out = [value]
    dist.broadcast_object_list(out, src=0)
    return out[0]


def on_main(function: Callable[[], T]) -> T:
    r"""Calls a function in the first process, and returns its plain value, or
    raises its error, in all processes.
    """
    value: Any = None
    error: Optional[MMKGCError] = None
    if is_main():
        try:
            value = function()
        except MMKGCError as found:
            if world_size() == 1:
                raise
            error = found
    raise_on_all(error)
    return from_main(value)


def restarted() -> bool:
    r"""Returns :obj:`True` if :obj:`torchrun` restarted this process after a
    failure of the group.
    """
    return os.getenv('TORCHELASTIC_RESTART_COUNT', '0') != '0'


def raise_on_all(error: Optional[MMKGCError]) -> None:
    r"""Raises the first error of any process in all processes."""
    if world_size() == 1:
        if error is not None:
            raise error
        return
    found = [x for x in gather_objects(None if error is None else (
        type(error).__name__, str(error))) if x is not None]
    if found:
        name, message = found[0]
        kind = next((x for x in _subclasses(MMKGCError)
                     if x.__name__ == name), MMKGCError)
        raise kind(message) from error


def _subclasses(cls: type[MMKGCError]) -> Iterator[type[MMKGCError]]:
    for child in cls.__subclasses__():
        yield child
        yield from _subclasses(child)


def _device() -> torch.device:
    return torch.device('cuda' if dist.get_backend() == 'nccl' else 'cpu')
