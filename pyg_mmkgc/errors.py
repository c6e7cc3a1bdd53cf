r"""The errors of this library. A message names the expected value, the given
value, and its place.
"""
from numbers import Integral, Real
from typing import Any

# Characters that move the cursor, or color, hide or reverse text.
_CONTROLS = {i: f'\\x{i:02x}' for i in (*range(32), *range(127, 160))}
_CONTROLS |= {i: f'\\u{i:04x}' for i in (
    0x061c, 0x200e, 0x200f, *range(0x2028, 0x202f), *range(0x2066, 0x206a),
    *range(0xd800, 0xe000))}
_IN_LINES = {i: text for i, text in _CONTROLS.items() if chr(i) not in '\n\t'}


def printable(text: str, lines: bool = False) -> str:
    r"""Returns a text that is safe to print. Control characters, which a
    terminal would act on, are escaped.

    Args:
        text (str): The text.
        lines (bool, optional): If set to :obj:`True`, keeps line ends and
            tabs. (default: :obj:`False`)
    """
    return text.translate(_IN_LINES if lines else _CONTROLS)


class MMKGCError(Exception):
    r"""The base class of all errors that this library raises."""
    def __str__(self) -> str:
        # A message may quote the content of a file.
        return printable(super().__str__(), lines=True)


class DataError(MMKGCError, ValueError):
    r"""A graph, a split or a feature table is not valid."""


class FormatError(DataError):
    r"""A file is truncated, corrupt or in another format."""


class DownloadError(MMKGCError, OSError):
    r"""A file could not be downloaded, or arrived with wrong content."""


class ConfigError(MMKGCError, ValueError):
    r"""A configuration has an unknown key or an invalid value."""


class ModelError(MMKGCError, ValueError):
    r"""A model, sampler or adversary cannot be built or used this way."""


class DeviceError(MMKGCError, RuntimeError):
    r"""An operation is not supported on the device of a tensor."""


class NonFiniteError(MMKGCError, ArithmeticError):
    r"""A score, loss or gradient is NaN or infinite."""


class OutOfMemoryError(MMKGCError, MemoryError):
    r"""Even the smallest unit of work does not fit into memory."""


class CheckpointError(MMKGCError, ValueError):
    r"""A checkpoint or saved model does not fit what it is loaded into."""


class Terminated(SystemExit):
    r"""A request of the system to end the process, by SIGTERM or SIGHUP.

    If it is not caught, the process ends with status 143 or 129, as it would
    without a handler of the signal.

    Args:
        signal (int): The number of the signal.
    """
    def __init__(self, signal: int) -> None:
        super().__init__(128 + signal)
        self.signal = signal


def check_whole(at_least: int = 1, optional: bool = False,
                **values: Any) -> None:
    r"""Raises :class:`ModelError` if an argument is not an integer or is too
    small.

    Args:
        at_least (int, optional): The smallest valid value.
            (default: :obj:`1`)
        optional (bool, optional): If set to :obj:`True`, :obj:`None` is valid
            as well. (default: :obj:`False`)
        **values (Any): The arguments by name.
    """
    for name, value in values.items():
        if not (value is None and optional) and (
                not isinstance(value, Integral) or int(value) < at_least):
            raise ModelError(f"Expected '{name}' to be an integer >= "
                             f'{at_least} (got {value!r})')


def check_side(side: Any) -> None:
    r"""Raises :class:`ModelError` if a side is not a name of one."""
    if side not in ('head', 'tail'):
        raise ModelError(f"Expected 'side' to be 'head' or 'tail' (got "
                         f'{side!r})')


def check_positive(**values: Any) -> None:
    r"""Raises :class:`ModelError` if an argument is not a positive number."""
    for name, value in values.items():
        if not isinstance(value, Real) or not float(value) > 0:
            raise ModelError(f"Expected '{name}' to be positive (got "
                             f'{value!r})')


def check_not_negative(**values: Any) -> None:
    r"""Raises :class:`ModelError` if an argument is not a number >= 0."""
    for name, value in values.items():
        if not isinstance(value, Real) or not float(value) >= 0:
            raise ModelError(f"Expected '{name}' to be non-negative (got "
                             f'{value!r})')


def is_out_of_memory(error: BaseException) -> bool:
    r"""Returns :obj:`True` if an error reports a lack of memory, on any
    device.
    """
    # Other modules import this module before or without torch.
    import torch

    # On the CPU, PyTorch raises a plain `RuntimeError` for it.
    return (isinstance(error, (MemoryError, torch.OutOfMemoryError))
            or "can't allocate memory" in str(error)
            or 'not enough memory' in str(error))
