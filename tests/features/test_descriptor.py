from __future__ import annotations

import numpy as np
import pytest
import torch

from pyg_mmkgc.datasets import Countries
from pyg_mmkgc.errors import DataError, MMKGCError

Image = pytest.importorskip('PIL.Image')
pytest.importorskip('skimage')

from pyg_mmkgc.features.descriptor import (  # noqa: E402
    DescriptorEncoder,
    HashingEncoder,
    describe_image,
)


def blocks(image):
    """Returns layout [6, 8, 3], gradients [3, 4, 8], histogram [4, 4, 4]."""
    x = describe_image(image)
    assert x.shape == (304, ) and x.dtype == np.float64
    return (x[:144].reshape(6, 8, 3), x[144:240].reshape(3, 4, 8),
            x[240:].reshape(4, 4, 4))


def test_a_plain_image_by_hand():
    layout, gradients, histogram = blocks(Image.new('RGB', (300, 50), 'red'))
    # CIELAB of pure sRGB red, D65, from published tables.
    lab = np.array([53.24, 80.09, 67.20])
    expected = lab / np.linalg.norm(lab) / np.sqrt(48)
    assert np.abs(layout - expected).max() < 1e-4
    assert not gradients.any()
    assert histogram[3, 0, 0] == 1 and histogram.sum() == 1


def test_black_has_no_colour_and_stays_finite():
    layout, gradients, histogram = blocks(Image.new('RGB', (96, 72)))
    assert not layout.any() and not gradients.any()
    assert histogram[0, 0, 0] == 1


def test_halves_are_where_they_are():
    pixels = np.zeros((72, 96, 3), np.uint8)
    pixels[:, :48] = [255, 255, 255]  # White | blue.
    pixels[:, 48:] = [0, 0, 255]
    layout, gradients, histogram = blocks(Image.fromarray(pixels))
    assert np.ptp(layout[:, :4], axis=(0, 1)).max() < 1e-12
    assert np.ptp(layout[:, 4:], axis=(0, 1)).max() < 1e-12
    assert layout[0, 0, 0] > layout[0, 7, 0] > 0  # White is lighter.
    assert layout[0, 7, 2] < -0.05  # Blue is far down the b axis.
    # The edge is in the two middle columns of cells and has one direction.
    assert not gradients[:, [0, 3]].any()
    assert (gradients[:, 1:3] > 0).sum(axis=-1).max() == 1
    assert np.allclose(histogram[[3, 0], [3, 0], [3, 3]], np.sqrt(0.5))

    turned = blocks(Image.fromarray(pixels.transpose(1, 0, 2)))[1]
    edge, other = gradients.sum(axis=(0, 1)), turned.sum(axis=(0, 1))
    assert edge.argmax() != other.argmax()


def test_the_histogram_by_brute_force():
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (72, 96, 3), dtype=np.uint8)
    count = np.zeros((4, 4, 4))
    for red, green, blue in pixels.reshape(-1, 3).tolist():
        # Bins are quarters of [0, 1]: 63.75 is the first border.
        count[tuple(sum(value >= 63.75 * k for k in (1, 2, 3))
                    for value in (red, green, blue))] += 1
    expected = np.sqrt(count / count.sum())
    assert np.allclose(blocks(Image.fromarray(pixels))[2], expected)


def test_other_modes_are_refused():
    with pytest.raises(DataError, match='mode RGB .got RGBA'):
        describe_image(Image.new('RGBA', (9, 9)))


def test_flags_of_countries():
    """The bundled features are the descriptors of the full-size flags."""
    graph = Countries()
    encoder = DescriptorEncoder()
    prepared = [encoder.prepare(Image.fromarray(pixels.numpy()))
                for pixels in graph.thumbnails[::25]]
    x = encoder.encode(torch.stack(prepared))
    assert x.shape == (10, 304) and x.dtype == torch.float
    similar = torch.cosine_similarity(
        x.unsqueeze(1), graph[0].x_visual[:250].unsqueeze(0), dim=-1)
    own = similar[range(10), range(0, 250, 25)]
    assert (own > 0.8).all()
    # Svalbard and Bouvet Island have nearly the same flag.
    assert (own > similar.amax(dim=1) - 0.01).all()


def test_encoders_say_what_they_are():
    encoders = [DescriptorEncoder(), HashingEncoder(64)]
    for encoder, kind in zip(encoders, ['image', 'text']):
        assert encoder.kind == kind
        described = encoder.describe()
        assert described['name'] and described['versions']
        assert described['num_channels'] == encoder.num_channels
    assert (HashingEncoder(64).describe() != HashingEncoder(32).describe())


def test_texts():
    encoder = HashingEncoder()
    texts = ['Graz, a city of 222 thousand people.', 'Graz, a city', 'Yen',
             '', 'GRAZ, A CITY']
    x = encoder.encode([encoder.prepare(text) for text in texts])
    assert x.shape == (5, 384) and x.dtype == torch.float
    assert torch.allclose(x.norm(dim=1), torch.tensor([1., 1., 1., 0., 1.]))
    assert torch.equal(x[1], x[4])
    assert x[0] @ x[1] > 0.4 > 0.2 > abs(x[0] @ x[2])
    # The vector of a text does not depend on its batch.
    assert torch.equal(encoder.encode(texts[2:3])[0], x[2])


def test_what_is_missing_is_named(monkeypatch):
    modules = __import__('sys').modules
    monkeypatch.setitem(modules, 'skimage.feature', None)
    with pytest.raises(MMKGCError, match=r'scikit-image.*pip install.*\[feat'):
        describe_image(Image.new('RGB', (9, 9)))
    monkeypatch.setitem(modules, 'sklearn.feature_extraction.text', None)
    with pytest.raises(MMKGCError, match='scikit-learn'):
        HashingEncoder()


@pytest.mark.parametrize('module, package', [
    ('skimage', 'scikit-image'), ('PIL', 'pillow')])
def test_the_encoder_needs_its_libraries_from_the_start(module, package,
                                                        monkeypatch):
    """Not in a worker, whose error would be a traceback."""
    monkeypatch.setitem(__import__('sys').modules, module, None)
    with pytest.raises(MMKGCError, match=f"'{package}' to be installed.*"
                       r'"pyg_mmkgc\[features\]"'):
        DescriptorEncoder()
