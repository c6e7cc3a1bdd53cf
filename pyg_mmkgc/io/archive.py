r"""Untrusted archives, unpacked completely or not at all."""
from __future__ import annotations

import bz2
import contextlib
import errno
import functools
import gzip
import lzma
import os
import pathlib
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any, NamedTuple

from pyg_mmkgc.errors import FormatError
from pyg_mmkgc.io.atomic import PathLike, temporary_folder
from pyg_mmkgc.io.budget import GIB, BoundedFile, Budget, open_zip
from pyg_mmkgc.io.reading import as_path, open_file

CHUNK = 1 << 20
# The largest header of a file in a tar archive, which Python searches in
# quadratic time.
MAX_HEADER = 1 << 13
# The first bytes of compressed tar archives.
PACKED: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b'\x1f\x8b': lambda file: gzip.GzipFile(fileobj=file),
    b'BZh': bz2.BZ2File,
    b'\xfd7zXZ\0': lzma.LZMAFile,
}
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

    All members are checked before anything is written. The archive is rejected
    if a member would lie outside of the folder, is a link or a device, has no
    name, or has the name of another member (ignoring case). It is also
    rejected if it has too many files or bytes, takes too long, or expands to
    more than 200 times its size. The folder appears under its name only when
    it is complete.

    Args:
        archive (str or os.PathLike): The archive.
        folder (str or os.PathLike): The new folder, which must not exist yet.
        max_bytes (int, optional): The maximum number of bytes of all members
            together. (default: 32 GiB)

    Raises:
        FormatError: If the archive is damaged or hostile.
        FileExistsError: If the folder exists.
    """
    archive, folder = as_path(archive), as_path(folder)
    if folder.exists():
        raise FileExistsError(f"Expected a new folder (got '{folder}', which "
                              f'exists already)')
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _members(archive, max_bytes) as (members, budget), \
                temporary_folder(folder) as temp:
            for member in members:
                _write(member, temp, budget)
            temp.rename(folder)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError,
            struct.error, EOFError, ValueError, NotImplementedError,
            RuntimeError, OSError) as error:
        # A damaged archive causes EINVAL (a position before the start of the
        # file) or, in gzip, no error number. Other system errors, such as a
        # full disk, have other causes.
        if (isinstance(error, OSError)
                and error.errno not in (errno.EINVAL, None)):
            raise
        raise FormatError(f"Expected a complete and safe archive in "
                          f"'{archive}' (got an error: {error})") from error
    return folder


def _write(member: _Member, folder: pathlib.Path, budget: Budget) -> None:
    target = folder.joinpath(*member.name.split('/'))
    if member.is_folder:
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    source = member.open()
    if source is None:
        raise ValueError(f'{member.name!r} is not a regular file')
    size = 0
    with source, open(target, 'xb') as file:
        while chunk := source.read(CHUNK):
            size += len(chunk)
            if size > member.size:
                break
            budget.check_time()
            file.write(chunk)
    if size != member.size:
        raise ValueError(f'{member.name!r} has {size} bytes instead of '
                         f'{member.size}')


@contextlib.contextmanager
def _members(path: pathlib.Path,
             max_bytes: int) -> Iterator[tuple[list[_Member], Budget]]:
    with open_file(path) as raw:
        start = raw.read(16)
    if zipfile.is_zipfile(path):
        with open_zip(path, max_bytes) as (file, infos, budget):
            yield _check(_list_zip(file, infos)), budget
        return
    # The first bytes decide, since trying each reader is not reliable: some
    # read other formats as a sequence of empty compressed files.
    unpack = next((unpack for magic, unpack in PACKED.items()
                   if start.startswith(magic)), None)
    budget = Budget(os.path.getsize(path), max_bytes)
    with open(path, 'rb') as raw, contextlib.ExitStack() as stack:
        plain = raw if unpack is None else stack.enter_context(unpack(raw))
        head = plain.read(512)
        plain.seek(0)
        if len(head) < 512 or not any(head):
            raise ValueError('it is neither a zip nor a tar archive: it '
                             f'begins with {start!r}')
        file_ = BoundedFile(plain, budget, MAX_HEADER)
        with tarfile.open(fileobj=file_, mode='r:') as tar:
            members = _check(_list_tar(tar, budget))
            file_.max_read = CHUNK
            yield members, budget


def _list_zip(file: zipfile.ZipFile,
              infos: Mapping[str, zipfile.ZipInfo]) -> Iterator[_Member]:
    # `filename` is cut at a NUL byte, so the original name is checked.
    for name, info in infos.items():
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise ValueError(f'{name!r} is a link or a device')
        yield _Member(name.rstrip('/'), info.file_size, name.endswith('/'),
                      functools.partial(file.open, info))


def _list_tar(file: tarfile.TarFile, budget: Budget) -> Iterator[_Member]:
    for info in file:
        # The budget is checked before the reader skips the member, since
        # skipping decompresses it.
        budget.spend(info.name, info.size)
        if not (info.isreg() or info.isdir()) or info.issparse():
            raise ValueError(f'{info.name!r} is a link, a device or sparse')
        yield _Member(info.name.removeprefix('./'), info.size, info.isdir(),
                      functools.partial(file.extractfile, info))


def _check(members: Iterator[_Member]) -> list[_Member]:
    out: list[_Member] = []
    seen: set[str] = set()
    for member in members:
        if member.is_folder and member.name in ('', '.'):
            continue
        _check_name(member.name)
        if member.name.casefold() in seen:
            raise ValueError(f'{member.name!r} occurs twice')
        seen.add(member.name.casefold())
        out.append(member)
    files = {member.name.casefold() for member in out if not member.is_folder}
    for name in seen:
        if any(str(parent) in files
               for parent in pathlib.PurePosixPath(name).parents):
            raise ValueError(f'{name!r} has a file as a parent folder')
    return out


def _check_name(name: str) -> None:
    parts = name.split('/')
    if (not name.isprintable() or '\\' in name or ':' in name
            or len(name.encode('utf-8', 'replace')) > 1024
            or any(part in ('', '.', '..') or part[-1] in ' .'
                   or len(part.encode('utf-8', 'replace')) > 200
                   or RESERVED.fullmatch(part) for part in parts)):
        raise ValueError(f'{name[:200]!r} is not a plain relative path')
