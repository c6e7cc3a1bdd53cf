r"""What reading a file from a stranger may cost."""
from __future__ import annotations

import contextlib
import io
import os
import pathlib
import time
import zipfile
from collections.abc import Iterator
from typing import IO

from pyg_mmkgc.errors import FormatError

GIB = 1 << 30
MAX_FILES = 100_000
#: How many times as large as in its archive a file may be. Deflate reaches
#: 1,032 on zeros; tables of numbers stay far below this.
MAX_RATIO = 200
#: What is smaller than this in an archive counts as this large.
SMALL = 1 << 16
#: Seconds to read an archive: some, and one for each of these bytes in it.
SECONDS, BYTES_PER_SECOND = 60.0, 1 << 20


class Budget:
    r"""The files, bytes and seconds that an archive may take.

    Args:
        packed (int): The number of bytes of the archive.
        max_bytes (int, optional): The most bytes that its files may have
            together. (default: 32 GiB)
    """
    def __init__(self, packed: int, max_bytes: int = 32 * GIB) -> None:
        self.packed, self.max_bytes = packed, max_bytes
        self.files = self.bytes = 0
        self.seconds = SECONDS + packed / BYTES_PER_SECOND
        self.start = time.monotonic()

    def spend(self, name: str, size: int, packed: int | None = None) -> None:
        r"""Takes one more file into account, before it is read.

        Args:
            name (str): Its name.
            size (int): The number of its bytes.
            packed (int, optional): The bytes that it takes in the archive,
                where it is compressed alone. (default: :obj:`None`)

        Raises:
            FormatError: If it is too much.
        """
        self.files += 1
        self.bytes += size
        if self.bytes > self.max_bytes or self.files > MAX_FILES:
            raise FormatError(f'more than {self.max_bytes:,} bytes or '
                              f'{MAX_FILES:,} files')
        # A file cannot take more than all of the archive.
        packed = self.packed if packed is None else min(packed, self.packed)
        for unfolded, part in ((size, packed), (self.bytes, self.packed)):
            if unfolded > MAX_RATIO * max(part, SMALL):
                raise FormatError(f'{name!r} unfolds {part} bytes to '
                                  f'{unfolded}')
        self.check_time()

    def check_time(self) -> None:
        r"""Raises :class:`FormatError` when the time is over."""
        if time.monotonic() - self.start > self.seconds:
            raise FormatError(f'it takes more than {self.seconds:.0f} seconds')


class BoundedFile(io.RawIOBase):
    r"""A file that can be read within a budget.

    Readers of archives ask for as many bytes as an archive says: here, never
    for more than :obj:`max_read` at once, and never beyond what the budget
    allows to unfold.

    Args:
        file (IO): The file, or what unpacks it.
        budget (Budget): The budget.
        max_read (int, optional): The most bytes that are asked for at once,
            the names of all files, say. (default: 16 MiB)
    """
    def __init__(self, file: IO[bytes], budget: Budget,
                 max_read: int = 1 << 24) -> None:
        self.file, self.budget, self.max_read = file, budget, max_read

    def read(self, size: int = -1) -> bytes:
        self.budget.check_time()
        out = self.file.read(size if 0 <= size <= self.max_read else
                             self.max_read + 1)
        if len(out) > self.max_read:
            raise FormatError('it has a header of more than '
                              f'{self.max_read:,} bytes')
        packed = self.budget.packed
        limit = max(packed, self.max_read + min(
            self.budget.max_bytes, MAX_RATIO * max(packed, SMALL)))
        if self.file.tell() > limit:
            raise FormatError(f'it unfolds {packed} bytes to more than '
                              f'{limit}')
        return out

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True


@contextlib.contextmanager
def open_zip(
    path: pathlib.Path,
    max_bytes: int = 32 * GIB,
) -> Iterator[tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo], Budget]]:
    r"""Opens a zip archive, all of whose files fit into the budget.

    Args:
        path (pathlib.Path): The archive.
        max_bytes (int, optional): As for :class:`Budget`.

    Raises:
        FormatError: If it costs too much, or a file in it is encrypted or
            comes twice.
    """
    budget = Budget(os.path.getsize(path), max_bytes)
    members: dict[str, zipfile.ZipInfo] = {}
    with open(path, 'rb') as raw, zipfile.ZipFile(
            BoundedFile(raw, budget)) as file:
        for info in file.infolist():
            name = info.orig_filename
            if info.flag_bits & 0x1:
                raise FormatError(f'{name!r} is encrypted')
            budget.spend(name, info.file_size, info.compress_size)
            if name in members:
                raise FormatError(f'{name!r} comes twice')
            members[name] = info
        yield file, members, budget
