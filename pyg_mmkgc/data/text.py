from __future__ import annotations

import codecs
import io
import os
from collections.abc import Iterator

from pyg_mmkgc.errors import FormatError
from pyg_mmkgc.io.reading import open_file


def read_lines(path: str | os.PathLike[str],
               encoding: str = 'utf-8') -> list[str]:
    r"""Reads the lines of a text file (see :func:`iter_lines`)."""
    return list(iter_lines(path, encoding))


def iter_lines(path: str | os.PathLike[str],
               encoding: str = 'utf-8') -> Iterator[str]:
    r"""Yields the lines of a text file, which may be larger than memory.

    Both kinds of line endings are supported. Spaces around a line are kept,
    since they may be part of a label. A byte order mark is dropped.

    Args:
        path (str or os.PathLike): The file.
        encoding (str, optional): The encoding. (default: :obj:`"utf-8"`)

    Raises:
        FormatError: If the file is empty, has another encoding, or contains a
            NUL byte, a blank line that other lines follow, or a carriage
            return within a line.
    """
    try:
        codec = codecs.lookup(encoding).name
        # Some codecs, such as 'hex', decode bytes to bytes.
        io.TextIOWrapper(io.BytesIO(), codec).close()
    except (LookupError, TypeError, ValueError) as error:
        raise FormatError("Expected 'encoding' to be a text encoding of "
                          f'Python (got {encoding!r})') from error
    name = os.fspath(path)
    with open_file(path) as file:
        start = file.read(2)
        if start == b'\x1f\x8b':
            raise FormatError(f"Expected text in '{name}' (got gzip). Unpack "
                              'it.')
        if codec == 'utf-8' and start in (b'\xff\xfe', b'\xfe\xff'):
            raise FormatError(f"Expected UTF-8 in '{name}', row 1 (got the "
                              f'byte order mark {start!r} of UTF-16). Pass '
                              "encoding='utf-16'.")
        file.seek(0)
        try:
            # Without `newline`, a carriage return would end a line as well.
            with io.TextIOWrapper(file, codec, newline='\n') as lines:
                yield from _checked(lines, name)
        except UnicodeError as error:
            # UTF-16 without a byte order mark raises one without a reason.
            raise FormatError(
                f"Expected {codec.upper()} in '{name}', row "
                f'{_undecodable(path, codec)} (got an error: '
                f"{getattr(error, 'reason', error)})") from error


def _checked(file: io.TextIOWrapper, name: str) -> Iterator[str]:
    blank = None  # The first of the blank lines before a line.
    empty = True
    for row, line in enumerate(file, start=1):
        if line.endswith('\n'):
            line = line[:-2] if line.endswith('\r\n') else line[:-1]
        if row == 1:
            line = line.removeprefix('\ufeff')
        if '\0' in line:
            raise FormatError(f"Expected text in '{name}', row {row} (got a "
                              'NUL byte)')
        if line == '':
            blank = blank or row
            continue
        if blank or '\r' in line or line.isspace():
            raise FormatError(
                f"Expected a line of text in '{name}', row {blank or row} "
                f"(got {'' if blank else line[:40]!r})")
        empty = False
        yield line
    if empty:
        raise FormatError(f"Expected text in '{name}' (got an empty file)")


def _undecodable(path: str | os.PathLike[str], codec: str) -> int:
    r"""Returns the row of a file that cannot be decoded."""
    decoder, row = codecs.getincrementaldecoder(codec)(), 1
    with open_file(path) as file:
        for part in file:
            try:
                decoder.decode(part)
            except UnicodeError:
                return row
            row += 1
    return row - 1  # The last row ends within a character.
