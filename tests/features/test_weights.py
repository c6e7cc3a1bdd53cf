import sys
from typing import Any

import pytest
import torch

from pyg_mmkgc.errors import DownloadError, MMKGCError
from pyg_mmkgc.features.weights import (
    describe_weights,
    from_hub,
    load_library,
    model_name,
)


class Hub:
    """Loads models like transformers, from the cache or the network."""
    def __init__(self, cached: bool, online: bool) -> None:
        self.cached, self.online = cached, online
        self.asked: list[bool] = []

    def __call__(self, name: str, revision: str | None,
                 local_files_only: bool) -> str:
        self.asked.append(local_files_only)
        if not (self.cached if local_files_only else self.online):
            raise OSError('could not connect')
        return f'{name}@{revision}'


def test_network_only_if_it_must_be() -> None:
    hub = Hub(cached=True, online=True)
    assert from_hub(hub, 'a/b', 'v1') == 'a/b@v1'
    assert hub.asked == [True]
    hub = Hub(cached=False, online=True)
    assert from_hub(hub, 'a/b', 'v1') == 'a/b@v1'
    assert hub.asked == [True, False]


def test_offline_without_weights(tmp_path: Any) -> None:
    hub = Hub(cached=False, online=False)
    with pytest.raises(DownloadError, match="'a/b'.*could not connect.*pass "
                       "the folder .* 'descriptor'"):
        from_hub(hub, 'a/b', None)
    hub = Hub(cached=False, online=True)
    with pytest.raises(DownloadError, match='folder with a complete model.*'
                                            'could not be loaded'):
        from_hub(hub, str(tmp_path), None)
    assert hub.asked == [True]


def test_weights() -> None:
    model = torch.nn.Linear(2, 2)
    before = describe_weights(model)
    assert before['revision'] is None
    assert describe_weights(model) == before
    model.weight.data[0, 0] += 1
    assert describe_weights(model)['weights_sha256'] != (
        before['weights_sha256'])

    class Config:
        _commit_hash = 'abc'

    model.config = Config()
    assert describe_weights(torch.nn.Sequential(model))['revision'] == 'abc'


def test_names_do_not_hold_a_place(tmp_path: Any) -> None:
    (tmp_path / 'my-model').mkdir()
    assert model_name('x', str(tmp_path / 'my-model')) == 'x:my-model'
    assert model_name('x', 'user/model') == 'x:user/model'
    assert model_name('x', torch.nn.Linear(1, 1)) == 'x:Linear'


def test_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_library('json').__name__ == 'json'
    monkeypatch.setitem(sys.modules, 'timm', None)
    with pytest.raises(MMKGCError, match="Expected 'timm'.*pip install"):
        load_library('timm')

    def broken(name: str) -> None:
        raise RuntimeError('operator torchvision::nms does not exist')

    monkeypatch.setattr('pyg_mmkgc.features.weights.import_module', broken)
    with pytest.raises(MMKGCError, match='torchvision::nms.*same index'):
        load_library('timm')
