from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

from pyg_mmkgc.data.text import read_lines
from pyg_mmkgc.errors import FormatError


@pytest.mark.parametrize('content', [
    b'a\nb c\n', b'a\nb c', b'a\r\nb c\r\n', b'a\nb c\n\n'])
def test_read_lines(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / 'labels.txt'
    path.write_bytes(content)
    assert read_lines(path) == ['a', 'b c']
    path.write_bytes(b' a \nb\t\n')  # Labels may have spaces.
    assert read_lines(path) == [' a ', 'b\t']
    path.write_bytes(b'\xef\xbb\xbfa\nb c\n')
    assert read_lines(path) == ['a', 'b c']
    path.write_bytes('a\nb ç\n'.encode('utf-16'))
    assert read_lines(path, 'UTF-16') == ['a', 'b ç']
    path.write_bytes('b ç\n'.encode('latin-1'))
    assert read_lines(path, 'latin1') == ['b ç']
    path.write_bytes('Å\tÆ\u2028Ø\n'.encode())  # Only \n ends a line.
    assert read_lines(path) == ['Å\tÆ\u2028Ø']


@pytest.mark.parametrize('content, message', [
    (b'', 'got an empty file'),
    (b'\n\n', 'got an empty file'),
    (gzip.compress(b'a\n', mtime=0), 'got gzip'),
    ('a\n'.encode('utf-16'), "row 1 .got the byte order .*'utf-16'"),
    (b'a\nb\nc\0d\n', 'row 3 .got a NUL byte'),
    (b'a\n\xe9t\xe9\n', 'UTF-8 in .*row 2 .got'),
    (b'a\n\nb\n', "a line of text .*row 2 .got ''"),
    (b'a\n \t\nb\n', 'a line of text .*row 2 .got'),
    (b'a\rb\r', 'a line of text .*row 1 .got'),
])
def test_read_lines_errors(content: bytes, message: str,
                           tmp_path: Path) -> None:
    path = tmp_path / 'labels.txt'
    path.write_bytes(content)
    with pytest.raises(FormatError, match=message) as info:
        read_lines(path)
    assert "labels.txt'" in str(info.value)
    for encoding in ('utf8mb4', 'hex', 'rot13', 'a\0b', None):
        with pytest.raises(FormatError, match='text encoding of Python .got '
                           + re.escape(repr(encoding))):
            read_lines(path, encoding)
    with pytest.raises(FileNotFoundError):
        read_lines(tmp_path / 'absent')


def test_utf_16_without_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / 'labels.txt'
    path.write_bytes('a\nb ç\n'.encode('utf-16-le'))
    assert read_lines(path, 'utf-16-le') == ['a', 'b ç']
    with pytest.raises(FormatError, match="Expected UTF-16 in .*labels.txt', "
                                          'row 1 .got an error: .*BOM'):
        read_lines(path, 'utf-16')
