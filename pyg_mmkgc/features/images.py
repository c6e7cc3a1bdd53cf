r"""Safe decoding of untrusted images to RGB."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from pyg_mmkgc.errors import FormatError, MMKGCError

if TYPE_CHECKING:
    from PIL.Image import Image

# The formats that Pillow decodes itself: EPS, for example, would start a
# program.
FORMATS = ('JPEG', 'PNG', 'GIF', 'WEBP', 'BMP', 'TIFF', 'AVIF', 'JPEG2000',
           'PPM')
MAX_PIXELS = 80_000_000
# Encoders scale the short side to a fixed length, so a line of 1 x 60,000
# pixels would take gigabytes.
MAX_RATIO = 100


def reading() -> dict[str, Any]:
    r"""Returns a description of how images are read, to store with features.

    Raises:
        MMKGCError: If Pillow is not installed.
    """
    _pillow()
    return {
        'frame': 'first',
        'orientation': 'as EXIF says',
        'transparent': 'on white',
        '16 bits': 'upper 8',
        'max_pixels': MAX_PIXELS,
        'max_ratio': MAX_RATIO,
    }


def decode_image(content: bytes) -> Image:
    r"""Decodes the first frame of an image, upright and in RGB.

    The size in the header is checked before any pixel is decoded.

    Args:
        content (bytes): The content of the file.

    Raises:
        FormatError: If the content is not a supported image, or too large.
        OSError: If the content is truncated. Pillow may raise other
            exceptions for damaged files.
    """
    image_module, ops = _pillow()
    image_module.init()
    formats = [name for name in FORMATS if name in image_module.OPEN]
    try:
        with warnings.catch_warnings():
            # Pillow warns about sizes between our limit and its own limit.
            warnings.simplefilter('ignore',
                                  image_module.DecompressionBombWarning)
            image = image_module.open(io.BytesIO(content), formats=formats)
    except image_module.UnidentifiedImageError as error:
        raise FormatError(f'Expected an image in one of the formats '
                          f'{", ".join(formats)} (got other content)'
                          ) from error
    with image:
        return _checked(image, ops)


def convert_image(content: Any) -> Image:
    r"""Converts an image in memory to RGB, upright and with the checks of
    :func:`decode_image`.

    Args:
        content (PIL.Image.Image or numpy.ndarray): An image of Pillow, or an
            array of bytes with shape :obj:`[height, width]`,
            :obj:`[height, width, 3]` or :obj:`[height, width, 4]`.

    Raises:
        FormatError: If the array has another shape or type, or the image is
            too large.
    """
    image_module, ops = _pillow()
    if isinstance(content, image_module.Image):
        return _checked(content, ops)
    pixels = np.asarray(content)
    if pixels.dtype != np.uint8 or 0 in pixels.shape or (
            pixels.ndim != 2 and pixels.shape[2:] not in ((3, ), (4, ))):
        raise FormatError('Expected an array of uint8 with shape [height, '
                          'width], [height, width, 3] or [height, width, 4] '
                          f'(got {pixels.dtype} with shape '
                          f'{list(pixels.shape)})')
    return _checked(image_module.fromarray(np.ascontiguousarray(pixels)), ops)


def image_bytes(content: Any) -> bytes:
    r"""Returns bytes that identify an image in memory."""
    pixels = np.asarray(content)
    head = f'{getattr(content, "mode", "")} {pixels.dtype} {pixels.shape} '
    return head.encode() + pixels.tobytes()


def _checked(image: Image, ops: Any) -> Image:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise FormatError(f'Expected at most {MAX_PIXELS} pixels (got '
                          f'{width} x {height} pixels)')
    if max(width, height) > MAX_RATIO * min(width, height):
        raise FormatError(f'Expected the long side of an image to be at '
                          f'most {MAX_RATIO} times the short side (got '
                          f'{width} x {height} pixels)')
    image.load()
    return _to_rgb(ops.exif_transpose(image))


def _to_rgb(image: Image) -> Image:
    image_module, _ = _pillow()
    if image.mode.startswith('I'):
        # Pillow would clip values at 255 instead of scaling them.
        pixels = np.asarray(image)
        if pixels.min() < 0 or pixels.max() > 65_535:
            raise FormatError('Expected at most 16 bits per pixel (got 32 '
                              'bits of unknown range)')
        return image_module.fromarray((pixels >> 8).astype(
            np.uint8)).convert('RGB')
    if image.mode == 'F':
        raise FormatError('Expected integer pixels (got floating-point pixels '
                          'of unknown range)')
    if image.mode in ('RGBA', 'LA', 'PA') or 'transparency' in image.info:
        # Otherwise, transparent pixels would show their hidden colour.
        image = image.convert('RGBA')
        white = image_module.new('RGBA', image.size, 'white')
        image = image_module.alpha_composite(white, image)
    return image.convert('RGB')


def _pillow() -> tuple[Any, Any]:
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise MMKGCError("Expected 'Pillow' to be installed for images. Run: "
                         'pip install "pyg_mmkgc[features]"') from error
    return Image, ImageOps
