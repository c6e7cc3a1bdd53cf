"""All readers accept regular files only."""

import os

import pytest
import torch

from pyg_mmkgc.config import load_config
from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.errors import DataError, FormatError, MMKGCError
from pyg_mmkgc.features.folder import load_feature_folder
from pyg_mmkgc.features.sources import read_table
from pyg_mmkgc.io import (
    download,
    extract,
    load_features,
    load_tensors,
    read_json,
    save_tensors,
    seal,
    write_json,
)
from pyg_mmkgc.io.openke import read_names
from pyg_mmkgc.io.reading import as_path, open_file, user_path
from pyg_mmkgc.nn import TransE
from pyg_mmkgc.runs import Run

READERS = {
    'JSON': read_json,
    'tensors': load_tensors,
    'features': load_features,
    'graph': KnowledgeGraph.load,
    'triples': KnowledgeGraph.from_tsv,
    'names': read_names,
    'table': lambda path: read_table(path, 'text'),
    'archive': lambda path: extract(path, str(path) + '-out'),
    'configuration': load_config,
}
SUFFIX = {'features': '.npy', 'table': '.tsv', 'configuration': '.yaml'}


@pytest.mark.parametrize('name', list(READERS))
def test_a_pipe_is_not_waited_for(name, tmp_path):
    path = tmp_path / f'x{SUFFIX.get(name, "")}'
    os.mkfifo(path)
    with pytest.raises(MMKGCError, match='pipe or device|got none'):
        READERS[name](str(path))


@pytest.mark.parametrize('name', list(READERS))
def test_a_device_has_no_end(name, tmp_path):
    """An archive may hold a link to an endless device."""
    path = tmp_path / f'x{SUFFIX.get(name, "")}'
    path.symlink_to('/dev/zero')
    with pytest.raises(MMKGCError, match='pipe or device|got none'):
        READERS[name](str(path))


@pytest.mark.parametrize('name', ['config.json', 'labels.json',
                                  'manifest.json', 'model.safetensors'])
def test_a_pipe_in_the_folder_of_a_model(name, tmp_path):
    TransE(5, 2, 3).save_pretrained(tmp_path)
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    with pytest.raises(MMKGCError, match=name):
        TransE.from_pretrained(tmp_path)


NO_PATHS = ['a\0b', 'a\ud800b', '\0', b'bytes', 5, None]
USERS = {
    **READERS,
    'model': TransE.from_pretrained,
    'run': Run.open,
    'feature folder': load_feature_folder,
    'download': lambda path: download('http://127.0.0.1:1/x', path, '0' * 64,
                                      retries=0),
    'write': lambda path: write_json(path, {}),
    'save': lambda path: save_tensors(path, {}),
    'seal': seal,
    'target': lambda path: extract('none', path),
}


@pytest.mark.parametrize('path', NO_PATHS)
@pytest.mark.parametrize('name', list(USERS))
def test_no_path(name, path):
    if name == 'configuration' and not isinstance(path, str):
        pytest.skip('its name is a text')
    with pytest.raises(MMKGCError):
        USERS[name](path if not isinstance(path, str) or name
                    != 'configuration' else f'{path}.yaml')


def test_paths(tmp_path, monkeypatch):
    assert as_path(tmp_path) == tmp_path
    monkeypatch.setenv('HOME', str(tmp_path))
    assert user_path('~/x') == tmp_path / 'x'
    with pytest.raises(DataError, match='Expected the path of a file'):
        user_path('~nobody-of-this-name/x')
    with pytest.raises(FormatError, match='got a folder'):
        open_file(tmp_path)
    with pytest.raises(FileNotFoundError):
        open_file(tmp_path / 'none')
    torch.save(torch.ones(2, 3), tmp_path / 'x.pth')
    (tmp_path / 'link.pth').symlink_to(tmp_path / 'x.pth')
    assert load_features(tmp_path / 'link.pth').shape == (2, 3)
