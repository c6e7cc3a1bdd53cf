import hashlib
import itertools
import json
import os

import pytest
import safetensors.torch
import torch

from pyg_mmkgc.errors import DataError, FormatError
from pyg_mmkgc.io.tensors import (
    digest,
    load_tensors,
    mapped_copies,
    save_tensors,
)

DTYPES = [
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
    torch.half, torch.bfloat16, torch.float, torch.double, torch.complex64,
    torch.float8_e4m3fn
]


def same(a, b):
    def raw(x):
        return x.contiguous().reshape(-1).view(torch.uint8)

    return (a.dtype == b.dtype and a.shape == b.shape
            and torch.equal(raw(a), raw(b)))


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('size', [(), (0, 3), (5, ), (2, 3, 4)])
def test_round_trip_of_dtypes(tmp_path, dtype, size):
    x = (torch.rand(size) * 3).to(dtype)
    save_tensors(tmp_path / 'x', {'x': x})
    tensors, metadata = load_tensors(tmp_path / 'x')
    assert list(tensors) == ['x'] and metadata == {}
    assert same(tensors['x'], x)


def test_round_trip_of_views_and_metadata(tmp_path):
    x = torch.arange(12.).view(3, 4)
    tensors = {
        'a': x,
        'again': x,
        'transposed': x.t(),
        'row': x[1],
        'column': x[:, 1],
        'expanded': torch.tensor([1, 2]).expand(3, 2),
        'parameter': torch.nn.Parameter(torch.randn(2)),
        'ünïcode "name"': torch.tensor([True, False]),
    }
    metadata = {'names': ['ä', '\u2028', ''], 'n': 3, 'x': None, 'b': [True]}
    save_tensors(tmp_path / 'x', tensors, metadata)
    loaded, found = load_tensors(tmp_path / 'x')
    assert found == metadata
    assert set(loaded) == set(tensors)
    for name, tensor in tensors.items():
        assert same(loaded[name], tensor.detach())
    assert not loaded['parameter'].requires_grad


def test_one_element_with_any_stride(tmp_path):
    tensors = {'x': torch.arange(3)[::2][1:],
               'table': torch.arange(5.).as_strided((1, 1), (1, 4), 3)}
    save_tensors(tmp_path / 'x', tensors)
    for loaded in (load_tensors(tmp_path / 'x')[0],
                   mapped_copies(tensors, tmp_path)):
        assert loaded['x'].tolist() == [2]
        assert loaded['table'].tolist() == [[3.0]]


def test_no_tensors(tmp_path):
    save_tensors(tmp_path / 'x', {}, {'a': 1})
    assert load_tensors(tmp_path / 'x') == ({}, {'a': 1})


def test_any_safetensors_reader_can_read_it(tmp_path):
    x = torch.randn(3, 2)
    save_tensors(tmp_path / 'x', {'x': x})
    assert torch.equal(safetensors.torch.load_file(tmp_path / 'x')['x'], x)


def test_digest_by_hand():
    x = torch.tensor([[1, 2], [3, 4]], dtype=torch.uint8)
    key = '["x", "torch.uint8", [2, 2]]'
    text = f'{len(key)}:{key}'.encode() + bytes([1, 2, 3, 4]) + b'2:{}'
    assert digest({'x': x}, '{}') == hashlib.sha256(text).hexdigest()


@pytest.mark.parametrize('value', [
    [1, 2],
    torch.eye(3).to_sparse(),
])
def test_what_is_no_dense_tensor_is_refused(tmp_path, value):
    with pytest.raises(DataError, match="as 'bad'"):
        save_tensors(tmp_path / 'x', {'bad': value})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize('value', [float('inf'), {1}, torch.ones(1)])
def test_what_json_has_not_is_refused(tmp_path, value):
    with pytest.raises(DataError, match='metadata'):
        save_tensors(tmp_path / 'x', {}, {'bad': value})


def example(path):
    save_tensors(path, {
        'mask': torch.tensor([True, False, True]),
        'x': torch.tensor([[1.5, -2.], [0., 3.]]),
        'id': torch.tensor([1, 2, 3]),
    }, {'names': ['a', 'b'], 'num': 2})
    return path.read_bytes()


