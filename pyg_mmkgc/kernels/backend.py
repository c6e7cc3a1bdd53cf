r"""The one place that decides how a kernel is computed."""
from __future__ import annotations

import importlib
from typing import Any, Optional

from torch import Tensor

from pyg_mmkgc.nn.kernel import loops_for

# Elements of the largest tensor that is made at once: 64 MiB of floats.
BLOCK = 1 << 24


def numba_loops(name: str, *tensors: Tensor) -> Optional[Any]:
    r"""Returns the module of compiled loops :obj:`_numba_{name}`, or
    :obj:`None` where they cannot serve these tensors.
    """
    if loops_for(*tensors) is None:
        return None
    return importlib.import_module(f'pyg_mmkgc.kernels._numba_{name}')


def arrays(*tensors: Optional[Tensor]) -> list[Any]:
    r"""Returns tensors as the arrays that loops read and write."""
    return [None if x is None else x.detach().numpy() for x in tensors]
