import builtins
import functools
import importlib
import io
import os
import pickle
import struct
import subprocess
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch

from pyg_mmkgc.errors import DataError, FormatError
from pyg_mmkgc.io.features import load_features


@pytest.mark.parametrize('suffix', ['.pth', '.pt', '.PTH'])
@pytest.mark.parametrize('dtype', [torch.half, torch.bfloat16, torch.float])
def test_torch_files(tmp_path, suffix, dtype):
    x = torch.randn(5, 3).to(dtype)
    path = tmp_path / f'x{suffix}'
    torch.save(x, path)
    out = load_features(path)
    assert out.dtype == dtype and torch.equal(out, x)


def test_the_one_table_of_a_dictionary(tmp_path):
    emb = torch.nn.Embedding(5, 3)
    path = tmp_path / 'x.pth'
    for content in [
            emb.state_dict(),
            {'ids': torch.arange(5), 'bias': torch.ones(5), 'x': emb.weight},
            emb.weight,
    ]:
        torch.save(content, path)
        out = load_features(path)
        assert torch.equal(out, emb.weight)
        assert not out.requires_grad


def test_the_legacy_format_of_torch(tmp_path):
    x = torch.randn(5, 3)
    path = tmp_path / 'x.pth'
    torch.save(x, path, _use_new_zipfile_serialization=False)
    assert torch.equal(load_features(path), x)


@pytest.mark.parametrize('dtype', ['<f2', '<f4', '>f4'])
def test_numpy_files(tmp_path, dtype):
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(dtype)
    for order in 'CF':
        np.save(tmp_path / 'x.npy', np.asarray(x, order=order))
        out = load_features(tmp_path / 'x.npy')
        assert out.is_contiguous()
        assert np.array_equal(out.numpy(), x)
        assert out.element_size() == x.itemsize


def test_safetensors_files(tmp_path):
    x = torch.randn(5, 3).half()
    path = tmp_path / 'x.safetensors'
    safetensors.torch.save_file({'any': x, 'n': torch.arange(5)}, path)
    assert torch.equal(load_features(path), x)


def overwrite(path, old, new):
    content = path.read_bytes()
    with path.open('r+b') as file:
        file.seek(content.rindex(np.float32(old).tobytes()))
        file.write(np.float32(new).tobytes())


@pytest.mark.parametrize('suffix', ['.npy', '.safetensors'])
def test_mapped_tables(tmp_path, suffix):
    """They are not copied, and the file never changes."""
    x = torch.arange(40_000 * 3).view(-1, 3).float()
    path = tmp_path / f'x{suffix}'
    if suffix == '.npy':
        np.save(path, x.numpy())
    else:
        safetensors.torch.save_file({'x': x}, path)
    copied, mapped = load_features(path), load_features(path, mmap=True)
    assert torch.equal(mapped, x)
    before = path.read_bytes()
    mapped[1, 1] = -1.0
    assert path.read_bytes() == before
    overwrite(path, 119_999, 7)
    assert copied[-1, 2] == 119_999 and mapped[-1, 2] == 7


@pytest.mark.parametrize('suffix', ['.npy', '.safetensors'])
def test_mapped_tables_are_checked(tmp_path, suffix):
    x = torch.arange(40_000 * 3).view(-1, 3).float()
    x[39_000, 1] = float('inf')
    path = tmp_path / f'x{suffix}'
    if suffix == '.npy':
        np.save(path, x.numpy())
    else:
        safetensors.torch.save_file({'x': x}, path)
    for mmap in (False, True):
        with pytest.raises(FormatError, match='finite.*in row 39000'):
            load_features(path, mmap)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(FormatError, match='complete'):
        load_features(path, mmap=True)


def test_torch_files_are_not_mapped(tmp_path):
    torch.save(torch.randn(5, 3), tmp_path / 'x.pth')
    with pytest.raises(FormatError, match=r"mmap=False.*\(got .*x\.pth'\)"):
        load_features(tmp_path / 'x.pth', mmap=True)


def test_double_precision_becomes_single(tmp_path):
    x = torch.randn(5, 3).double()
    torch.save(x, tmp_path / 'x.pth')
    np.save(tmp_path / 'x.npy', x.numpy())
    for name in ['x.pth', 'x.npy']:
        out = load_features(tmp_path / name)
        assert out.dtype == torch.float and torch.equal(out, x.float())


