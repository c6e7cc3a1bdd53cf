from __future__ import annotations

import os

from pyg_mmkgc.errors import FormatError
from pyg_mmkgc.io.reading import read_file


def read_lines(path: str | os.PathLike[str]) -> list[str]:
    r"""Reads the lines of a text file in UTF-8.

    Both kinds of line endings are supported. Spaces around a line are kept,
    since they may be part of a label.

    Args:
        path (str or os.PathLike): The file.

    Raises:
        FormatError: If the file is empty, has another encoding, or contains a
            byte order mark, a NUL byte, a blank line that other lines follow,
            or a carriage return within a line.
    """
    content = read_file(path)
    name = os.fspath(path)
    if content[:2] == b'\x1f\x8b':
        raise FormatError(f"Expected text in '{name}' (got gzip). Unpack it.")
    if content[:3] == b'\xef\xbb\xbf' or content[:2] in (b'\xff\xfe',
                                                         b'\xfe\xff'):
        raise FormatError(f"Expected UTF-8 without a byte order mark in "
                          f"'{name}', row 1 (got {content[:3]!r})")
    if b'\0' in content:
        row = content.count(b'\n', 0, content.index(b'\0')) + 1
        raise FormatError(f"Expected text in '{name}', row {row} (got a NUL "
                          f'byte)')
    try:
        text = content.decode('utf-8')
    except UnicodeDecodeError as error:
        row = content.count(b'\n', 0, error.start) + 1
        raise FormatError(f"Expected UTF-8 in '{name}', row {row} (got an "
                          f'error: {error.reason})') from error
    lines = text.replace('\r\n', '\n').rstrip('\n').split('\n')
    if lines == ['']:
        raise FormatError(f"Expected text in '{name}' (got an empty file)")
    for row, line in enumerate(lines, start=1):
        if line.strip() == '' or '\r' in line:
            raise FormatError(f"Expected a line of text in '{name}', row "
                              f'{row} (got {line[:40]!r})')
    return lines
