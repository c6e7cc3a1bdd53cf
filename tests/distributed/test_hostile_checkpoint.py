"""Folders of checkpoints of several processes, as an attacker writes them:
every hash is right.
"""
import hashlib
import json
import shutil

import pytest
import torch
from safetensors.torch import save_file

from pyg_mmkgc.distributed.checkpoint import load_sharded, save_sharded
from pyg_mmkgc.errors import CheckpointError, FormatError

A = torch.arange(12.0).view(4, 3)


@pytest.fixture(scope='module')
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp('good')
    save_sharded(path, {'a': A, 'step': torch.tensor(3)}, {'x': [0.1, None]})
    return path


@pytest.fixture
def path(good, tmp_path):
    return shutil.copytree(good, tmp_path / 'copy')


def write(path, files, **changes):
    """Writes parts of tensors, pairs of tensors and the text about their
    places, and a `latest.json` that fits.
    """
    latest = json.loads((path / 'latest.json').read_text())
    folder = path / latest['folder']
    for file in folder.iterdir():
        file.unlink()
    for i, (tensors, places) in enumerate(files, start=1):
        save_file(tensors, folder / f'shard-{i:05d}-model-00001-of-00001'
                  '.safetensors', places if places is None else {
                      'DCP_SHARDING_INFO': places})
    latest |= {'scalars': [], 'sha256': {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.iterdir()}, **changes}
    seal(path, latest)


def seal(path, latest):
    values = {key: x for key, x in latest.items() if key != 'digest'}
    latest = {**values, 'digest': hashlib.sha256(
        json.dumps(values).encode()).hexdigest()}
    (path / 'latest.json').write_text(json.dumps(latest))


def at(*offsets):
    return json.dumps({'a': {'saved_offsets': offsets}})


def test_good(path):
    tensors, metadata = load_sharded(path)
    assert torch.equal(tensors['a'], A) and tensors['step'] == 3
    assert metadata == {'x': [0.1, None]}
    # The attacks below differ from this folder only in what they name.
    write(path, [({'a': A}, at(0, 0)), ({'a': A[:1]}, at(4, 0))])
    tensors, _ = load_sharded(path)
    assert torch.equal(tensors['a'], torch.cat([A, A[:1]]))


ONE, TWO = {'a': A}, {'a': A[:2].contiguous()}
FILES = {
    # Files of some bytes that claim 3 GB and 13 TB, all of it uninitialized.
    'gap': [(ONE, at(1 << 28, 0))],
    'large gap': [(ONE, at(1 << 40, 0))],
    'small gap': [(TWO, at(0, 0)), (TWO, at(3, 0))],
    'overlap': [(ONE, at(0, 0)), (TWO, at(3, 0))],
    'twice': [(ONE, at(0, 0)), (ONE, at(0, 0))],
    'negative': [(ONE, at(-1, 0))],
    'columns': [(ONE, at(0, 1))],
    'too few': [(ONE, at(0))],
    'too many': [(ONE, at(0, 0, 0))],
    'fraction': [(ONE, at(0.5, 0))],
    'text': [(ONE, at('0', 0))],
    'another width': [(ONE, at(0, 0)), ({'a': A[:, :2].contiguous()},
                                        at(4, 0))],
    'another type': [(ONE, at(0, 0)), ({'a': A.long()}, at(4, 0))],
    'another number of dimensions': [(ONE, at(0, 0)), ({'a': A[0]}, at(4))],
    'no places': [(ONE, None)],
    'no place': [(ONE, '{}')],
    'another place': [(ONE, '{"a": 3}')],
    'a list': [(ONE, '[]')],
    'no JSON': [(ONE, '{')],
    'deep JSON': [(ONE, '[' * 100_000)],
    'NaN': [(ONE, 'NaN')],
}


@pytest.mark.parametrize('name', list(FILES))
def test_hostile_parts(path, name):
    write(path, FILES[name])
    with pytest.raises(FormatError, match=str(path)):
        load_sharded(path)


@pytest.mark.parametrize('changes', [
    {'folder': '..'}, {'folder': '.'}, {'folder': ''}, {'folder': 'a\0'},
    {'folder': '\ud800'}, {'folder': 'a' * 5000}, {'folder': '0' * 8},
    {'rows': ['b']}, {'scalars': ['b']}, {'scalars': ['a']}, {'sha256': {}},
    {'metadata': None}, {'folder': ['x']}])
def test_hostile_values(path, changes):
    write(path, [(ONE, at(0, 0))], **changes)
    with pytest.raises((CheckpointError, FormatError), match=str(path)):
        load_sharded(path)


def test_files_elsewhere_are_not_read(path):
    """A hash would tell whether a file of somebody else is known."""
    write(path, [(ONE, at(0, 0))])
    latest = json.loads((path / 'latest.json').read_text())
    other = path / 'other.safetensors'
    shutil.copy(next((path / latest['folder']).iterdir()), other)
    latest['sha256']['../other.safetensors'] = hashlib.sha256(
        other.read_bytes()).hexdigest()
    seal(path, latest)
    with pytest.raises(FormatError, match='not listed'):
        load_sharded(path)


@pytest.mark.parametrize('content', [b'', b'x' * 100])
def test_files_that_are_not_listed(path, content):
    latest = json.loads((path / 'latest.json').read_text())
    (path / latest['folder'] / 'more.safetensors').write_bytes(content)
    with pytest.raises(FormatError, match="'more.safetensors'.* not listed"):
        load_sharded(path)


def test_pickles_are_not_read(path, monkeypatch):
    """The usual format of the library has a pickle of this name."""
    latest = json.loads((path / 'latest.json').read_text())
    monkeypatch.chdir(path)
    (path / latest['folder'] / '.metadata').write_bytes(
        b"cos\nmkdir\n(S'ran'\ntR.")
    load_sharded(path)
    assert not (path / 'ran').exists()


def test_bit_flips(path):
    """Every bit of the values, and one of each byte of the files."""
    latest = path / 'latest.json'
    folder = path / json.loads(latest.read_text())['folder']
    for file in (latest, *sorted(folder.glob('*.safetensors'))):
        content = file.read_bytes()
        for i in range(len(content)):
            flipped = bytearray(content)
            flipped[i] ^= 1 << (i % 8)
            file.write_bytes(flipped)
            try:
                tensors, metadata = load_sharded(path)
            except (CheckpointError, FormatError):
                continue
            # White space between values has no meaning.
            assert content[i:i + 1].isspace()
            assert torch.equal(tensors['a'], A) and tensors['step'] == 3
            assert metadata == {'x': [0.1, None]}
        file.write_bytes(content)
