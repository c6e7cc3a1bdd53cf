r"""Limits on the cost of reading an untrusted archive."""
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
#: The largest ratio of the size of a file to its size in the archive. Deflate
#: reaches 1,032 on zeros, and tables of numbers stay far below 200.
MAX_RATIO = 200
#: Smaller files count as having this size in the archive.
SMALL = 1 << 16
#: The time limit of an archive: a constant, plus one second per this many
#: bytes.
SECONDS, BYTES_PER_SECOND = 60.0, 1 << 20


class Budget:
    r"""The number of files, bytes and seconds that an archive may take.

    Args:
        packed (int): The size of the archive in bytes.
        max_bytes (int, optional): The maximum number of bytes of all its
            files together. (default: 32 GiB)
    """
    def __init__(self, packed: int, max_bytes: int = 32 * GIB) -> None:
        self.packed, self.max_bytes = packed, max_bytes
        self.files = self.bytes = 0
        self.seconds = SECONDS + packed / BYTES_PER_SECOND
        self.start = time.monotonic()

    def spend(self, name: str, size: int, packed: int | None = None) -> None:
        r"""Adds one file to the costs, before it is read.

        Args:
            name (str): The name of the file.
            size (int): The size of the file in bytes.
            packed (int, optional): The size of the file in the archive, if it
                is compressed separately. (default: :obj:`None`)

        Raises:
            FormatError: If the costs exceed the budget.
        """
        self.files += 1
        self.bytes += size
        if self.bytes > self.max_bytes or self.files > MAX_FILES:
            raise FormatError(f'it holds more than {self.max_bytes:,} bytes '
                              f'or {MAX_FILES:,} files')
        # A file cannot take more space than the whole archive.
        packed = self.packed if packed is None else min(packed, self.packed)
        for unfolded, part in ((size, packed), (self.bytes, self.packed)):
            if unfolded > MAX_RATIO * max(part, SMALL):
                raise FormatError(f'{name!r} expands {part} bytes to '
                                  f'{unfolded}')
        self.check_time()

    def check_time(self) -> None:
        r"""Raises :class:`FormatError` if the time limit is exceeded."""
        if time.monotonic() - self.start > self.seconds:
            raise FormatError(f'it takes more than {self.seconds:.0f} seconds')


class BoundedFile(io.RawIOBase):
    r"""A file that is read within a budget.

    Archive readers request as many bytes as the archive claims to have. This
    file returns at most :obj:`max_read` bytes at once, and no more in total
    than the budget allows.

    Args:
        file (IO): The file or its decompressor.
        budget (Budget): The budget.
        max_read (int, optional): The maximum number of bytes of one read,
            such as the names of all files. (default: 16 MiB)
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
            raise FormatError(f'it expands {packed} bytes to more than '
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
    r"""Opens a zip archive whose files fit into the budget.

    Args:
        path (pathlib.Path): The archive.
        max_bytes (int, optional): The maximum number of bytes of all its
            files together. (default: 32 GiB)

    Raises:
        FormatError: If the archive exceeds the budget, a file in it is
            encrypted, or a name occurs twice.
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
                raise FormatError(f'{name!r} occurs twice')
            members[name] = info
        yield file, members, budget
