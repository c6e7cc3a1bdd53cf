r"""Atomic writes, which leave a file with its old or its new content."""
from __future__ import annotations

import contextlib
import errno
import json
import os
import pathlib
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from typing import Any, BinaryIO

from pyg_mmkgc.errors import DataError, FormatError
from pyg_mmkgc.io.reading import PathLike, as_path, read_file
from pyg_mmkgc.io.schema import parse_json

try:
    import fcntl
    HAS_LOCKS = True
except ImportError:  # On Windows, which lacks these locks, nothing is removed.
    HAS_LOCKS = False



@contextlib.contextmanager
def atomic_path(path: PathLike) -> Iterator[pathlib.Path]:
    r"""A context manager that writes a file completely or not at all.

    It yields an empty temporary file next to :obj:`path` to write to, and
    renames it to :obj:`path` when the block ends without an exception.

    A reader sees either the complete old file or the complete new one, even
    if the process is killed or the disk is full. The new file has the
    permissions that the umask grants. Missing folders are created, and
    temporary files that a killed process left behind are removed.

    Args:
        path (str or os.PathLike): The final name.
    """
    path = as_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent, path.name)
    temp, handle = _create_temp(path)
    try:
        yield temp
        os.fsync(handle)
        os.replace(temp, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temp)
        if (isinstance(error, OSError) and error.errno is not None
                and error.filename is None):
            error.filename = str(path)  # Names the file if the disk is full.
        raise
    finally:
        os.close(handle)
    sync_folder(path.parent)


@contextlib.contextmanager
def temporary_folder(path: PathLike) -> Iterator[pathlib.Path]:
    r"""A context manager that creates a folder next to :obj:`path` and
    removes it at the end, unless it was renamed.

    Folders that a killed process left behind are removed, as for
    :func:`atomic_path`.

    Args:
        path (str or os.PathLike): The path whose name the temporary name
            contains.
    """
    path = as_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent, path.name)
    temp, handle = _create_temp(path, folder=True)
    try:
        yield temp
    finally:
        shutil.rmtree(temp, ignore_errors=True)
        if handle is not None:
            os.close(handle)


def write_atomic(path: PathLike, content: bytes | str) -> None:
    r"""Writes a file atomically (see :func:`atomic_path`).

    Args:
        path (str or os.PathLike): The file to write.
        content (bytes or str): The whole content. Text is encoded as UTF-8.
    """
    if isinstance(content, str):
        content = content.encode('utf-8')
    with atomic_path(path) as temp:
        temp.write_bytes(content)


def write_json(path: PathLike, obj: Any) -> None:
    r"""Writes :obj:`obj` as JSON atomically.

    Args:
        path (str or os.PathLike): The file to write.
        obj (Any): Any value that the :mod:`json` module can write, except
            NaN and infinities, which JSON does not have.

    Raises:
        DataError: If :obj:`obj` cannot be written as JSON.
    """
    try:
        content = (json.dumps(obj, indent=2, ensure_ascii=False,
                              allow_nan=False) + '\n').encode()
    except (TypeError, ValueError) as error:
        raise DataError(f"Expected a value that JSON can hold for '{path}' "
                        f'(got an error: {error})') from error
    write_atomic(path, content)


def read_json(path: PathLike) -> Any:
    r"""Reads a JSON file.

    Args:
        path (str or os.PathLike): The file to read.

    Raises:
        FormatError: If the content is not JSON in UTF-8, repeats a key or
            contains a number that is not finite.
    """
    content = read_file(path)
    try:
        return parse_json(content.decode('utf-8'))
    except ValueError as error:
        raise FormatError(f"Expected JSON in UTF-8 in '{path}' (got an error: "
                          f'{error})') from error


def sync_folder(folder: PathLike) -> None:
    r"""Ensures that a rename inside :obj:`folder` survives a power failure."""
    # Some network file systems cannot sync a folder, and Windows cannot open
    # one. The files in it are complete in either case.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def take_lock(file: BinaryIO) -> bool:
    r"""Locks a file until it is closed or the process ends for any reason.

    Args:
        file (BinaryIO): The file, open for writing.

    Returns:
        :obj:`False` if another process holds the lock, and :obj:`True`
        otherwise, even if the system or the file system does not support
        locks.
    """
    if not HAS_LOCKS:
        return True
    # This lock belongs to the process, not to the open file, so data loading
    # workers that briefly outlive a killed process do not keep it.
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EACCES, errno.EAGAIN)
    return True


def _create_temp(path: pathlib.Path,
                 folder: bool = False) -> tuple[pathlib.Path, Any]:
    flags = os.O_CREAT | os.O_EXCL | os.O_RDWR
    while True:
        temp = path.with_name(f'.{path.name}.{secrets.token_hex(4)}.tmp')
        if folder:
            temp.mkdir()
            if not HAS_LOCKS:
                return temp, None  # A folder cannot be opened on Windows.
            try:
                handle = os.open(temp, os.O_RDONLY)
            except FileNotFoundError:
                continue
        else:
            handle = os.open(temp, flags, 0o666)
        if not HAS_LOCKS:
            return temp, handle
        # The lock shows that the writer is alive, since the kernel releases
        # it when the process dies. If another process removes the file
        # between creating and locking it, the file has no link left.
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(handle).st_nlink > 0:
            return temp, handle
        os.close(handle)


def sweep(folder: PathLike, name: str | None = None) -> None:
    r"""Removes temporary files and folders that killed processes left behind
    in :func:`atomic_path` and :func:`temporary_folder`.

    Args:
        folder (str or os.PathLike): The folder to search.
        name (str, optional): The final name whose temporary files are
            removed. (default: :obj:`None`, any name)
    """
    if not HAS_LOCKS:
        return
    stem = '.+' if name is None else re.escape(name)
    pattern = re.compile(rf'\.{stem}\.[0-9a-f]{{8}}\.tmp', re.DOTALL)
    folder = as_path(folder)
    for found in os.listdir(folder):
        if not pattern.fullmatch(found):
            continue
        # An error means that the writer is alive or the file was removed.
        with contextlib.suppress(OSError):
            handle = os.open(folder / found, os.O_RDONLY | os.O_NOFOLLOW
                             | os.O_NONBLOCK)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if stat.S_ISDIR(os.fstat(handle).st_mode):
                    shutil.rmtree(folder / found)
                else:
                    os.unlink(folder / found)
            finally:
                os.close(handle)
