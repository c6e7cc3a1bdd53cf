r"""Archives from strangers, unpacked as a whole or not at all."""
from __future__ import annotations

import contextlib
import errno
import functools
import lzma
import pathlib
import re
import secrets
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, NamedTuple

from pyg_mmkgc.errors import FormatError
from pyg_mmkgc.io.atomic import PathLike

GIB = 1 << 30
MAX_FILES = 100_000
# Deflate reaches 1,032 on zeros; tables of numbers stay far below this.
MAX_RATIO = 200
RESERVED = re.compile(r'(con|prn|aux|nul|com\d|lpt\d)(\..*)?', re.IGNORECASE)


class _Member(NamedTuple):
    name: str
    size: int
    is_folder: bool
    open: Callable[[], IO[bytes] | None]


def extract(
    archive: PathLike,
    folder: PathLike,
    max_bytes: int = 32 * GIB,
) -> pathlib.Path:
    r"""Unpacks a zip or tar archive into a new folder.

    All members are looked at before a byte is written. One that would leave
    the folder, that is a link or a device, that comes twice (also when only
    the case differs), or too many bytes refuse the whole archive. The
    folder appears under its name only when complete.

    Args:
        archive (str or os.PathLike): The archive.
        folder (str or os.PathLike): The folder to make, which must not exist.
        max_bytes (int, optional): The most bytes that the members may have
            together. (default: 32 GiB)

    Raises:
        FormatError: If the archive is damaged or hostile.
    """
    folder = pathlib.Path(folder)
    if folder.exists():
        raise FileExistsError(f"'{folder}': exists already")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temp = folder.with_name(f'.{folder.name}.{secrets.token_hex(4)}.tmp')
    try:
        with _members(pathlib.Path(archive), max_bytes) as members:
            temp.mkdir()
            for member in members:
                _write(member, temp)
        temp.rename(folder)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError,
            struct.error, EOFError, ValueError, NotImplementedError,
            RuntimeError, OSError) as error:
        # A position before the file's start, or no error of the system at
        # all but one of gzip. Others, such as a full disk, stay themselves.
        if (isinstance(error, OSError)
                and error.errno not in (errno.EINVAL, None)):
            raise
        raise FormatError(f"'{archive}': not unpacked: {error}") from error
    finally:
        shutil.rmtree(temp, ignore_errors=True)
    return folder


def _write(member: _Member, folder: pathlib.Path) -> None:
    target = folder.joinpath(*member.name.split('/'))
    if member.is_folder:
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    source = member.open()
    if source is None:
        raise ValueError(f'{member.name!r} is not a plain file')
    with source, open(target, 'xb') as file:
        shutil.copyfileobj(source, file)
    if target.stat().st_size != member.size:
        raise ValueError(f'{member.name!r} should have {member.size} bytes, '
                         f'but has {target.stat().st_size}')


@contextlib.contextmanager
def _members(path: pathlib.Path, max_bytes: int) -> Iterator[list[_Member]]:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as file:
            yield _check(_list_zip(file), max_bytes)
    elif tarfile.is_tarfile(path):
        with tarfile.open(path) as file_:
            yield _check(_list_tar(file_), max_bytes)
    else:
        with open(path, 'rb') as file__:
            start = file__.read(16)
        raise ValueError(f'expected a zip or tar archive, got a file that '
                         f'begins {start!r}')


def _list_zip(file: zipfile.ZipFile) -> Iterator[_Member]:
    for info in file.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise ValueError(f'{info.filename!r} is a link or a device')
        if info.flag_bits & 0x1:
            raise ValueError(f'{info.filename!r} is encrypted')
        if info.file_size > MAX_RATIO * max(info.compress_size, 1 << 16):
            raise ValueError(f'{info.filename!r} unfolds {info.compress_size} '
                             f'bytes to {info.file_size}')
        # `filename` ends at a NUL byte; the name in the archive may not.
        yield _Member(info.orig_filename.rstrip('/') if info.is_dir() else
                      info.orig_filename, info.file_size, info.is_dir(),
                      functools.partial(file.open, info))


def _list_tar(file: tarfile.TarFile) -> Iterator[_Member]:
    for info in file:
        if not (info.isreg() or info.isdir()) or info.issparse():
            raise ValueError(f'{info.name!r} is a link, a device or sparse')
        yield _Member(info.name.removeprefix('./'), info.size, info.isdir(),
                      functools.partial(file.extractfile, info))


def _check(members: Iterator[_Member], max_bytes: int) -> list[_Member]:
    out: list[_Member] = []
    seen: set[str] = set()
    total = 0
    for member in members:
        total += member.size
        if total > max_bytes or len(out) >= MAX_FILES:
            raise ValueError(f'more than {max_bytes:,} bytes or {MAX_FILES:,} '
                             f'files')
        if member.is_folder and member.name in ('', '.'):
            continue
        _check_name(member.name)
        if member.name.casefold() in seen:
            raise ValueError(f'{member.name!r} comes twice')
        seen.add(member.name.casefold())
        out.append(member)
    files = {member.name.casefold() for member in out if not member.is_folder}
    for name in seen:
        if any(str(parent) in files
               for parent in pathlib.PurePosixPath(name).parents):
            raise ValueError(f'{name!r} lies in what is a file')
    return out


def _check_name(name: str) -> None:
    parts = name.split('/')
    if (not name.isprintable() or '\\' in name or ':' in name
            or len(name.encode('utf-8', 'replace')) > 1024
            or any(part in ('', '.', '..') or part[-1] in ' .'
                   or len(part.encode('utf-8', 'replace')) > 200
                   or RESERVED.fullmatch(part) for part in parts)):
        raise ValueError(f'{name[:200]!r} is not a plain relative path')