def test_bit_flips_are_rejected(tmp_path):
    content = example(tmp_path / 'x')
    bad = tmp_path / 'bad.safetensors'
    for i in range(0, len(content) * 8, 3):  # In every byte.
        flipped = bytearray(content)
        flipped[i // 8] ^= 1 << i % 8
        bad.write_bytes(flipped)
        with pytest.raises(FormatError, match='bad.safetensors'):
            load_tensors(bad)


def test_every_truncation_and_appendix_is_rejected(tmp_path):
    content = example(tmp_path / 'x')
    bad = tmp_path / 'bad.safetensors'
    for i in range(len(content)):
        bad.write_bytes(content[:i])
        with pytest.raises(FormatError, match='bad.safetensors'):
            load_tensors(bad)
    bad.write_bytes(content + b'\0')
    with pytest.raises(FormatError, match='bad.safetensors'):
        load_tensors(bad)


def test_swapped_tensors_are_rejected(tmp_path):
    # The bytes of the two names are swapped.
    a, b = torch.tensor([1]), torch.tensor([2])
    header = {'format': 'pt', 'metadata': '{}',
              'sha256': digest({'a': a, 'b': b}, '{}')}
    path = tmp_path / 'x'
    safetensors.torch.save_file({'a': a, 'b': b}, path, header)
    load_tensors(path)
    safetensors.torch.save_file({'a': b, 'b': a}, path, header)
    with pytest.raises(FormatError, match='SHA-256'):
        load_tensors(path)


def test_foreign_files(tmp_path):
    path = tmp_path / 'x.safetensors'
    safetensors.torch.save_file({'a': torch.ones(2)}, path)
    with pytest.raises(FormatError, match='to be written by this library'):
        load_tensors(path)
    header = {'a': {'dtype': 'F32', 'shape': [10**9, 10**9],
                    'data_offsets': [0, 4 * 10**18]}}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, 'little') + text + bytes(16))
    with pytest.raises(FormatError, match='x.safetensors'):
        load_tensors(path)
    torch.save({'a': torch.ones(2)}, path)
    with pytest.raises(FormatError, match='x.safetensors'):
        load_tensors(path)
    with pytest.raises(FileNotFoundError):
        load_tensors(tmp_path / 'absent')


def test_the_result_does_not_change_with_the_file(tmp_path):
    path = tmp_path / 'x'
    save_tensors(path, {'x': torch.arange(100)})
    loaded = load_tensors(path)[0]['x']
    path.write_bytes(bytes(path.stat().st_size))
    assert torch.equal(loaded, torch.arange(100))


def write_forever(path, pipe):
    for i in itertools.count():
        save_tensors(path, {'x': torch.full((1 << 17, ), i)}, {'i': i})
        pipe.send(i)


def test_a_killed_writer_leaves_a_complete_file(tmp_path, kill_writer):
    path = tmp_path / 'x'
    for seed in range(20):
        kill_writer(write_forever, path, seed)
        tensors, metadata = load_tensors(path)
        assert bool((tensors['x'] == metadata['i']).all())
    save_tensors(path, {})
    assert os.listdir(tmp_path) == ['x']


def test_file_is_as_the_library_writes_it(tmp_path):
    tensors = {f'{i}': torch.ones(3, i + 1).to(dtype)
               for i, dtype in enumerate(DTYPES)}
    save_tensors(tmp_path / 'x', tensors)
    content, expected = (tmp_path / 'x').read_bytes(), safetensors.torch.save(
        tensors)

    def split(content):
        size = int.from_bytes(content[:8], 'little')
        header = json.loads(content[8:8 + size])
        header.pop('__metadata__', None)
        return header, content[8 + size:]

    assert split(content) == split(expected)


def test_mapped_copies(tmp_path):
    tensors = {str(dtype): (torch.rand(5, 3) * 3).to(dtype)
               for dtype in DTYPES}
    tensors |= {'scalar': torch.tensor(2.5), 'none': torch.empty(0, 3),
                'transposed': torch.arange(12.).view(3, 4).t(),
                'parameter': torch.nn.Parameter(torch.randn(4))}
    before = {name: x.detach().clone() for name, x in tensors.items()}
    copies = mapped_copies(tensors, tmp_path / 'new')
    assert list(copies) == list(tensors)
    for x in tensors.values():
        x.detach().zero_()
    for name, x in copies.items():
        assert same(x, before[name]) and not x.requires_grad
    copies['scalar'] += 1  # Changes only this tensor.
    assert float(copies['scalar']) == 3.5
    assert list((tmp_path / 'new').iterdir()) == []
    assert mapped_copies({}, tmp_path) == {}
