r"""The choice of backend for each kernel: :obj:`numba` loops on a CPU
(:obj:`pip install pyg_mmkgc[fast]`), :func:`torch.compile` on a GPU, and plain
PyTorch in blocks otherwise.
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

from pyg_mmkgc.kernels.compiling import show_compilation

# The maximum number of elements of a temporary tensor: 64 MiB in single
# precision.
BLOCK = 1 << 24
COMPILED_DEVICES = 'cuda',
# By default, torch.compile stores a value that is used by several sums. Here,
# the value covers all pairs of rows, and recomputing it is cheaper.
OPTIONS: dict[str, str | int | bool | Callable[..., Any]] = {
    f'realize_{what}_threshold': 100_000
    for what in ('reads', 'acc_reads', 'opcount')}


@functools.lru_cache(maxsize=1)
def _max_threads() -> int:
    r"""Returns the number of threads of numba, or 0 if it is missing."""
    if importlib.util.find_spec('numba') is None:
        warnings.warn(
            'Training and ranking on this CPU are several times faster with '
            "numba. Run 'pip install numba' to install it.", UserWarning,
            stacklevel=5)
        return 0
    import numba

    return numba.get_num_threads()


@functools.lru_cache
def _load(name: str) -> Optional[Any]:
    # Importing numba resets torch's number of threads.
    num_threads = torch.get_num_threads()
    try:
        if _max_threads() > 0:
            show_compilation()
            return importlib.import_module(f'pyg_mmkgc.kernels._numba_{name}')
    except RuntimeError as error:  # Numba finds no writable cache folder.
        warnings.warn(f'numba is not used: {error}', UserWarning,
                      stacklevel=4)
    finally:
        torch.set_num_threads(num_threads)
    return None


def numba_loops(name: str, *tensors: Tensor) -> Optional[Any]:
    r"""Returns the module of compiled loops :obj:`_numba_{name}`, or
    :obj:`None` if it does not support these tensors.
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


def triton_kernels(name: str, *tensors: Tensor) -> Optional[Any]:
    r"""Returns the module of GPU kernels :obj:`_triton_{name}`, or
    :obj:`None` if it does not support these tensors.
    """
    device, dtype = tensors[0].device, tensors[0].dtype
    if (device.type not in COMPILED_DEVICES
            or dtype not in (torch.float32, torch.float64)
            or any(x.device != device or x.dtype != dtype for x in tensors)
            or importlib.util.find_spec('triton') is None
            or not _compiles(device)):
        return None
    return importlib.import_module(f'pyg_mmkgc.kernels._triton_{name}')


def arrays(*tensors: Optional[Tensor]) -> list[Any]:
    r"""Returns tensors as numpy arrays that share their memory."""
    return [None if x is None else x.detach().numpy() for x in tensors]


@functools.lru_cache
def _compiles(device: torch.device) -> bool:
    def double(x: Tensor) -> Tensor:
        return x + x

    try:
        torch.compile(double)(torch.ones(2, device=device))
    except RuntimeError as error:  # Triton or its compiler is missing.
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
    r"""Compiles a function to kernels that keep intermediate values in
    registers. Returns :obj:`None` if the tensors or their device do not
    support it.
    """
    given = [x for x in tensors if x is not None]
    device = given[0].device
    # Sizes zero and one would each trigger another compilation.
    if (device.type not in COMPILED_DEVICES
            or any(size < 2 for x in given for size in x.shape)
            or not _compiles(device)):
        return None
    return _compile(function)


def check_rows(index: Tensor, num_rows: int) -> None:
    r"""Checks that indices are in range. Compiled loops would otherwise read
    out of bounds. Indices on a GPU are not checked, since the check would
    have to wait for the device.

    Raises:
        IndexError: If :obj:`index` has an entry outside
            :obj:`[0, num_rows)`.
    """
    if index.numel() > 0 and index.device.type == 'cpu':
        low, high = (int(x) for x in index.aminmax())
        if low < 0 or high >= num_rows:
            raise IndexError(f'Expected indices in [0, {num_rows}) (got '
                             f'{low if low < 0 else high})')


def parts(size: int, elements: int) -> Iterator[slice]:
    r"""Yields slices that partition :obj:`size` rows with :obj:`elements`
    elements each. A slice with more than one row has at most :obj:`BLOCK`
    elements.
    """
    step = max(1, BLOCK // max(1, elements))
    for start in range(0, max(1, size), step):
        yield slice(start, min(size, start + step))
