import os

import numpy as np
import pytest
import safetensors.torch
import torch

from pyg_mmkgc.datasets import DB15K, MKGW
from pyg_mmkgc.errors import (
    ConfigError,
    DataError,
    DownloadError,
    FormatError,
)


def edges(data):
    return torch.cat([data.edge_index, data.edge_type[None]]).t().tolist()


def rows(text):
    return [[int(i) for i in row.split()] for row in text.split('\n')[1:-1]]


def snapshot(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob('*')}


@pytest.mark.parametrize('layout', ['MKG-W', 'MKG-W/raw'])
def test_both_layouts(tmp_path, write, small, layout):
    write(tmp_path / layout)
    before = snapshot(tmp_path)
    dataset = MKGW(tmp_path, features='none')
    data = dataset[0]
    for split, file in [('train', 'train'), ('val', 'valid'),
                        ('test', 'test')]:
        assert edges(data.split(split)) == rows(small[f'{file}2id.txt'])
    assert data.num_nodes == 12 and data.num_relations == 3
    assert data.node_names == [f'node {i}' for i in range(12)]
    assert data.relation_names == [f'relation{i}' for i in range(3)]
    assert data.modalities == []
    assert 'selection_refused' not in data
    if layout == 'MKG-W':
        assert snapshot(tmp_path) == before
    else:
        assert sorted(os.listdir(tmp_path / 'MKG-W' / 'processed')) == [
            'graph-none.json', 'graph-none.safetensors'
        ]
        again = MKGW(str(tmp_path), features='none')[0]
        assert again.to_dict().keys() == data.to_dict().keys()
        assert edges(again) == edges(data)


def test_a_read_only_root(tmp_path, write, monkeypatch):
    write(tmp_path / 'MKG-W' / 'raw')
    before = snapshot(tmp_path)
    monkeypatch.setattr(os, 'access', lambda path, mode: mode != os.W_OK)
    assert MKGW(tmp_path, features='none')[0].num_edges == 41
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize('layout', ['MKG-W', 'MKG-W/raw'])
def test_labels(tmp_path, write, layout):
    folder = write(tmp_path / layout)
    names = MKGW(tmp_path, features='none')[0].node_names
    labels = [f'Label {i}' for i in range(12)]
    (folder / 'labels.txt').write_text('\n'.join(labels) + '\n')
    # Other labels need another processed file.
    assert MKGW(tmp_path, features='none')[0].node_names == labels
    (folder / 'labels.txt').write_text('\n'.join(labels[::-1]) + '\n')
    os.utime(folder / 'labels.txt', ns=(0, 0))
    assert MKGW(tmp_path, features='none')[0].node_names == labels[::-1]
    (folder / 'labels.txt').unlink()
    assert MKGW(tmp_path, features='none')[0].node_names == names
    (folder / 'labels.txt').write_text('\n'.join(labels[1:]) + '\n')
    with pytest.raises(FormatError, match=r'12.*labels\.txt.*got 11'):
        MKGW(tmp_path, features='none')


@pytest.mark.parametrize('layout', ['MKG-W', 'MKG-W/raw'])
def test_another_version_of_a_file(tmp_path, write, small, layout):
    changed = small['test2id.txt'].replace('2 7 1', '2 8 1')
    write(tmp_path / layout, **{'test2id.txt': changed})
    with pytest.raises(FormatError, match=r'test2id\.txt.*SHA-256'):
        MKGW(tmp_path, features='none')


def test_an_incomplete_folder(tmp_path, write):
    folder = write(tmp_path / 'MKG-W')
    os.unlink(folder / 'relation2id.txt')
    with pytest.raises(DataError, match=r'relation2id\.txt.*got no such file'):
        MKGW(tmp_path, features='none')


def test_what_a_killed_download_left(tmp_path, write):
    raw = write(tmp_path / 'MKG-W' / 'raw')
    (raw / '.train2id.txt.0123abcd.tmp').write_text('half')
    (raw / '.features.0123abcd.tmp' / 'files').mkdir(parents=True)
    MKGW(tmp_path, features='none')
    assert not [path for path in raw.iterdir() if path.name[0] == '.']


def test_missing_files_are_downloaded(tmp_path, write, small, monkeypatch):
    def fetch(url, path, sha256, size):
        calls.append(url)
        with open(path, 'w') as file:
            file.write(small[os.path.basename(path)])

    calls = []
    monkeypatch.setattr('pyg_mmkgc.datasets.openke.download', fetch)
    folder = write(tmp_path / 'MKG-W' / 'raw')
    os.unlink(folder / 'train2id.txt')
    os.unlink(folder / 'valid2id.txt')
    assert MKGW(tmp_path, features='none')[0].num_edges == 41
    base = ('https://raw.githubusercontent.com/zjukg/AdaMF-MAT/main/'
            'benchmarks/MKG-W/')
    assert calls == [f'{base}train2id.txt', f'{base}valid2id.txt']
    MKGW(tmp_path, features='none', force_reload=True)
    assert len(calls) == 2


