r"""Files that are either the old complete one or the new complete one."""
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
except ImportError:  # Windows has no such locks: nothing is swept there.
    HAS_LOCKS = False



@contextlib.contextmanager
def atomic_path(path: PathLike) -> Iterator[pathlib.Path]:
    r"""Context manager that writes a file as a whole or not at all.

    It yields an empty temporary file beside :obj:`path`, to be written into,
    and gives it the name :obj:`path` when the block ends without an
    exception.

    A reader sees the old file or the new one, whole, also when the process
    is killed at any moment or the disk is full. The new file has the
    permissions that the umask grants. Folders are made as needed, and
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
            error.filename = str(path)  # Of a full disk, say.
        raise
    finally:
        os.close(handle)
    sync_folder(path.parent)


@contextlib.contextmanager
def temporary_folder(path: PathLike) -> Iterator[pathlib.Path]:
    r"""Context manager that makes a folder next to :obj:`path` and removes it
    at the end, unless it was renamed.

    What a killed process left behind is removed, as for :func:`atomic_path`.

    Args:
        path (str or os.PathLike): The name that the folder's is made of.
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
    r"""Writes a file atomically, see :func:`atomic_path`.

    Args:
        path (str or os.PathLike): The file to write.
        content (bytes or str): Its whole content. Text becomes UTF-8.
    """
    if isinstance(content, str):
        content = content.encode('utf-8')
    with atomic_path(path) as temp:
        temp.write_bytes(content)


def write_json(path: PathLike, obj: Any) -> None:
    r"""Writes :obj:`obj` as JSON atomically.

    Args:
        path (str or os.PathLike): The file to write.
        obj (Any): What the :mod:`json` module can write. NaN and infinities
            are refused, since JSON has no such numbers.
    """
    try:
        text = json.dumps(obj, indent=2, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise DataError(f"'{path}': not writable as JSON: {error}") from error
    write_atomic(path, text + '\n')


def read_json(path: PathLike) -> Any:
    r"""Reads a JSON file.

    Args:
        path (str or os.PathLike): The file to read.

    Raises:
        FormatError: If the content is not JSON in UTF-8, has a key twice or
            a number that is not finite.
    """
    content = read_file(path)
    try:
        return parse_json(content.decode('utf-8'))
    except ValueError as error:
        raise FormatError(f"'{path}': expected JSON in UTF-8, but reading it "
                          f"failed: {error}") from error


def sync_folder(folder: PathLike) -> None:
    r"""Makes a rename inside :obj:`folder` survive a power failure."""
    # Some network file systems refuse to sync a folder, and Windows to open
    # one. The files in it are complete all the same.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def take_lock(file: BinaryIO) -> bool:
    r"""Locks a file until it is closed or the process ends, however it does.

    Args:
        file (BinaryIO): The file, open for writing.

    Returns:
        :obj:`False` if another process holds the lock. Where the system or
        the file system knows no locks, nothing is held back.
    """
    if not HAS_LOCKS:
        return True
    # Of the process, not of the file: workers that outlive a killed process
    # for a moment do not hold it.
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
        # The lock says that the writer is alive; the kernel drops it when
        # the process dies. Another process may sweep between the two calls,
        # and then the file has no name left.
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(handle).st_nlink > 0:
            return temp, handle
        os.close(handle)


def sweep(folder: PathLike, name: str | None = None) -> None:
    r"""Removes what killed processes left behind of :func:`atomic_path` and
    :func:`temporary_folder`.

    Args:
        folder (str or os.PathLike): Where to look.
        name (str, optional): Whose temporary files are removed.
            (default: :obj:`None`, all of them)
    """
    if not HAS_LOCKS:
        return
    stem = '.+' if name is None else re.escape(name)
    pattern = re.compile(rf'\.{stem}\.[0-9a-f]{{8}}\.tmp', re.DOTALL)
    folder = as_path(folder)
    for found in os.listdir(folder):
        if not pattern.fullmatch(found):
            continue
        # An error means that the writer lives or the file is gone already.
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
