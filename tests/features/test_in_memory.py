"""Images and texts that are in memory instead of files."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pyg_mmkgc.errors import DataError
from pyg_mmkgc.features import (
    DescriptorEncoder,
    HashingEncoder,
    Item,
    extract,
    read_folder,
)

pytest.importorskip('PIL')
pytest.importorskip('skimage')
from PIL import Image  # noqa: E402


def picture(seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 16, 3))
    return Image.fromarray(pixels.astype(np.uint8))


def run(items: object, folder: Path, **kwargs):
    return extract(items, DescriptorEncoder(), folder, num_workers=0,
                   progress=False, **kwargs)


def test_images_and_arrays_are_as_good_as_files(tmp_path: Path) -> None:
    for name, seeds in (('ada', (0, 1)), ('bob', (2, ))):
        (tmp_path / 'files' / name).mkdir(parents=True)
        for seed in seeds:
            picture(seed).save(tmp_path / 'files' / name / f'{seed}.png')
    wanted = run(read_folder(tmp_path / 'files'), tmp_path / 'wanted')
    assert wanted.labels == ['ada', 'bob']
    for i, items in enumerate((
            {'ada': [picture(0), np.asarray(picture(1))], 'bob': picture(2)},
            {'bob': torch.from_numpy(np.array(picture(2))),
             'ada': [tmp_path / 'files/ada/0.png', picture(1)]},
            [Item('bob', picture(2), 'x'), Item('ada', picture(0), 'y'),
             Item('ada', np.asarray(picture(1)), 'z')])):
        out = run(items, tmp_path / str(i))
        assert out.labels == ['ada', 'bob']
        torch.testing.assert_close(out.x, wanted.x)
        assert out.manifest['num_items'] == 3


def test_modes(tmp_path: Path) -> None:
    grey = np.full((8, 8), 100, dtype=np.uint8)
    clear = np.zeros((8, 8, 4), dtype=np.uint8)  # Transparent, so white.
    out = run({'a': grey, 'b': Image.fromarray(grey).convert('RGB'),
               'c': clear, 'd': np.full((8, 8, 3), 255, dtype=np.uint8),
               'e': Image.fromarray(grey).convert('P')}, tmp_path / 'x')
    assert torch.equal(out.x[0], out.x[1]) and torch.equal(out.x[0], out.x[4])
    assert torch.equal(out.x[2], out.x[3])


def test_texts(tmp_path: Path) -> None:
    out = extract({'a': 'one two', 'b': ['one two', 'three']},
                  HashingEncoder(), tmp_path / 'x', num_workers=0,
                  progress=False)
    assert out.labels == ['a', 'b'] and out.manifest['num_items'] == 3


def test_unusable_ones_are_listed(tmp_path: Path) -> None:
    out = run({'a': picture(0), 'b': np.zeros((4, 4)),
               'c': np.zeros((4, 4, 2), dtype=np.uint8),
               'd': np.zeros((1, 600, 3), dtype=np.uint8)}, tmp_path / 'x')
    assert out.labels == ['a']
    reasons = {name: entry['unusable'][0]['reason'] for name, entry in
               out.manifest['entities'].items() if entry['unusable']}
    assert 'uint8' in reasons['b'] and 'float64' in reasons['b']
    assert '[4, 4, 2]' in reasons['c'] and '100 times' in reasons['d']
    with pytest.raises(DataError, match="or an image for 'a' .got int"):
        run({'a': 5}, tmp_path / 'y')
    with pytest.raises(DataError, match='images .got 1 texts'):
        run({'a': 'a text'}, tmp_path / 'z')
    out = extract({'a': 'text', 'b': picture(0)}, HashingEncoder(),
                  tmp_path / 'w', num_workers=0, progress=False)
    assert out.labels == ['a']


def test_the_same_call_returns_the_same_features(tmp_path: Path) -> None:
    first = run({'a': picture(0)}, tmp_path / 'x')
    again = run({'a': picture(0)}, tmp_path / 'x')
    assert torch.equal(first.x, again.x)
    with pytest.raises(DataError, match='items that have changed since'):
        run({'a': picture(1)}, tmp_path / 'x')