def test_no_network(tmp_path, small, monkeypatch):
    def fetch(url, path, sha256, size):
        raise DownloadError(f'{url}: no network')

    monkeypatch.setattr('pyg_mmkgc.datasets.openke.download', fetch)
    with pytest.raises(DownloadError, match='no network'):
        MKGW(tmp_path, features='none')


# Features ####################################################################


def save(path, x):
    if path.suffix == '.pth':
        torch.save(x, path)
    elif path.suffix == '.npy':
        np.save(path, x.numpy())
    else:
        safetensors.torch.save_file({'x': x}, path)


@pytest.mark.parametrize('layout', ['MKG-W', 'MKG-W/raw'])
@pytest.mark.parametrize('visual, text', [
    ('MKG-W-visual.pth', 'MKG-W-textual.pth'),
    ('visual.safetensors', 'text.npy'),
    (None, 'text.safetensors'),
    ('visual.npy', None),
])
def test_features_that_are_there(tmp_path, write, layout, visual, text):
    folder = write(tmp_path / layout)
    tables = {'visual': torch.randn(12, 5), 'text': torch.randn(12, 3).half()}
    for key, name in [('visual', visual), ('text', text)]:
        if name is None:
            del tables[key]
        else:
            save(folder / name, tables[key])
    for _ in range(2):
        data = MKGW(tmp_path)[0]
        assert data.modalities == list(tables)
        for key, x in tables.items():
            assert torch.equal(data[f'x_{key}'], x)
            assert data[f'x_{key}'].dtype == x.dtype
    assert MKGW(tmp_path, features='none')[0].modalities == []


def test_the_name_of_the_authors_comes_first(tmp_path, write):
    folder = write(tmp_path / 'MKG-W')
    save(folder / 'text.npy', torch.ones(12, 3))
    save(folder / 'MKG-W-textual.pth', torch.ones(12, 4))
    assert MKGW(tmp_path)[0].x_text.size(1) == 4


@pytest.mark.parametrize('layout', ['MKG-W', 'MKG-W/raw'])
def test_features_that_are_given(tmp_path, write, layout):
    folder = write(tmp_path / layout)
    save(folder / 'text.npy', torch.zeros(12, 3))
    save(tmp_path / 'mine.pth', torch.ones(12, 4))
    x = torch.randn(12, 2, dtype=torch.double)
    features = {'audio': x, 'text': tmp_path / 'mine.pth'}
    for _ in range(2):
        data = MKGW(tmp_path, features=features)[0]
        assert data.modalities == ['audio', 'text']
        assert torch.equal(data.x_audio, x.float())
        assert torch.equal(data.x_text, torch.ones(12, 4))


@pytest.mark.parametrize('layout', ['MKG-W', 'MKG-W/raw'])
def test_a_folder_of_features(tmp_path, write, layout):
    write(tmp_path / layout)
    x = torch.randn(4, 3).half()
    folder = tmp_path / 'visual'
    folder.mkdir()
    (folder / 'labels.txt').write_text('node 7\nnode 0\nnode 11\n')
    (folder / 'manifest.json').write_text('{}')
    table = folder / 'features.safetensors'
    safetensors.torch.save_file({'x': x[:3]}, table)
    for source in [folder, str(folder), table, table]:
        data = MKGW(tmp_path, features={'visual': source})[0]
        assert torch.equal(data.x_visual[[7, 0, 11]], x[:3])
        assert data.mask_visual.nonzero().view(-1).tolist() == [0, 7, 11]
        assert not data.x_visual[~data.mask_visual].any()
    # Two rows of node 7, one of node 0 and one of node 11.
    ptr = torch.tensor([0, 2, 3, 4])
    safetensors.torch.save_file({'x': x, 'ptr': ptr}, table)
    data = MKGW(tmp_path, features={'visual': folder})[0]
    assert data.x_visual.shape == (12, 2, 3)
    assert torch.equal(data.x_visual[7], x[:2])
    assert data.mask_visual.sum(dim=1)[[7, 0, 11]].tolist() == [2, 1, 1]
    assert int(data.mask_visual.sum()) == 4

    table.unlink()
    with pytest.raises(DataError, match='visual.*got no .*or folder'):
        MKGW(tmp_path, features={'visual': folder})


