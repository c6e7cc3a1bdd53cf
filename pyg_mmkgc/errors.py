r"""The library's own errors: each message says what was expected, what came,
and where.
"""
from typing import Any

import numpy as np
import torch


class MMKGCError(Exception):
    r"""Base class of every error that this library raises on purpose."""


class DataError(MMKGCError, ValueError):
    r"""A graph, a split or a feature table breaks its contract."""


class FormatError(DataError):
    r"""A file is not what it should be (truncated, foreign, corrupt)."""


class DownloadError(MMKGCError, OSError):
    r"""A file could not be fetched, or what came is not what was asked."""


class ConfigError(MMKGCError, ValueError):
    r"""A configuration has an unknown key, a wrong type or a bad value."""


class ModelError(MMKGCError, ValueError):
    r"""A model, sampler or adversary cannot be built or used as asked."""


class NonFiniteError(MMKGCError, ArithmeticError):
    r"""A score, loss or gradient is NaN or infinite."""


class OutOfMemoryError(MMKGCError, MemoryError):
    r"""The smallest piece of work does not fit into memory."""


class CheckpointError(MMKGCError, ValueError):
    r"""A checkpoint or saved model does not fit what it is loaded into."""


def check_whole(at_least: int = 1, optional: bool = False,
                **values: Any) -> None:
    r"""Raises :class:`ModelError` for an argument that is no whole number or
    too small, and not :obj:`None` if that is allowed.
    """
    for name, value in values.items():
        if not (value is None and optional) and (
                not isinstance(value, (int, np.integer)) or value < at_least):
            raise ModelError(f'expected a whole {name} >= {at_least}, got '
                             f'{value!r}')


def check_positive(**values: Any) -> None:
    r"""Raises :class:`ModelError` if an argument is not a positive number."""
    for name, value in values.items():
        if isinstance(value, str) or not value > 0:
            raise ModelError(f"Expected '{name}' to be positive (got "
                             f'{value!r})')


def is_out_of_memory(error: BaseException) -> bool:
    r"""Whether an error says that memory was short, on any device."""
    # On the CPU, PyTorch has no error of its own for it.
    return (isinstance(error, (MemoryError, torch.OutOfMemoryError))
            or "can't allocate memory" in str(error)
            or 'not enough memory' in str(error))
