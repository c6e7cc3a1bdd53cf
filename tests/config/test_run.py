"""Where the code of a run came from."""

import json
from types import SimpleNamespace

import pytest

from pyg_mmkgc.config import run

COMMIT = '0123456789abcdef0123456789abcdef01234567'
VCS = {'url': 'https://example.org/x.git',
       'vcs_info': {'vcs': 'git', 'commit_id': COMMIT}}


@pytest.mark.parametrize('text, commit', [
    (json.dumps(VCS), COMMIT),
    (json.dumps({'url': 'file:///x', 'dir_info': {}}), None),
    (None, None),
], ids=['git', 'folder', 'index'])
def test_commit_of_an_installation(text, commit, tmp_path, monkeypatch):
    monkeypatch.setattr(run, '__file__', str(tmp_path / 'a' / 'b' / 'run.py'))
    monkeypatch.setattr(
        run.metadata, 'distribution', lambda name: SimpleNamespace(
            read_text=lambda file: text))
    assert run._commit() == commit
