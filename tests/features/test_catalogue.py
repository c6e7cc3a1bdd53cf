from typing import Any

import pytest

from pyg_mmkgc.errors import DataError
from pyg_mmkgc.features import catalogue, make_encoder


class Recorder:
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.args, self.kwargs = args, kwargs


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    for library in catalogue._CLASSES:
        monkeypatch.setitem(catalogue._CLASSES, library, type(
            library, (Recorder, ), {}))


@pytest.mark.parametrize('name', [
    *catalogue.ENCODERS, 'timm:resnet50', 'transformers:my/folder',
    'bert:bert-large-cased', 'sentence-transformers:C:/models/x'])
def test_names(recorded: None, name: str) -> None:
    encoder: Any = make_encoder(name, device='cuda:1')
    full = catalogue.ENCODERS.get(name, name)
    library, model = full.split(':', 1)
    assert type(encoder).__name__ == library
    assert encoder.args == (model, )
    assert encoder.kwargs == {'device': 'cuda:1'}


def test_revision(recorded: None) -> None:
    encoder: Any = make_encoder('clip', revision='v1')
    assert encoder.kwargs == {'device': 'cpu', 'revision': 'v1'}
    with pytest.raises(DataError, match='@revision'):
        make_encoder('vgg16', revision='v1')


@pytest.mark.parametrize('name', ['clipp', 'timm:', 'timm', ':x', ''])
def test_unknown(name: str) -> None:
    with pytest.raises(DataError, match="descriptor.*timm.*got '"):
        make_encoder(name)


def test_without_weights() -> None:
    assert make_encoder('descriptor').kind == 'image'
    pytest.importorskip('sklearn')
    assert make_encoder('hashing').kind == 'text'
