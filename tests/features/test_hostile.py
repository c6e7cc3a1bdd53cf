"""A folder and a table of hostile inputs, from the files to the manifest."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pyg_mmkgc.features import Item, extract, read_folder, read_table

from .test_images import encoded, gradient, png
from .tiny import CharacterEncoder, ConvEncoder, to_tensor

Image = pytest.importorskip('PIL.Image')
SECRET = 'secret.png'


def usable() -> dict[str, tuple[bytes, np.ndarray]]:
    """Returns files with the RGB pixels that they encode."""
    image = Image.fromarray(gradient())
    exif = Image.Exif()
    exif[0x0112] = 6
    wide = np.linspace(0, 65_535, 1200).astype(np.uint16).reshape(30, 40)
    red = Image.new('RGB', (20, 10), 'red')
    return {
        'plain.png': (encoded(image), gradient()),
        'cmyk.tif': (encoded(image.convert('CMYK'), 'TIFF'), gradient()),
        '16bit.png': (encoded(Image.fromarray(wide)),
                      (wide >> 8).astype(np.uint8)[..., None].repeat(3, 2)),
        'animated.gif': (
            encoded(red, 'GIF', save_all=True,
                    append_images=[Image.new('RGB', (20, 10), 'lime')]),
            np.asarray(red)),
        'turned.png': (encoded(image, exif=exif), np.rot90(gradient(), -1)),
        'no ending': (encoded(image), gradient()),
        'png named.jpg': (encoded(image), gradient()),
    }


def unusable() -> dict[str, tuple[bytes, str]]:
    """Returns files with the reason why they are unusable."""
    jpeg = encoded(Image.fromarray(gradient(300, 300)), 'JPEG')
    return {
        'truncated.jpg': (jpeg[:len(jpeg) // 2], 'OSError: '),
        'empty.jpg': (b'', 'Expected a file with content'),
        'page.jpg': (b'<!DOCTYPE html><p>404', 'Expected an image in one of'),
        'bomb.png': (png(50_000, 50_000), 'DecompressionBombError: Image '
                     'size (2500000000 pixels)'),
        'large.png': (png(10_000, 8_001), 'Expected at most 80000000 pixels '
                      '(got 10000 x 8001 pixels)'),
        'line.png': (encoded(Image.new('L', (1, 101))), 'Expected the long '
                     'side of an image to be at most 100 times the short '
                     'side (got 1 x 101 pixels)'),
        'text.png': ('Grüße'.encode('latin-1'), 'Expected an image in one of'),
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / 'root'
    for entity in ('good', 'mixed', 'bad', 'stranger'):
        (root / entity).mkdir(parents=True)
    for name, (content, _) in usable().items():
        (root / 'good' / name).write_bytes(content)
    for entity in ('mixed', 'bad'):
        for name, (content, _) in unusable().items():
            (root / entity / name).write_bytes(content)
    plain = usable()['plain.png'][0]
    (root / 'mixed/plain.png').write_bytes(plain)
    (root / 'stranger/plain.png').write_bytes(plain)
    (tmp_path / SECRET).write_bytes(plain)
    (root / 'bad/link.png').symlink_to(tmp_path / SECRET)
    (root / 'bad/folder.jpg').mkdir()
    os.mkfifo(root / 'bad/pipe.jpg')
    (root / 'bad/gone.jpg').write_bytes(plain)
    return root


def test_hostile_images(root: Path, tmp_path: Path) -> None:
    items = read_folder(root)
    (root / 'bad/gone.jpg').unlink()  # Vanishes between listing and reading.
    items.append(Item('bad', Path('/proc/self/mem'), 'cannot be read'))
    features = extract(items, ConvEncoder(), tmp_path / 'out', pool='all',
                       labels=['mixed', 'none', 'bad', 'good'], batch_size=5,
                       num_workers=2, progress=False)

    # Usable files are encoded from their pixels.
    assert features.labels == ['mixed', 'good']
    names = ['plain.png', *sorted(usable())]
    pixels = torch.stack([to_tensor(Image.fromarray(np.ascontiguousarray(
        usable()[name][1]))) for name in names])
    torch.testing.assert_close(features.x, ConvEncoder().encode(pixels),
                               rtol=1e-2, atol=1e-2)

    # Unusable files are listed with a reason.
    manifest = features.manifest
    assert manifest['without'] == ['bad', 'none']
    assert manifest['unknown'] == ['stranger']
    assert manifest['entities']['good'] == {'used': 7, 'unusable': []}
    reasons: dict[str, Any] = {
        f'bad/{name}': reason for name, (_, reason) in unusable().items()}
    reasons |= {
        'bad/link.png': 'lies outside the folder',
        'bad/folder.jpg': 'a folder, not a file',
        'bad/pipe.jpg': 'not a regular file',
        'bad/gone.jpg': 'FileNotFoundError: No such file or directory',
        'cannot be read': 'OSError: ' if os.path.exists('/proc') else 'File',
    }
    found = {row['key']: row['reason']
             for row in manifest['entities']['bad']['unusable']}
    assert manifest['entities']['bad']['used'] == 0
    assert found.keys() == reasons.keys()
    for key, reason in reasons.items():
        assert found[key].startswith(reason), key
    assert manifest['entities']['mixed']['used'] == 1
    assert len(manifest['entities']['mixed']['unusable']) == 7
    assert str(tmp_path) not in json.dumps(manifest)


def test_hostile_texts(tmp_path: Path) -> None:
    table = tmp_path / 'texts.csv'
    table.write_bytes(b'entity,text\na,caf\xe9\na,abc\nb,\nc,"' +
                      b'ab ' * 350_000 + b'"\nd\xff,x\nunknown,x\n')
    features = extract(read_table(table, 'text'), CharacterEncoder(),
                       tmp_path / 'out', labels=['a', 'b', 'c', 'd'],
                       num_workers=2, progress=False)
    assert features.labels == ['a', 'c']
    assert features.x.tolist() == [[1, 1, 1], [350_000, 350_000, 0]]
    manifest = features.manifest
    assert manifest['entities']['a']['unusable'] == [
        {'key': 'row 2', 'reason': 'Expected text in UTF-8 (got invalid '
                                   'bytes)'}]
    assert manifest['entities']['b']['unusable'] == [
        {'key': 'row 4', 'reason': 'Expected a text that is not blank (got a '
                                   'blank text)'}]
    assert manifest['without'] == ['b', 'd']
    assert manifest['unknown'] == ['d\\udcff', 'unknown']