def test_a_table_beside_labels_of_the_nodes_is_read_by_row(tmp_path, write):
    """In the folder of the raw files, the labels name the nodes."""
    folder = write(tmp_path / 'MKG-W')
    (folder / 'labels.txt').write_text(''.join(f'n{i}\n' for i in range(12)))
    x = torch.randn(12, 3)
    for name in ('features.safetensors', 'text.safetensors'):
        safetensors.torch.save_file({'x': x}, folder / name)
        features = {'text': folder / name}
        data = MKGW(tmp_path, features=features)[0]
        assert torch.equal(data.x_text, x) and 'mask_text' not in data
    assert torch.equal(MKGW(tmp_path)[0].x_text, x)


def feature_folder(folder, labels, x):
    """A folder as `mmkgc features` writes it."""
    folder.mkdir()
    (folder / 'labels.txt').write_text(''.join(f'{x}\n' for x in labels))
    (folder / 'manifest.json').write_text('{}')
    safetensors.torch.save_file({'x': x}, folder / 'features.safetensors')


@pytest.mark.parametrize('layout', ['MKG-W', 'MKG-W/raw'])
def test_any_number_of_modalities_by_name(tmp_path, write, layout):
    """Keys are labels or identifiers, and rows without a key follow ids."""
    folder = write(tmp_path / layout)
    (folder / 'labels.txt').write_text(''.join(f'L{i}\n' for i in range(12)))
    x = torch.randn(3, 4)
    feature_folder(folder / 'caption', ['node 7', 'node 0', 'node 11'], x)
    feature_folder(folder / 'numeric', ['L3', 'node 4'], x[:2])
    save(folder / 'text.npy', torch.ones(12, 3))
    save(folder / 'MKG-W-audio.pth', torch.full((12, 2), 2.0))
    np.savez(folder / 'pose.npz', **{'L2': np.ones(3, dtype=np.float32)})
    (folder / 'caption.tsv').write_text('node 7\ta caption\n')
    (folder / 'notes').mkdir()
    for _ in range(2):
        data = MKGW(tmp_path)[0]
        assert data.modalities == ['text', 'audio', 'caption', 'numeric',
                                   'pose']
        masks = {name: mask.nonzero().view(-1).tolist()
                 for name, mask in data.masks().items()}
        assert masks == {'text': [*range(12)], 'audio': [*range(12)],
                         'caption': [0, 7, 11], 'numeric': [3, 4],
                         'pose': [2]}
        assert torch.equal(data.x_caption[[7, 0, 11]], x)
        assert torch.equal(data.x_numeric[[3, 4]], x[:2])
    some = MKGW(tmp_path, features=['numeric', 'text'])[0]
    assert some.modalities == ['numeric', 'text']
    assert torch.equal(some.x_numeric, data.x_numeric)


def test_a_folder_comes_before_a_file(tmp_path, write):
    folder = write(tmp_path / 'MKG-W')
    save(folder / 'text.npy', torch.ones(12, 3))
    feature_folder(folder / 'text', ['node 1'], torch.ones(1, 5))
    assert MKGW(tmp_path)[0].x_text.size(1) == 5
    save(folder / 'MKG-W-textual.pth', torch.ones(12, 4))
    assert MKGW(tmp_path)[0].x_text.size(1) == 4


def test_a_modality_that_is_not_there(tmp_path, write):
    folder = write(tmp_path / 'MKG-W')
    save(folder / 'text.npy', torch.ones(12, 3))
    (folder / 'caption.tsv').write_text('node 7\ta caption\n')
    with pytest.raises(DataError) as info:
        MKGW(tmp_path, features=['text', 'caption'])
    for part in ["modality 'caption'", 'got text',
                 f'mmkgc features texts {folder / "caption.tsv"}']:
        assert part in str(info.value)
    (folder / 'text.npy').unlink()
    with pytest.raises(DataError, match='got none.*mmkgc features numbers'):
        MKGW(tmp_path)


def test_an_interrupted_extraction(tmp_path, write):
    folder = write(tmp_path / 'MKG-W')
    save(folder / 'text.npy', torch.ones(12, 3))
    (folder / 'caption' / '.partial').mkdir(parents=True)
    with pytest.raises(DataError, match='caption.*got an interrupted'):
        MKGW(tmp_path)


def test_two_rows_of_a_node(tmp_path, write):
    folder = write(tmp_path / 'MKG-W')
    (folder / 'labels.txt').write_text(''.join(f'L{i}\n' for i in range(12)))
    feature_folder(folder / 'text', ['node 1', 'L1'], torch.ones(2, 5))
    with pytest.raises(DataError, match="'node 1' and 'L1'"):
        MKGW(tmp_path)


