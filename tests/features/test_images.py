import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest

from pyg_mmkgc.errors import FormatError
from pyg_mmkgc.features.images import MAX_PIXELS, decode_image

Image = pytest.importorskip('PIL.Image')


def encoded(image: Any, kind: str = 'PNG', **kwargs: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **kwargs)
    return file.getvalue()


def pixels(content: bytes) -> np.ndarray:
    image = decode_image(content)
    assert image.mode == 'RGB'
    return np.asarray(image).astype(int)


def gradient(width: int = 40, height: int = 30) -> np.ndarray:
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return np.stack([6 * x, 8 * y, 255 - 3 * x], axis=-1).clip(
        0, 255).astype(np.uint8)


def png(width: int, height: int) -> bytes:
    """Returns a PNG with any size in its header and hardly any content."""
    def chunk(name: bytes, data: bytes) -> bytes:
        check = struct.pack('>I', zlib.crc32(name + data))
        return struct.pack('>I', len(data)) + name + data + check

    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    return (b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) +
            chunk(b'IDAT', zlib.compress(b'\0' * 100)) + chunk(b'IEND', b''))


@pytest.mark.parametrize('kind', ['PNG', 'BMP', 'TIFF', 'PPM'])
def test_lossless(kind: str) -> None:
    expected = gradient()
    found = pixels(encoded(Image.fromarray(expected), kind))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize('kind', ['JPEG', 'WEBP'])
def test_lossy(kind: str) -> None:
    found = pixels(encoded(Image.fromarray(gradient()), kind, quality=95))
    assert abs(found - gradient()).mean() < 5


def test_cmyk() -> None:
    image = Image.fromarray(gradient()).convert('CMYK')
    assert abs(pixels(encoded(image, 'JPEG', quality=95)) -
               gradient()).mean() < 8
    np.testing.assert_allclose(pixels(encoded(image, 'TIFF')), gradient(),
                               atol=2)


@pytest.mark.parametrize('kind', ['PNG', 'TIFF'])
def test_16_bits_are_scaled(kind: str) -> None:
    wide = np.linspace(0, 65_535, 1200).astype(np.uint16).reshape(30, 40)
    found = pixels(encoded(Image.fromarray(wide), kind))
    np.testing.assert_array_equal(found, (wide // 256)[..., None].repeat(3, 2))


def test_16_bits_of_the_other_byte_order() -> None:
    wide = np.linspace(0, 65_535, 1200).astype('>u2').reshape(30, 40)
    content = encoded(Image.frombytes('I;16B', (40, 30), wide.tobytes()),
                      'TIFF')
    np.testing.assert_array_equal(pixels(content)[..., 0],
                                  wide.astype(int) // 256)


def test_32_bits() -> None:
    small = np.full((30, 40), 65_535, np.int32)
    assert pixels(encoded(Image.fromarray(small), 'TIFF')).min() == 255
    with pytest.raises(FormatError, match='32 bits'):
        decode_image(encoded(Image.fromarray(small * 2), 'TIFF'))
    with pytest.raises(FormatError, match='floating-point'):
        decode_image(encoded(Image.fromarray(small / 7).convert('F'), 'TIFF'))


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new('RGB', (20, 10), color) for color in ('red', 'lime')]
    for kind in ('GIF', 'PNG', 'WEBP', 'TIFF'):
        extra = {'lossless': True} if kind == 'WEBP' else {}
        content = encoded(frames[0], kind, save_all=True,
                          append_images=frames[1:], **extra)
        assert pixels(content).reshape(-1, 3).mean(0).tolist() == [255, 0, 0]


@pytest.mark.parametrize('orientation, turn', [
    (1, lambda x: x),
    (2, lambda x: x[:, ::-1]),
    (3, lambda x: x[::-1, ::-1]),
    (4, lambda x: x[::-1]),
    (5, lambda x: x.transpose(1, 0, 2)),
    (6, lambda x: np.rot90(x, -1)),
    (7, lambda x: x[::-1, ::-1].transpose(1, 0, 2)),
    (8, lambda x: np.rot90(x, 1)),
])
def test_orientation(orientation: int, turn: Any) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = pixels(encoded(Image.fromarray(gradient()), 'PNG', exif=exif))
    np.testing.assert_array_equal(found, turn(gradient()))


def test_transparent_is_white() -> None:
    pixel = np.zeros((4, 4, 4), np.uint8)  # Black and fully transparent.
    pixel[0, 0] = [200, 100, 0, 255]
    pixel[1, 1] = [0, 0, 0, 128]
    found = pixels(encoded(Image.fromarray(pixel, 'RGBA')))
    assert found[0, 0].tolist() == [200, 100, 0]
    np.testing.assert_allclose(found[1, 1], 127, atol=1)
    assert found[2:].min() == 255
    palette = Image.new('P', (4, 4), 1)
    palette.putpalette([255, 0, 0, 0, 255, 0])
    palette.putpixel((0, 0), 0)
    for kind in ('GIF', 'PNG'):
        found = pixels(encoded(palette, kind, transparency=1))
        assert found[0, 0].tolist() == [255, 0, 0]
        assert found[1:].min() == 255


@pytest.mark.parametrize('mode', ['1', 'L', 'P', 'LA', 'YCbCr', 'LAB'])
def test_other_modes(mode: str) -> None:
    image = Image.new('RGB', (40, 30), 'white').convert(mode) if (
        mode != 'LAB') else Image.new('LAB', (40, 30), (255, 128, 128))
    kind = {'YCbCr': 'JPEG', 'LAB': 'TIFF'}.get(mode, 'PNG')
    assert pixels(encoded(image, kind)).min() >= 253


@pytest.mark.parametrize('content', [
    b'', b'<!DOCTYPE html><html><body>404</body></html>', b'\0' * 1000,
    b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n', b'GIF89a',
    b'\xff\xd8\xff', b'<svg xmlns="http://www.w3.org/2000/svg"/>',
])
def test_no_image(content: bytes) -> None:
    with pytest.raises(FormatError, match='image in one of the formats'):
        decode_image(content)


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP', 'GIF', 'BMP'])
def test_truncated(kind: str) -> None:
    content = encoded(Image.fromarray(gradient(200, 200)), kind)
    for share in (0.5, 0.9):
        with pytest.raises(Exception):  # noqa: B017 (Pillow has many kinds)
            decode_image(content[:int(share * len(content))])


@pytest.mark.parametrize('width, height', [
    (50_000, 50_000), (MAX_PIXELS // 1000 + 1, 1000), (13_000, 10_000)])
def test_bomb_is_refused_by_its_header(width: int, height: int,
                                       recwarn: Any) -> None:
    with pytest.raises(Exception, match='pixels') as info:
        decode_image(png(width, height))
    assert type(info.value).__name__ in ('FormatError',
                                         'DecompressionBombError')
    assert len(recwarn) == 0


def test_a_line_is_refused() -> None:
    with pytest.raises(FormatError, match='most 100 times.*got 2 x 201 pixel'):
        decode_image(encoded(Image.new('RGB', (2, 201))))
    assert decode_image(encoded(Image.new('RGB', (200, 2)))).size == (200, 2)
