r"""The one place that decides how a kernel is computed: by the loops of
:obj:`numba` on a CPU (:obj:`pip install pyg_mmkgc[fast]`), by
:func:`torch.compile` on a GPU, and by plain PyTorch in blocks anywhere else.
"""
from __future__ import annotations

import functools
import importlib
import importlib.util
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Optional

import torch
from torch import Tensor

# Elements of the largest tensor that is made at once: 64 MiB of floats.
BLOCK = 1 << 24
COMPILED_DEVICES = 'cuda',
# By default a value that several sums read is written to memory once. Here
# that value is all pairs of rows, and it is cheaper to compute it again.
OPTIONS: dict[str, str | int | bool | Callable[..., Any]] = {
    f'realize_{what}_threshold': 100_000
    for what in ('reads', 'acc_reads', 'opcount')}


@functools.lru_cache(maxsize=1)
def _max_threads() -> int:
    r"""Returns the most threads that numba can use, 0 if it is missing."""
    if importlib.util.find_spec('numba') is None:
        warnings.warn(
            'Training and ranking on this CPU are several times faster with '
            "numba: run 'pip install numba'", UserWarning, stacklevel=5)
        return 0
    import numba

    return numba.get_num_threads()


@functools.lru_cache
def _load(name: str) -> Optional[Any]:
    # Importing numba's loops resets the number of threads of torch.
    num_threads = torch.get_num_threads()
    try:
        if _max_threads() > 0:
            return importlib.import_module(f'pyg_mmkgc.kernels._numba_{name}')
    except RuntimeError as error:  # No folder for numba's cache is writable.
        warnings.warn(f'numba is not used: {error}', UserWarning,
                      stacklevel=4)
    finally:
        torch.set_num_threads(num_threads)
    return None


def numba_loops(name: str, *tensors: Tensor) -> Optional[Any]:
    r"""Returns the module of compiled loops :obj:`_numba_{name}`, or
    :obj:`None` where they cannot serve these tensors.
    """
    if any(x.device.type != 'cpu' or x.dtype != tensors[0].dtype
           or x.dtype not in (torch.float32, torch.float64)
           for x in tensors):
        return None
    loops = _load(name)
    if loops is not None:
        import numba

        numba.set_num_threads(min(torch.get_num_threads(), _max_threads()))
    return loops


def arrays(*tensors: Optional[Tensor]) -> list[Any]:
    r"""Returns tensors as the arrays that loops read and write."""
    return [None if x is None else x.detach().numpy() for x in tensors]


@functools.lru_cache
def _compiles(device: torch.device) -> bool:
    def double(x: Tensor) -> Tensor:
        return x + x

    try:
        torch.compile(double)(torch.ones(2, device=device))
    except RuntimeError as error:  # No triton, or no compiler that it needs.
        reason = str(error).strip().partition('\n')[0]
        warnings.warn(
            f'Distances on {device.type} are computed in blocks, since '
            f'torch.compile does not work here: {reason}', UserWarning,
            stacklevel=5)
        return False
    return True


@functools.lru_cache
def _compile(function: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(function, dynamic=True, options=OPTIONS)


def fused(function: Callable[..., Any],
          *tensors: Optional[Tensor]) -> Optional[Callable[..., Any]]:
    r"""Returns the function compiled to kernels that keep intermediate values
    in registers, or :obj:`None` where that is not possible.
    """
    given = [x for x in tensors if x is not None]
    device = given[0].device
    # Sizes of one would be compiled separately, and so would empty tensors.
    if (device.type not in COMPILED_DEVICES
            or any(size < 2 for x in given for size in x.shape)
            or not _compiles(device)):
        return None
    return _compile(function)


def check_rows(index: Tensor, num_rows: int) -> None:
    r"""Checks indices on a CPU, where compiled loops would read memory that
    is not theirs. On a GPU, the check would have to wait for the device.

    Raises:
        IndexError: If :obj:`index` has a row that is not in
            :obj:`[0, num_rows)`.
    """
    if index.numel() > 0 and index.device.type == 'cpu':
        low, high = (int(x) for x in index.aminmax())
        if low < 0 or high >= num_rows:
            raise IndexError(f'Expected indices in [0, {num_rows}) (got '
                             f'{low if low < 0 else high})')


def parts(size: int, elements: int) -> Iterator[slice]:
    r"""Yields slices of :obj:`size` rows, at least one, each of which makes
    at most :obj:`BLOCK` elements where a row makes :obj:`elements`.
    """
    step = max(1, BLOCK // max(1, elements))
    for start in range(0, max(1, size), step):
        yield slice(start, min(size, start + step))