def test_views_are_contiguous(tmp_path):
    x = torch.randn(3, 5)
    torch.save(x.t(), tmp_path / 'x.pth')
    out = load_features(tmp_path / 'x.pth')
    assert out.is_contiguous() and torch.equal(out, x.t())


@pytest.mark.parametrize('content', [
    torch.randn(5),
    torch.randn(5, 3, 2),
    torch.randint(5, (5, 3)),
    torch.ones(5, 3, dtype=torch.bool),
    torch.randn(5, 3, dtype=torch.complex64),
    torch.eye(3).to_sparse(),
    torch.randn(5, 3, device='meta'),
    torch.ones(1, 1).expand(10**6, 10**6),
    {},
    {'a': torch.randn(5, 3), 'b': torch.randn(5, 3)},
    {'a': {'b': torch.randn(5, 3)}},
    [torch.randn(5, 3)],
    'text',
    None,
])
def test_torch_files_with_anything_else(tmp_path, content):
    torch.save(content, tmp_path / 'x.pth')
    with pytest.raises(FormatError, match=r'x\.pth.*numpy\.save'):
        load_features(tmp_path / 'x.pth')


@pytest.mark.parametrize('content', [
    np.arange(15).reshape(5, 3),
    np.ones(5),
    np.ones((5, 3, 2)),
    np.array([['a', 'b']]),
    np.zeros(3, dtype=[('a', 'f4')]),
    np.ones((5, 3), dtype=np.longdouble),
    np.ones((5, 3), dtype=np.complex64),
])
def test_numpy_files_with_anything_else(tmp_path, content):
    np.save(tmp_path / 'x.npy', content)
    with pytest.raises(FormatError, match=r'Expected .*x\.npy.*one dense'):
        load_features(tmp_path / 'x.npy')


@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])
def test_the_row_that_is_not_finite_is_named(tmp_path, value):
    x = torch.zeros(5, 3)
    x[3, 1] = x[4, 0] = value
    torch.save(x, tmp_path / 'x.pth')
    with pytest.raises(FormatError, match=r'x\.pth.*row 3'):
        load_features(tmp_path / 'x.pth')


def test_the_name_of_the_file(tmp_path):
    with pytest.raises(DataError, match=r'x\.pth.*got none'):
        load_features(tmp_path / 'x.pth')
    (tmp_path / 'x.h5').write_bytes(b'')
    with pytest.raises(FormatError, match=r'\.pth, \.pt, \.npy.*x\.h5'):
        load_features(tmp_path / 'x.h5')


@pytest.mark.parametrize('suffix', ['.pth', '.npy', '.safetensors'])
def test_damaged_files(tmp_path, suffix):
    x = torch.randn(50, 3)
    path = tmp_path / f'x{suffix}'
    if suffix == '.pth':
        torch.save(x, path)
    elif suffix == '.npy':
        np.save(path, x.numpy())
    else:
        safetensors.torch.save_file({'x': x}, path)
    content = path.read_bytes()
    # Unclosed quotes and brackets.
    ends = content.replace(b'}', b'{'), content.replace(b"'<", b'"<')
    page = b'<!DOCTYPE html><html><body>Quota exceeded</body></html>'
    for bad in [b'', content[:1], content[:200], content[:-20], page,
                *(end for end in ends if suffix == '.npy')]:
        path.write_bytes(bad)
        with pytest.raises(FormatError, match=f'x{suffix}'):
            load_features(path)


def test_a_part_of_a_larger_archive(tmp_path):
    path = tmp_path / 'x.pth'
    torch.save(torch.ones(5, 3), path)
    content = path.read_bytes()
    # The locator of a 64-bit archive that spans many disks.
    locator = struct.pack('<4sLQL', b'PK\6\7', 1, 0, 7)
    path.write_bytes(content[:-22] + locator + content[-22:])
    with pytest.raises(FormatError, match=r'x\.pth.*disks'):
        load_features(path)


def test_claimed_sizes(tmp_path):
    # A header that asks for 4 TB.
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {'shape': (10**6, 10**6), 'fortran_order': False,
                 'descr': '<f4'})
    (tmp_path / 'x.npy').write_bytes(header.getvalue() + bytes(64))
    with pytest.raises(FormatError, match=r'x\.npy'):
        load_features(tmp_path / 'x.npy')


