"""Reading arrays of ``.npz`` files."""

import io
import zipfile

import numpy as np
import pytest

from pyg_mmkgc.errors import FormatError
from pyg_mmkgc.io.npz import read_npz


@pytest.mark.parametrize('save', [np.savez, np.savez_compressed])
def test_as_numpy_reads_it(tmp_path, save):
    rng = np.random.default_rng(0)
    arrays = {
        'a/b ü': rng.normal(size=3), 'half': np.ones(4, dtype='f2'),
        'big': np.arange(3, dtype='>f4'), 'scalar': np.array(2.5),
        'columns': np.asfortranarray(rng.normal(size=(2, 3))),
        'bool': np.array([True, False]), 'empty': np.ones((0, 2)),
    }
    save(tmp_path / 'x.npz', **arrays)
    found = read_npz(tmp_path / 'x.npz')
    assert list(found) == list(arrays)
    for name, x in arrays.items():
        assert found[name].dtype == x.dtype.newbyteorder('=')
        assert found[name].flags.writeable
        assert np.array_equal(found[name], x)


def member(shape, content, descr='<f4'):
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        out, {'shape': shape, 'fortran_order': False, 'descr': descr})
    return out.getvalue() + content


def refused(path, members, message):
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    with pytest.raises(FormatError, match=rf'x\.npz.*{message}'):
        read_npz(path)


def test_arrays_that_unfold(tmp_path):
    zeros = member((5 << 20, ), bytes(20 << 20))
    refused(tmp_path / 'x.npz', {'a.npy': zeros}, 'expands')
    many = {f'{i}.npy': member((1 << 18, ), bytes(1 << 20))
            for i in range(20)}
    refused(tmp_path / 'x.npz', many, 'expands')


@pytest.mark.parametrize('shape, size, descr', [
    ((1 << 40, ), 16, '<f4'), ((1 << 20, 1 << 20), 16, '<f4'),
    ((0, 1 << 40), 16, '<f4'), ((4, ), 12, '<f4'), ((-4, ), 16, '<f4'),
    ((2, ), 16, '|O'), ((2, ), 16, '|V8'), ((2, ), 16, '<U2'),
])
def test_arrays_that_are_not_there(tmp_path, shape, size, descr):
    content = member(shape, bytes(size), descr)
    refused(tmp_path / 'x.npz', {'a.npy': content}, '')


def test_damaged_files(tmp_path):
    np.savez(tmp_path / 'good.npz', a=np.ones(100))
    content = (tmp_path / 'good.npz').read_bytes()
    for bad in [b'', b'PK', content[:200], content[:-10], bytes(1000)]:
        (tmp_path / 'x.npz').write_bytes(bad)
        with pytest.raises(FormatError, match=r'x\.npz'):
            read_npz(tmp_path / 'x.npz')
    with pytest.raises(FileNotFoundError):
        read_npz(tmp_path / 'none.npz')
