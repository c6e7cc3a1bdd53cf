from __future__ import annotations

import os

from pyg_mmkgc.errors import FormatError
from pyg_mmkgc.io.reading import read_file


def read_lines(path: str | os.PathLike[str]) -> list[str]:
    r"""Reads the lines of a text file in UTF-8.

    Both line endings are fine. Spaces around a line are kept: a label may
    have them, and is matched as it is.

    Args:
        path (str or os.PathLike): The file.

    Raises:
        FormatError: If the file is empty or has a byte order mark, a NUL
            byte, another encoding, a blank line before the last ones or a
            carriage return within a line, with its row.
    """
    content = read_file(path)
    name = os.fspath(path)
    if content[:2] == b'\x1f\x8b':
        raise FormatError(f"'{name}': expected text, got gzip: unpack it")
    if content[:3] == b'\xef\xbb\xbf' or content[:2] in (b'\xff\xfe',
                                                         b'\xfe\xff'):
        raise FormatError(f"'{name}', row 1: expected UTF-8 without a byte "
                          f'order mark')
    if b'\0' in content:
        row = content.count(b'\n', 0, content.index(b'\0')) + 1
        raise FormatError(f"'{name}', row {row}: holds a NUL byte: this is "
                          f'no text file')
    try:
        text = content.decode('utf-8')
    except UnicodeDecodeError as error:
        row = content.count(b'\n', 0, error.start) + 1
        raise FormatError(f"'{name}', row {row}: expected UTF-8: "
                          f'{error.reason}') from error
    lines = text.replace('\r\n', '\n').rstrip('\n').split('\n')
    if lines == ['']:
        raise FormatError(f"'{name}': the file is empty")
    for row, line in enumerate(lines, start=1):
        if line.strip() == '' or '\r' in line:
            raise FormatError(f"'{name}', row {row}: expected a line of text "
                              f'(got {line[:40]!r})')
    return lines
