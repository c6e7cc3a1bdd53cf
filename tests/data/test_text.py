from __future__ import annotations

import gzip
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
    path.write_bytes(b' a \nb\t\n')  # Of labels that are so.
    assert read_lines(path) == [' a ', 'b\t']
    path.write_bytes('Å\tÆ\u2028Ø\n'.encode())  # Only \n ends a line.
    assert read_lines(path) == ['Å\tÆ\u2028Ø']


@pytest.mark.parametrize('content, message', [
    (b'', 'the file is empty'),
    (b'\n\n', 'the file is empty'),
    (gzip.compress(b'a\n', mtime=0), 'got gzip'),
    (b'\xef\xbb\xbfa\n', 'row 1: .* byte order mark'),
    ('a\n'.encode('utf-16'), 'row 1: .* byte order mark'),
    (b'a\nb\nc\0d\n', 'row 3: holds a NUL byte'),
    (b'a\n\xe9t\xe9\n', 'row 2: expected UTF-8'),
    (b'a\n\nb\n', "row 2: expected a line of text .got ''"),
    (b'a\n \t\nb\n', 'row 2: expected a line of text'),
    (b'a\rb\r', 'row 1: expected a line of text'),
])
def test_read_lines_errors(content: bytes, message: str,
                           tmp_path: Path) -> None:
    path = tmp_path / 'labels.txt'
    path.write_bytes(content)
    with pytest.raises(FormatError, match=f"labels.txt'.*{message}"):
        read_lines(path)
    with pytest.raises(FileNotFoundError):
        read_lines(tmp_path / 'absent')
