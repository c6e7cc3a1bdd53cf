r"""Modes that threads share: the first thread sets them, and the last one
restores them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch.nn import Module

_lock = threading.Lock()
# For each module, the number of evaluations in progress and the mode before
# the first of them.
_modules: WeakKeyDictionary[Module, tuple[int, bool]] = WeakKeyDictionary()
# The same for the precision of matrix products, a setting of the process.
_precision: list[tuple[int, list[str]]] = []


@contextmanager
def evaluation_mode(model: Module) -> Iterator[None]:
    r"""Context manager that puts a model into evaluation mode.

    Several threads may enter it at once. All modules return to their
    previous modes when the last thread leaves.

    Args:
        model (torch.nn.Module): The model.
    """
    with _lock:
        modules = list(model.modules())
        for module in modules:
            count, before = _modules.get(module, (0, module.training))
            _modules[module] = count + 1, before
        model.eval()
    try:
        yield
    finally:
        with _lock:
            for module in modules:
                count, before = _modules.pop(module)
                if count > 1:
                    _modules[module] = count - 1, before
                else:
                    module.training = before


@contextmanager
def full_precision() -> Iterator[None]:
    r"""Context manager that computes matrix products in full single
    precision. The setting holds for all threads until the last one leaves.
    """
    backends: list[Any] = [
        torch.backends.cuda.matmul,
        torch.backends.mkldnn.matmul,  # type: ignore[attr-defined]
    ]
    with _lock:
        count, before = _precision.pop() if _precision else (
            0, [backend.fp32_precision for backend in backends])
        _precision.append((count + 1, before))
        for backend in backends:
            backend.fp32_precision = 'ieee'
    try:
        yield
    finally:
        with _lock:
            count, before = _precision.pop()
            if count > 1:
                _precision.append((count - 1, before))
            else:
                for backend, precision in zip(backends, before, strict=True):
                    backend.fp32_precision = precision