@pytest.mark.parametrize('layout', ['MKG-W', 'MKG-W/raw'])
@pytest.mark.parametrize('name', ['features', 'mine'])
def test_a_table_with_labels_of_its_own(tmp_path, write, layout, name):
    write(tmp_path / layout)
    folder = tmp_path / 'own'
    folder.mkdir()
    (folder / 'labels.txt').write_text(
        ''.join(f'node {i}\n' for i in reversed(range(12))))
    x = torch.randn(12, 3)
    path = folder / f'{name}.safetensors'
    safetensors.torch.save_file({'x': x}, path)
    data = MKGW(tmp_path, features={'text': str(path)})[0]
    assert torch.equal(data.x_text, x.flip(0))
    assert data.mask_text.all()


def test_other_features_make_another_graph(tmp_path, write):
    folder = write(tmp_path / 'MKG-W' / 'raw')
    for width in (3, 4):
        save(folder / 'text.npy', torch.ones(12, width))
        assert MKGW(tmp_path)[0].x_text.size(1) == width
    for value in (1, 2):
        features = {'text': torch.full((12, 3), float(value))}
        assert MKGW(tmp_path, features=features)[0].x_text[0, 0] == value


def test_files_of_the_same_name_size_and_time(tmp_path, write):
    write(tmp_path / 'MKG-W' / 'raw')
    for value in (1, 2):
        path = tmp_path / str(value) / 'text.npy'
        path.parent.mkdir()
        save(path, torch.full((12, 3), float(value)))
        os.utime(path, ns=(0, 0))
        data = MKGW(tmp_path, features={'text': path})[0]
        assert data.x_text[0, 0] == value


@pytest.mark.parametrize('layout', ['MKG-W', 'MKG-W/raw'])
def test_no_features(tmp_path, write, layout):
    folder = write(tmp_path / layout)
    with pytest.raises(DataError) as info:
        MKGW(tmp_path)
    for part in [str(folder), 'MKG-W-visual.pth', 'MKG-W-textual.pth',
                 "features='none'", 'download_features=True',
                 'drive.google.com']:
        assert part in str(info.value)


@pytest.mark.parametrize('size', [(11, 3), (13, 3)])
def test_rows_that_are_not_the_nodes(tmp_path, write, size):
    folder = write(tmp_path / 'MKG-W')
    save(folder / 'text.npy', torch.ones(size))
    with pytest.raises(DataError, match=rf'text\.npy.*\[12, .*\[{size[0]}, 3'):
        MKGW(tmp_path)
    with pytest.raises(DataError, match=r"given tensor.*'text'.*\[12, "):
        MKGW(tmp_path, features={'text': torch.ones(size)})


@pytest.mark.parametrize('x, message', [
    (torch.full((12, 3), float('nan')), 'x_text.*NaN'),
    (torch.ones(12, 3, dtype=torch.long), 'x_text.*floating'),
    (torch.ones(12), r'\[12, num_channels\]'),
])
def test_bad_tables(tmp_path, write, x, message):
    folder = write(tmp_path / 'MKG-W')
    with pytest.raises(DataError, match=message):
        MKGW(tmp_path, features={'text': x})
    torch.save(x, folder / 'text.pth')
    with pytest.raises(FormatError, match=r'text\.pth'):
        MKGW(tmp_path)


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path, )


def test_a_hostile_table(tmp_path, write):
    folder = write(tmp_path / 'MKG-W')
    torch.save(Evil(str(tmp_path / 'marker')), folder / 'MKG-W-visual.pth')
    with pytest.raises(FormatError, match=r'MKG-W-visual\.pth'):
        MKGW(tmp_path)
    assert not (tmp_path / 'marker').exists()


@pytest.mark.parametrize('layout', ['MKG-W', 'MKG-W/raw'])
def test_features_that_are_absent(tmp_path, write, layout):
    write(tmp_path / layout)
    with pytest.raises(DataError, match=r'absent\.pth'):
        MKGW(tmp_path, features={'text': tmp_path / 'absent.pth'})


@pytest.mark.parametrize('source', [np.ones((12, 3)), None])
def test_features_of_another_type(tmp_path, write, source):
    write(tmp_path / 'MKG-W')
    with pytest.raises(DataError, match="a path or a tensor .*'text' .got "
                       f'{type(source).__name__}'):
        MKGW(tmp_path, features={'text': source})


@pytest.mark.parametrize('bad', ['all', 'visual'])
def test_unknown_features(tmp_path, bad):
    with pytest.raises(ConfigError, match=f"'none'.*{bad}"):
        DB15K(tmp_path, features=bad)
