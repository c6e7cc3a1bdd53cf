import gzip

import pytest
import torch

from pyg_mmkgc.errors import FormatError
from pyg_mmkgc.io.openke import read_labels, read_names, read_triples

NAMES = b'3\nb 1\nwith a blank\t0\n\xc3\xbc\xe2\x80\xa8x 2\n'
TRIPLES = b'2\n0 2 1\n1 0 0\n'


def write(tmp_path, content):
    path = tmp_path / 'file.txt'
    path.write_bytes(content)
    return path


@pytest.mark.parametrize('content', [
    NAMES,
    NAMES.replace(b'\n', b'\r\n'),
    NAMES.rstrip(b'\n'),
])
def test_read_names(tmp_path, content):
    names = read_names(write(tmp_path, content))
    assert names == ['with a blank', 'b', 'ü\u2028x']


@pytest.mark.parametrize('content', [
    TRIPLES,
    TRIPLES.replace(b'\n', b'\r\n'),
    TRIPLES.replace(b' ', b'\t'),
    TRIPLES.rstrip(b'\n'),
])
def test_read_triples(tmp_path, content):
    # The columns are head, tail, relation.
    edge_index, edge_type = read_triples(write(tmp_path, content), 3, 2)
    assert edge_index.tolist() == [[0, 1], [2, 0]]
    assert edge_type.tolist() == [1, 0]
    assert edge_index.dtype == edge_type.dtype == torch.long


def test_no_triples(tmp_path):
    edge_index, edge_type = read_triples(write(tmp_path, b'0\n'), 3, 2)
    assert edge_index.size() == (2, 0) and edge_type.size() == (0, )


@pytest.mark.parametrize('content, row, message', [
    (b'', 1, 'number of rows'),
    (b'\n', 1, 'number of rows'),
    (b'a 0\nb 1\n', 1, 'number of rows'),
    (b'3\na 0\nb 1\n', 1, 'Expected 2,'),
    (b'1\na 0\nb 1\n', 1, 'Expected 2,'),
    (b'-2\na 0\nb 1\n', 1, 'number of rows'),
    ('²\na 0\nb 1\n'.encode(), 1, 'number of rows'),
    (b'2\na 0\nb\n', 3, 'name id'),
    (b'2\na 0\n\n', 3, 'name id'),
    (b'2\na 0\nb x\n', 3, 'integer'),
    (b'2\na 0\nb 1.0\n', 3, 'integer'),
    (b'2\na 0\nb 2\n', 3, 'from 0 to 1'),
    (b'2\na 0\nb -1\n', 3, 'from 0 to 1'),
    (b'2\na 0\nb 0\n', 3, 'every id once'),
    (b'2\na 0\na 1\n', 3, 'every name once'),
    (b'2\na 0\nb 99999999999999999999999999\n', 3, 'from 0 to 1'),
    (b'\xef\xbb\xbf2\na 0\nb 1\n', 1, 'byte order mark'),
    (b'2\na 0\nb\0c 1\n', 3, 'NUL'),
    (b'2\na 0\n\xff 1\n', 3, 'UTF-8'),
    (gzip.compress(b'1\na 0\n', mtime=0), 1, ''),
])
def test_broken_names(tmp_path, content, row, message):
    with pytest.raises(FormatError, match=message) as info:
        read_names(write(tmp_path, content))
    assert f"file.txt', row {row} (got" in str(info.value)


@pytest.mark.parametrize('content, row, message', [
    (b'', 1, 'number of rows'),
    (b'3\n0 2 1\n1 0 0\n', 1, 'Expected 2,'),
    (b'1\n0 2 1\n1 0 0\n', 1, 'Expected 2,'),
    (b'2\n0 2 1\n1 0\n', 3, 'head tail relation'),
    (b'2\n0 2 1 1\n1 0 0\n', 2, 'head tail relation'),
    (b'2\n0 2 1\n\n', 3, 'head tail relation'),
    (b'2\n0 2 1\n1 0 0.0\n', 3, 'integer as relation'),
    (b'2\n0 2 1\na 0 0\n', 3, 'integer as head'),
    (b'2\n0 2 1\n1_0 0 0\n', 3, 'integer as head'),
    ('2\n0 2 1\n١ 0 0\n'.encode(), 3, 'integer as head'),
    (b'2\n0 2 1\n3 0 0\n', 3, 'a head from 0 to 2'),
    (b'2\n0 2 1\n1 3 0\n', 3, 'a tail from 0 to 2'),
    (b'2\n0 2 1\n1 0 2\n', 3, 'a relation from 0 to 1'),  # h-r-t order, too.
    (b'2\n0 2 1\n-1 0 0\n', 3, 'a head from 0 to 2'),
    (b'2\n0 2 1\n4294967296 0 0\n', 3, 'a head from 0 to 2'),
    (b'2\n0 2 1\n0000000000000000000001 0 0\n', 3, 'a head from 0 to 2'),
    (b'2\n0 2 1\n1 0 0\0\n', 3, 'NUL'),
])
def test_broken_triples(tmp_path, content, row, message):
    with pytest.raises(FormatError, match=message) as info:
        read_triples(write(tmp_path, content), 3, 2)
    assert f"file.txt', row {row} (got" in str(info.value)


def test_read_labels(tmp_path):
    path = write(tmp_path, 'a b\n\nü\u2028\n'.encode())
    assert read_labels(path, 3) == ['a b', '', 'ü\u2028']
    with pytest.raises(FormatError, match=r'4 labels.*file\.txt.*got 3'):
        read_labels(path, 4)
