"""Published architectures with random weights, and their preprocessing."""

import sys
from collections.abc import Iterator
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pyg_mmkgc.errors import DataError, DownloadError, MMKGCError
from pyg_mmkgc.features import (
    TimmEncoder,
    TransformersEncoder,
    extract,
    read_folder,
)

from .tiny import draw

Image = pytest.importorskip('PIL.Image')


@pytest.fixture(scope='module', autouse=True)
def torchvision() -> None:
    try:
        import torchvision  # noqa: F401
    except ImportError:
        return
    except RuntimeError:
        # PyPI's torchvision is built for CUDA. With a PyTorch for the CPU, it
        # lacks only operators that no test uses.
        for name in ('nms', 'qnms'):
            torch.library.define(f'torchvision::{name}', '(Tensor dets, '
                                 'Tensor scores, float threshold) -> Tensor')
        for name in [n for n in sys.modules if n.startswith('torchvision')]:
            del sys.modules[name]


@pytest.fixture(scope='module')
def timm(torchvision: None) -> Any:
    pytest.importorskip('torchvision')
    return pytest.importorskip('timm')


@pytest.fixture(scope='module')
def transformers() -> Any:
    return pytest.importorskip('transformers')


@pytest.fixture
def images(tmp_path: Path) -> Iterator[list[Any]]:
    draw(tmp_path / 'images', {'a': 2, 'b': 1})
    yield read_folder(tmp_path / 'images')


def check(encoder: Any, images: list[Any], folder: Path,
          num_channels: int) -> None:
    """Compares extraction through files and workers with the model alone."""
    features = extract(images, encoder, folder, pool='all', batch_size=2,
                       num_workers=1, progress=False)
    assert features.x.shape == (3, num_channels)
    assert torch.isfinite(features.x).all()
    batch = torch.stack([encoder.prepare(Image.open(item.content))
                         for item in images])
    with torch.no_grad():
        expected = torch.cat([encoder.encode(row[None]) for row in batch])
    torch.testing.assert_close(features.x, expected, rtol=1e-4, atol=1e-5)
    about = features.manifest['encoder']
    assert len(about['weights_sha256']) == 64
    assert about['preprocessing']
    # Spawned workers receive `prepare` but not the model.
    assert len(ForkingPickler.dumps(encoder.prepare)) < 10_000


def normalized(pixels: np.ndarray, mean: list[float],
               std: list[float]) -> torch.Tensor:
    """Applies the usual preprocessing after resizing, independently."""
    out = (pixels / np.float32(255) - np.array(mean)) / np.array(std)
    return torch.from_numpy(out).permute(2, 0, 1).float()


SMALL = {'num_hidden_layers': 1, 'image_size': 224}
HALF = [0.5, 0.5, 0.5]
IMAGENET = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
# Widths and patches as published, with fewer layers; channels, mean, std.
MODELS = {
    'Beit': (768, HALF, HALF),
    'CLIP': (512, [0.48145466, 0.4578275, 0.40821073],
             [0.26862954, 0.26130258, 0.27577711]),
    'Siglip': (768, HALF, HALF),
    'Dinov2': (768, *IMAGENET),
}


def make(transformers: Any, name: str) -> tuple[Any, Any]:
    config = getattr(transformers, f'{name}Config')
    if name in ('CLIP', 'Siglip'):
        config = config(vision_config=SMALL,
                        text_config={'num_hidden_layers': 1,
                                     'vocab_size': 10})
    else:
        config = config(**SMALL)
    torch.manual_seed(0)
    model = getattr(transformers, f'{name}Model')(config)
    if name == 'Dinov2':  # The published preprocessing crops the image.
        return model, transformers.BitImageProcessor(
            image_mean=IMAGENET[0], image_std=IMAGENET[1],
            size={'shortest_edge': 256})
    return model, getattr(transformers, f'{name}ImageProcessor')()


@pytest.mark.parametrize('name', MODELS)
def test_transformers(transformers: Any, images: list[Any], tmp_path: Path,
                      name: str) -> None:
    model, processor = make(transformers, name)
    encoder = TransformersEncoder(model, processor)
    num_channels, mean, std = MODELS[name]
    check(encoder, images, tmp_path / 'out', num_channels)

    # An image of the required size is only normalized.
    size = 256 if name == 'Dinov2' else 224
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (size, size, 3), np.uint8)
    expected = normalized(pixels, mean, std)
    if name == 'Dinov2':  # The center is cropped.
        expected = expected[:, 16:240, 16:240]
    found = encoder.prepare(Image.fromarray(pixels))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_folder_of_a_model(transformers: Any, images: list[Any],
                           tmp_path: Path) -> None:
    """A saved model is loaded by name with the same features and no download.
    """
    model, processor = make(transformers, 'CLIP')
    model.save_pretrained(tmp_path / 'my-clip')
    processor.save_pretrained(tmp_path / 'my-clip')
    encoder = TransformersEncoder(str(tmp_path / 'my-clip'))
    first = extract(images, encoder, tmp_path / 'out', num_workers=0,
                    progress=False)
    assert first.manifest['encoder']['name'] == 'transformers:my-clip'
    expected = TransformersEncoder(model, processor)
    second = extract(images, expected, tmp_path / 'other', num_workers=0,
                     progress=False)
    assert torch.equal(first.x, second.x)
    assert (encoder.describe()['weights_sha256'] ==
            expected.describe()['weights_sha256'])
    assert (encoder.describe()['preprocessing'] ==
            expected.describe()['preprocessing'])


@pytest.mark.parametrize('name, num_channels', [
    ('vgg16', 4096), ('beit_base_patch16_224', 768),
    ('vit_base_patch32_clip_224', 768)])
def test_timm(timm: Any, images: list[Any], tmp_path: Path, name: str,
              num_channels: int) -> None:
    torch.manual_seed(0)
    layers = {} if name == 'vgg16' else {'depth': 1}
    model = timm.create_model(name, pretrained=False, num_classes=0, **layers)
    encoder = TimmEncoder(model)
    check(encoder, images, tmp_path / 'out', num_channels)
    assert encoder.describe()['architecture'] == name
    assert encoder.describe()['preprocessing']['input_size'] == (3, 224, 224)


def test_timm_preprocessing(timm: Any) -> None:
    """Like in the VGG paper: resize to 256, then crop 224 x 224."""
    model = timm.create_model('vgg11', pretrained=False, num_classes=0)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (256, 300, 3), np.uint8)
    found = TimmEncoder(model).prepare(Image.fromarray(pixels))
    expected = normalized(pixels[16:240, 38:262], *IMAGENET)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_timm_names(timm: Any) -> None:
    with pytest.raises(DataError, match="'no_such_model'"):
        TimmEncoder('no_such_model')


def test_library_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    for library, encoder in [('timm', TimmEncoder),
                             ('transformers', TransformersEncoder)]:
        monkeypatch.setitem(sys.modules, library, None)
        with pytest.raises(MMKGCError, match=rf"'{library}'.*pip install "
                           r'"pyg_mmkgc\[features\]"'):
            encoder('name')


def test_folder_that_holds_no_model(transformers: Any,
                                    tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match='could not be loaded'):
        TransformersEncoder(str(tmp_path))
