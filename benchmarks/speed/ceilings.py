"""The measured maximum throughput of the machine."""

from collections.abc import Callable
from typing import Any

import torch
from protocol import Setup
from torch import Tensor


def ceilings(setup: Setup) -> dict[str, list[float]]:
    """Measures copied bytes, operations of matrix products in single
    precision and bfloat16, and complex moduli, all per second.
    """
    device = setup.device
    size = 1 << (18 if setup.quick else 26)  # 256 MiB of floats.
    source, target = (torch.ones(size, device=device) for _ in range(2))
    width = 64 if setup.quick else 4096 if device.type == 'cuda' else 2048
    matrix = torch.randn(width, width, device=device)
    half = matrix.bfloat16()
    moduli, count = _moduli(setup)
    tasks: dict[str, tuple[Callable[[], Any], float]] = {
        'copy': (lambda: target.copy_(source), 8 * size),
        'fp32': (lambda: matrix @ matrix, 2 * width**3),
        'bf16': (lambda: half @ half, 2 * width**3),
        'moduli': (moduli, count)}
    for task, _ in tasks.values():  # Compile and warm up.
        task()
    found = setup.interleave({name: task for name, (task, _)
                              in tasks.items()})
    return {name: [tasks[name][1] / x for x in values]
            for name, values in found.items()}


def best(found: dict[str, list[float]]) -> dict[str, float]:
    """Returns the highest value of each measurement as its ceiling."""
    return {name: max(values) for name, values in found.items()}


def _moduli(setup: Setup) -> tuple[Callable[[], Any], float]:
    """Returns a loop of square roots whose inputs stay in cache."""
    channels, rows = 256, 64
    queries = 64 if setup.quick else 1 << 12
    query = torch.randn(queries, 2 * channels, device=setup.device)
    table = torch.randn(rows, 2 * channels, device=setup.device)
    count = float(queries * rows * channels)
    if setup.device.type == 'cuda':
        compiled = torch.compile(_distances)
        return lambda: compiled(query, table), count
    try:
        loop = _numba_loop()
    except ImportError:
        return lambda: _distances(query, table), count
    out = torch.empty(queries)
    args = [x.numpy() for x in (query, table, out)]
    return lambda: loop(*args), count


def _distances(query: Tensor, table: Tensor) -> Tensor:
    diff = query[:, None] - table
    re, im = diff.chunk(2, dim=-1)
    return (re * re + im * im).sqrt().sum(dim=-1)


def _numba_loop() -> Callable[..., None]:
    import numba
    import numpy as np

    @numba.njit(parallel=True, fastmath={'reassoc', 'nsz', 'contract', 'afn',
                                         'arcp'})
    def loop(query: Any, table: Any, out: Any) -> None:
        channels = table.shape[1] // 2
        for i in numba.prange(query.shape[0]):
            total = np.float32(0)
            for row in range(table.shape[0]):
                for d in range(channels):
                    re = query[i, d] - table[row, d]
                    im = query[i, channels + d] - table[row, channels + d]
                    total += np.sqrt(re * re + im * im)
            out[i] = total

    return loop
