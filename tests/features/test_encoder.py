from functools import partial
from pathlib import Path

import pytest
import torch

from pyg_mmkgc.errors import DataError
from pyg_mmkgc.features import Encoder, FunctionEncoder, Item
from pyg_mmkgc.features.encoder import as_encoder

from .tiny import CharacterEncoder, ConvEncoder

IMAGE, TEXT = Item('a', Path('1.png'), ''), Item('a', 'text', '')


def test_protocol() -> None:
    assert isinstance(CharacterEncoder(), Encoder)
    assert isinstance(FunctionEncoder(len, 'text'), Encoder)
    assert not isinstance(len, Encoder)
    encoder = ConvEncoder()
    assert as_encoder(encoder, [IMAGE]) is encoder


@pytest.mark.parametrize('item, kind', [(IMAGE, 'image'), (TEXT, 'text')])
def test_function(item: Item, kind: str) -> None:
    encoder = as_encoder(lambda batch: torch.ones(len(batch), 2), [item])
    assert encoder.kind == kind
    assert encoder.prepare('same') == 'same'
    assert encoder.encode([1, 2, 3]).shape == (3, 2)
    assert encoder.describe()['name'].endswith('<lambda>')
    assert as_encoder(partial(len), [item]).describe() == {
        'name': 'functools.partial'}


def test_text_encoder_takes_files() -> None:
    assert as_encoder(CharacterEncoder(), [IMAGE, TEXT]).kind == 'text'


def test_errors() -> None:
    with pytest.raises(DataError, match=r'files of images \(got 1 texts'):
        as_encoder(ConvEncoder(), [IMAGE, TEXT])
    with pytest.raises(DataError, match='got str'):
        as_encoder('clip', [IMAGE])
    encoder = ConvEncoder()
    encoder.kind = 'sound'
    with pytest.raises(DataError, match="got 'sound'"):
        as_encoder(encoder, [IMAGE])
