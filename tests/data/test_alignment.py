from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pyg_mmkgc.data.alignment import align_features, find_table
from pyg_mmkgc.errors import DataError, FormatError

NAMES = ['c', 'a', 'd/e', 'b']


def check(features: Any, dtype: torch.dtype = torch.float) -> None:
    x, mask = align_features('visual', features, NAMES)
    assert x.tolist() == [[5, 6], [1, 2], [0, 0], [3, 4]]
    assert x.dtype == dtype
    assert mask.tolist() == [True, True, False, True]


@pytest.mark.parametrize('make', [list, np.array, torch.tensor])
def test_align_dict(make: Any) -> None:
    values = {'a': [1., 2.], 'b': [3., 4.], 'c': [5., 6.]}
    features = {label: make(value) for label, value in values.items()}
    check(features, torch.double if make is np.array else torch.float)


def test_align_npz(tmp_path: Path) -> None:
    path = tmp_path / 'visual.npz'
    values = {'a': [1, 2], 'b': [3, 4], 'c': [5, 6]}
    np.savez(path, **{k: np.array(v, np.float16) for k, v in values.items()})
    check(path, torch.half)
    check(str(path), torch.half)
    np.savez(path, **{'d/e': np.ones(2)})
    assert align_features('m', path, NAMES)[1].tolist() == [False, False,
                                                            True, False]


def test_align_safetensors(tmp_path: Path) -> None:
    save_file({'text': torch.tensor([[3., 4.], [5., 6.], [1., 2.]])},
              tmp_path / 'text.safetensors')
    (tmp_path / 'labels.txt').write_text('b\nc\na\n')
    check(tmp_path / 'text.safetensors')


def test_align_folder(tmp_path: Path) -> None:
    folder = tmp_path / 'visual'
    folder.mkdir()
    assert find_table(folder) == folder / 'features.safetensors'
    with pytest.raises(DataError, match="'visual.*got no file.*features.saf"):
        align_features('visual', folder, NAMES)
    table = folder / 'features.safetensors'
    save_file({'x': torch.tensor([[3., 4.], [5., 6.], [1., 2.]])}, table)
    (folder / 'labels.txt').write_text('b\nc\na\n')
    assert find_table(table) is None  # Without labels.
    (folder / 'manifest.json').write_text('{}')
    assert find_table(table) == table
    for path in [folder, str(folder), table]:
        check(path)
    (folder / 'manifest.json').write_text('[]')
    with pytest.raises(FormatError, match='manifest of features .got list'):
        check(folder)


def several(folder: Path, **more: Any) -> Path:
    """Writes three rows of b, none of z, one of c and two of a."""
    tensors = {'x': torch.arange(1., 13.).view(6, 2),
               'ptr': torch.tensor([0, 3, 3, 4, 6])} | more
    save_file(tensors, folder / 'features.safetensors')
    (folder / 'labels.txt').write_text('b\nz\nc\na\n')
    return folder


def test_align_several_rows_per_label(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="1 of 4 labels that are not: 'z'"):
        x, mask = align_features('visual', several(tmp_path), NAMES)
    o = [0, 0]
    assert x.tolist() == [[[7, 8], o, o], [[9, 10], [11, 12], o], [o, o, o],
                          [[1, 2], [3, 4], [5, 6]]]
    assert mask.tolist() == [[True, False, False], [True, True, False],
                             [False] * 3, [True] * 3]
    # The width depends on the nodes of this graph.
    half = several(tmp_path, x=torch.ones(6, 2, dtype=torch.half))
    with pytest.warns(UserWarning, match="1 of 4.*'b'"):
        x, mask = align_features('visual', half, ['z', 'c', 'q', 'a'])
    assert x.shape == (4, 2, 2) and x.dtype == torch.half
    assert mask.sum(dim=1).tolist() == [0, 1, 0, 2]
    with (pytest.warns(UserWarning), pytest.raises(
            DataError, match='only for labels that are not nodes')):
        align_features('visual', half, ['z'])


