from __future__ import annotations

import codecs
import os

from pyg_mmkgc.errors import FormatError
from pyg_mmkgc.io.reading import read_file


def read_lines(path: str | os.PathLike[str],
               encoding: str = 'utf-8') -> list[str]:
    r"""Reads the lines of a text file.

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
    except LookupError as error:
        raise FormatError("Expected 'encoding' to be an encoding of Python "
                          f'(got {encoding!r})') from error
    content = read_file(path)
    name = os.fspath(path)
    if content[:2] == b'\x1f\x8b':
        raise FormatError(f"Expected text in '{name}' (got gzip). Unpack it.")
    if codec == 'utf-8' and content[:2] in (b'\xff\xfe', b'\xfe\xff'):
        raise FormatError(f"Expected UTF-8 in '{name}', row 1 (got the byte "
                          f'order mark {content[:2]!r} of UTF-16). Pass '
                          "encoding='utf-16'.")
    try:
        text = content.decode(codec).removeprefix('\ufeff')
    except UnicodeDecodeError as error:
        row = content.count(b'\n', 0, error.start) + 1
        raise FormatError(f"Expected {codec.upper()} in '{name}', row {row} "
                          f'(got an error: {error.reason})') from error
    if '\0' in text:
        row = text.count('\n', 0, text.index('\0')) + 1
        raise FormatError(f"Expected text in '{name}', row {row} (got a NUL "
                          f'byte)')
    lines = text.replace('\r\n', '\n').rstrip('\n').split('\n')
    if lines == ['']:
        raise FormatError(f"Expected text in '{name}' (got an empty file)")
    for row, line in enumerate(lines, start=1):
        if line.strip() == '' or '\r' in line:
            raise FormatError(f"Expected a line of text in '{name}', row "
                              f'{row} (got {line[:40]!r})')
    return lines
