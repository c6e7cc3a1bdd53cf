r"""The library's own errors: each message says what was expected, what came,
and where.
"""
from typing import Any

import numpy as np
import torch

# What moves the cursor, colours or hides text, or turns its direction.
_CONTROLS = {i: f'\\x{i:02x}' for i in (*range(32), *range(127, 160))}
_CONTROLS |= {i: f'\\u{i:04x}' for i in (
    0x061c, 0x200e, 0x200f, *range(0x2028, 0x202f), *range(0x2066, 0x206a),
    *range(0xd800, 0xe000))}
_IN_LINES = {i: text for i, text in _CONTROLS.items() if chr(i) not in '\n\t'}


def printable(text: str, lines: bool = False) -> str:
    r"""Returns a text without what a terminal would act on: control
    characters are written as escapes.

    Args:
        text (str): The text.
        lines (bool, optional): If set to :obj:`True`, keeps the ends of lines
            and tabs. (default: :obj:`False`)
    """
    return text.translate(_IN_LINES if lines else _CONTROLS)


class MMKGCError(Exception):
    r"""Base class of every error that this library raises on purpose."""
    def __str__(self) -> str:
        # It may quote a file.
        return printable(super().__str__(), lines=True)


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


class Terminated(SystemExit):
    r"""The system asked the process to end, by SIGTERM or SIGHUP. Where it is
    not caught, the process ends with status 143 or 129, as the signal alone
    would end it.

    Args:
        signal (int): The number of the signal.
    """
    def __init__(self, signal: int) -> None:
        super().__init__(128 + signal)
        self.signal = signal


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