@pytest.mark.parametrize('ptr, message', [
    ([0, 3, 2, 4, 6], "'ptr' to increase from 0 to 6.*got torch"),
    ([1, 3, 3, 4, 6], "'ptr' to increase"),
    ([0, 3, 3, 4, 7], "'ptr' to increase"),
    ([[0, 3, 3, 4, 6]], "'ptr' to increase"),
    ([0., 3., 3., 4., 6.], "'ptr' to increase"),
    ([], "'ptr' to increase"),
    ([0, 3, 6], 'Expected 2 labels in .*labels.txt.*got 4'),
])
def test_bad_pointers(ptr: list, message: str, tmp_path: Path) -> None:
    several(tmp_path, ptr=torch.tensor(ptr))
    with pytest.raises(FormatError, match=message):
        align_features('visual', tmp_path, NAMES)


def test_unknown_labels_warn_once() -> None:
    features = {label: [1.0] for label in 'avwxyz'}
    with pytest.warns(UserWarning) as record:
        x, mask = align_features('visual', features, NAMES)
    assert [str(w.message) for w in record] == [
        "Expected every label in the features of modality 'visual' to be a "
        "node (got 5 of 6 labels that are not: 'v', 'w', 'x', ...). They are "
        'ignored.']
    assert mask.sum() == 1 and x[1] == 1.0
    with pytest.raises(DataError, match='got 1 labels, none .* is a node'):
        align_features('visual', {'z': [1.0]}, NAMES)


@pytest.mark.parametrize('features, message', [
    ({}, 'Expected vectors .*got none'),
    ({'a': [1., 2.], 'b': [1.]}, "2 channels for 'b'.*got 1"),
    ({'a': [1, 2]}, "vector of floats for 'a'.*got torch.int64"),
    ({'a': 1.0}, r"vector of floats for 'a'.*shape \[\]"),
    ({'a': [[1.0]]}, r'shape \[1, 1\]'),
    ({'a': []}, r'shape \[0\]'),
    ({'a': 'text'}, "a vector for 'a'.*got an error"),
    ({'a': None}, "a vector for 'a'.*got an error"),
    ({'a': np.array([None])}, "a vector for 'a'.*got an error"),
    ('features.pth', "got no file or folder 'features.pth'"),
    (__file__, 'a dict, an .npz or a .safetensors .*got ..py'),
    (torch.ones(3, 2), 'a vector per label or the path .*got Tensor'),
])
def test_bad_features(features: Any, message: str) -> None:
    with pytest.raises(DataError, match=message) as info:
        align_features('visual', features, NAMES)
    assert "modality 'visual'" in str(info.value)


def test_bad_files(tmp_path: Path) -> None:
    npz, table = tmp_path / 'v.npz', tmp_path / 'v.safetensors'
    labels = tmp_path / 'labels.txt'
    npz.write_bytes(b'<html>not found</html>')
    with pytest.raises(FormatError, match=r'v\.npz.*got an error'):
        align_features('v', npz, NAMES)
    np.save(tmp_path / 'v.npy', np.ones(2))
    npz.write_bytes((tmp_path / 'v.npy').read_bytes())
    with pytest.raises(FormatError, match='got an error'):
        align_features('v', npz, NAMES)
    np.savez(npz, a=np.array([object()]))  # A pickle must not run.
    with pytest.raises(FormatError, match='got an error'):
        align_features('v', npz, NAMES)

    table.write_bytes(b'<html>not found</html>')
    with pytest.raises(FormatError, match=r'v\.safetensors'):
        align_features('v', table, NAMES)
    save_file({'a': torch.ones(2, 2), 'b': torch.ones(2, 2)}, table)
    with pytest.raises(FormatError, match=r"one tensor.*got \['a', 'b'\]"):
        align_features('v', table, NAMES)
    save_file({'a': torch.ones(2)}, table)
    with pytest.raises(FormatError, match=r'a table of floats .* \[2\]'):
        align_features('v', table, NAMES)
    save_file({'a': torch.ones(2, 3)}, table)
    with pytest.raises(FileNotFoundError, match=r'labels\.txt'):
        align_features('v', table, NAMES)
    for content in ['a\n', 'a\nb\nc\n']:
        labels.write_text(content)
        with pytest.raises(FormatError, match='2 labels in .*labels.txt.*got'):
            align_features('v', table, NAMES)
    labels.write_text('a\na\n')
    with pytest.raises(FormatError, match="got 'a' in row 2 and row 1"):
        align_features('v', table, NAMES)
