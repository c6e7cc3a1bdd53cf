import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pyg_mmkgc.data.alignment import align_features
from pyg_mmkgc.errors import DataError, FormatError
from pyg_mmkgc.features import extract, load_feature_folder
from pyg_mmkgc.features.folder import write_safetensors

from .tiny import CharacterEncoder, texts


@pytest.mark.parametrize('dtype', [torch.float, torch.half, torch.bfloat16])
def test_streamed_file_is_safetensors(tmp_path: Path,
                                      dtype: torch.dtype) -> None:
    x, ptr = torch.randn(7, 3).to(dtype), torch.tensor([0, 4, 7])
    path = tmp_path / 'a.safetensors'
    sha256 = write_safetensors(
        path, {'ptr': (torch.long, ptr.shape), 'x': (dtype, x.shape)},
        [ptr, x[:2], x[2:2], x[2:]])
    found = load_file(path)
    assert torch.equal(found['x'], x)
    assert torch.equal(found['ptr'], ptr)
    content = path.read_bytes()
    assert sha256 == hashlib.sha256(content).hexdigest()
    assert int.from_bytes(content[:8], 'little') % 8 == 0  # As of its spec.


def test_wrong_number_of_rows_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match='Expected 36 bytes .*got 24 bytes'):
        write_safetensors(tmp_path / 'a.safetensors',
                          {'x': (torch.float, (3, 3))}, [torch.ones(2, 3)])
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    items = texts(('b', 'abc'), ('a', 'aab'), ('b', 'ccc'))
    extract(items, CharacterEncoder(), tmp_path, pool='all', num_workers=0,
            progress=False)
    return tmp_path


def test_load(folder: Path) -> None:
    features = load_feature_folder(folder)
    assert features.labels == ['a', 'b']
    assert features.x.tolist() == [[2, 1, 0], [1, 1, 1], [0, 0, 3]]
    assert features.ptr is not None and features.ptr.tolist() == [0, 1, 3]
    assert features.kind == 'text'
    assert features.mask(['x', 'b', 'a', 'y']).tolist() == [
        False, True, True, False]


def test_incomplete(folder: Path) -> None:
    (folder / 'manifest.json').unlink()
    with pytest.raises(DataError, match='complete features'):
        load_feature_folder(folder)
    with pytest.raises(DataError, match='complete features'):
        load_feature_folder(folder / 'nothing')


def test_files_that_do_not_fit(folder: Path) -> None:
    path = folder / 'labels.txt'
    path.write_text('a\nb\nc\n')
    with pytest.raises(FormatError, match='2 rows, 3 labels and 2 rows'):
        load_feature_folder(folder)
    path.write_bytes(b'a\n\xff\n')
    with pytest.raises(FormatError, match=r'UTF-8 in .*labels\.txt'):
        load_feature_folder(folder)
    path.write_text('a\nb\n')
    path = folder / 'features.safetensors'
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    with pytest.raises(FormatError, match='complete safetensors'):
        load_feature_folder(folder)
    write_safetensors(path, {'x': (torch.float, (3, 2))}, [torch.ones(3, 2)])
    with pytest.raises(FormatError, match="'x' with 3 channels"):
        load_feature_folder(folder)


@pytest.mark.parametrize('change', [
    {'format': 'other'}, {'version': 2}])
def test_foreign_manifest(folder: Path, change: dict[str, object]) -> None:
    path = folder / 'manifest.json'
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(FormatError, match="'pyg_mmkgc.features', version 1"):
        load_feature_folder(folder)


def flip(path: Path) -> None:
    """Changes one number of a table, so that the file remains complete."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 0x40
    path.write_bytes(data)


def test_a_table_that_has_changed(folder: Path) -> None:
    flip(folder / 'features.safetensors')
    message = "features.safetensors' to have the SHA-256 .* extract the"
    with pytest.raises(FormatError, match=message):
        load_feature_folder(folder)
    items = texts(('b', 'abc'), ('a', 'aab'), ('b', 'ccc'))
    with pytest.raises(FormatError, match=message):
        extract(items, CharacterEncoder(), folder, pool='all', num_workers=0,
                progress=False)
    for path in (folder, folder / 'features.safetensors'):
        with pytest.raises(FormatError, match=message):
            align_features('text', path, ['a', 'b'])


def test_labels_are_verified(folder: Path) -> None:
    """Swapped labels would assign features to the wrong nodes."""
    (folder / 'labels.txt').write_text('b\na\n')
    message = "labels.txt' to have the SHA-256"
    with pytest.raises(FormatError, match=message):
        load_feature_folder(folder)
    with pytest.raises(FormatError, match=message):
        align_features('text', folder, ['a', 'b'])
    # An earlier version did not write their SHA-256.
    path = folder / 'manifest.json'
    manifest = json.loads(path.read_text())
    del manifest['labels_sha256']
    path.write_text(json.dumps(manifest))
    assert load_feature_folder(folder).labels == ['b', 'a']


@pytest.mark.parametrize('change', [
    {'encoder': 'x'}, {'encoder': {}}, {'encoder': {'kind': 5}},
    {'num_rows': '2'}, {'entities': []}, {'entities': {'a': 5}},
    {'entities': {'a': {'unusable': [5]}}}, {'unknown': 5},
    {'without': [5]}, {'features_sha256': 5}, {'labels_sha256': ['x']}])
def test_hostile_manifests(folder: Path, change: dict[str, object]) -> None:
    path = folder / 'manifest.json'
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(FormatError, match='manifest.json'):
        load_feature_folder(folder)


@pytest.mark.parametrize('ptr', [[0, 1, 2], [1, 2, 3], [0, 4, 3], [0.0, 1, 3],
                                 [[0, 1, 3]]])
def test_hostile_boundaries(folder: Path, ptr: list[float]) -> None:
    path = folder / 'features.safetensors'
    save_file({'x': torch.ones(3, 3), 'ptr': torch.tensor(ptr)}, path)
    with pytest.raises(FormatError, match="'ptr' to rise from 0 to 3"):
        load_feature_folder(folder)