def test_compressed_torch_files(tmp_path):
    torch.save(torch.zeros(100, 100), tmp_path / 'plain.pth')
    with zipfile.ZipFile(tmp_path / 'plain.pth') as plain, zipfile.ZipFile(
            tmp_path / 'x.pth', 'w', zipfile.ZIP_DEFLATED) as packed:
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    with pytest.raises(FormatError, match=r'x\.pth.*compressed'):
        load_features(tmp_path / 'x.pth')


# Hostile files, which create a marker file if they are unpickled.


class Call:
    """An object that calls a function when it is unpickled."""
    def __init__(self, func, *args):
        self.call = func, args

    def __reduce__(self):
        return self.call


class State:
    """An object that calls a function as its ``__setstate__``."""
    def __init__(self, func, *args):
        self.call = func, args

    def __reduce__(self):
        # The sixth entry sets the state.
        return dict, (), 'state', None, None, self.call[0]


def touch(state, path=None):
    open(path or state, 'w').close()


class SetState:
    """An object that runs its own method when it is unpickled."""
    def __init__(self, path):
        self.path = path

    def __setstate__(self, state):
        touch(state['path'])


def payloads(marker, tmp_path):
    nested = tmp_path / 'nested.pth'
    torch.save(Call(os.mkdir, marker), nested)
    code = f'open({marker!r}, "w").close()'
    return {
        'os.system': Call(os.system, f'touch {marker}'),
        'os.mkdir': Call(os.mkdir, marker),
        'exec': Call(builtins.exec, code),
        'eval': Call(builtins.eval, f'open({marker!r}, "w")'),
        'open': Call(builtins.open, marker, 'w'),
        'subprocess': Call(subprocess.getoutput, f'touch {marker}'),
        'popen': Call(subprocess.Popen, ['touch', marker]),
        'importlib': Call(importlib.import_module, 'antigravity'),
        'torch.load': Call(functools.partial(torch.load, weights_only=False),
                           str(nested)),
        'partial': Call(functools.partial(open, marker, 'w')),
        'setstate': SetState(marker),
        'state_setter': State(functools.partial(touch, path=marker)),
        'tensor': {'x': torch.ones(2, 2), 'y': Call(os.mkdir, marker)},
        'module': torch.nn.Embedding(2, 2),
    }


NAMES = [
    'os.system', 'os.mkdir', 'exec', 'eval', 'open', 'subprocess', 'popen',
    'importlib', 'torch.load', 'partial', 'setstate', 'state_setter',
    'tensor', 'module'
]


@pytest.mark.parametrize('legacy', [False, True])
@pytest.mark.parametrize('name', NAMES)
def test_no_payload_runs(tmp_path, name, legacy):
    marker = str(tmp_path / 'marker')
    path = tmp_path / 'x.pth'
    torch.save(payloads(marker, tmp_path)[name], path,
               _use_new_zipfile_serialization=not legacy)
    with pytest.raises(FormatError, match=r'x\.pth.*without running code'):
        load_features(path)
    assert not os.path.exists(marker)


@pytest.mark.parametrize('suffix', ['.pth', '.npy', '.safetensors'])
def test_no_plain_pickle_runs(tmp_path, suffix):
    marker = str(tmp_path / 'marker')
    path = tmp_path / f'x{suffix}'
    for name, payload in payloads(marker, tmp_path).items():
        for protocol in (0, 2, pickle.HIGHEST_PROTOCOL):
            path.write_bytes(pickle.dumps(payload, protocol))
            with pytest.raises(FormatError, match=f'x{suffix}'):
                load_features(path)
            assert not os.path.exists(marker), name


def test_no_numpy_object_runs(tmp_path):
    marker = str(tmp_path / 'marker')
    table = np.empty((1, 1), dtype=object)
    table[0, 0] = Call(os.mkdir, marker)
    np.save(tmp_path / 'x.npy', table)
    with pytest.raises(FormatError, match=r'x\.npy.*Python objects'):
        load_features(tmp_path / 'x.npy')
    assert not os.path.exists(marker)


def test_no_script_runs(tmp_path):
    module = torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2))
    torch.jit.save(module, str(tmp_path / 'x.pth'))
    with pytest.raises(FormatError, match=r'x\.pth'):
        load_features(tmp_path / 'x.pth')


def test_the_payloads_would_run(tmp_path):
    """The payloads of the tests above run in an unsafe reader."""
    marker = str(tmp_path / 'marker')
    for name in ['os.mkdir', 'torch.load']:
        data = pickle.dumps(payloads(marker, tmp_path)[name])
        pickle.loads(data)
        assert os.path.exists(marker), name
        os.rmdir(marker)
