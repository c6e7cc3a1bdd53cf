r"""Readers of untrusted files, which must be regular files."""
from __future__ import annotations

import hashlib
import os
import pathlib
import stat
from typing import BinaryIO, Union

from pyg_mmkgc.errors import DataError, FormatError

PathLike = Union[str, 'os.PathLike[str]']


def as_path(path: PathLike) -> pathlib.Path:
    r"""Returns a path as :class:`pathlib.Path`.

    Args:
        path (str or os.PathLike): The path.

    Raises:
        DataError: If :obj:`path` cannot be the name of a file.
    """
    try:
        text = os.fspath(path)
        # Lone surrogates cannot be encoded, and names end at a NUL byte.
        usable = isinstance(text, str) and b'\0' not in os.fsencode(text)
    except (TypeError, ValueError):
        usable = False
    if not usable:
        raise DataError(f'Expected the path of a file (got {path!r:.200})')
    return pathlib.Path(text)


def user_path(path: PathLike) -> pathlib.Path:
    r"""Returns a path with :obj:`~` replaced by the home folder."""
    try:
        return as_path(path).expanduser()
    except RuntimeError as error:
        raise DataError(f'Expected the path of a file (got {path!r:.200}). '
                        f'{error}') from error


def open_file(path: PathLike) -> BinaryIO:
    r"""Opens a regular file for reading bytes.

    Pipes and devices are rejected, since opening a pipe may block forever, and
    reading a device such as :obj:`/dev/zero` never ends.

    Args:
        path (str or os.PathLike): The file.

    Raises:
        FormatError: If :obj:`path` is not a regular file.
    """
    path = as_path(path)
    flags = (os.O_RDONLY | getattr(os, 'O_NONBLOCK', 0)
             | getattr(os, 'O_BINARY', 0) | getattr(os, 'O_CLOEXEC', 0))
    handle = os.open(path, flags)
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        kind = 'folder' if stat.S_ISDIR(mode) else 'pipe or device'
        raise FormatError(f"Expected a file as '{path}' (got a {kind})")
    return os.fdopen(handle, 'rb')


def read_file(path: PathLike) -> bytes:
    r"""Reads all bytes of a regular file (see :func:`open_file`)."""
    with open_file(path) as file:
        return file.read()


def file_sha256(path: PathLike) -> str:
    r"""Returns the SHA-256 of a file, which may be larger than memory.

    Args:
        path (str or os.PathLike): The file to read.
    """
    digest = hashlib.sha256()
    with open_file(path) as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
