r"""Images from strangers, as RGB or not at all."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from pyg_mmkgc.errors import FormatError, MMKGCError

if TYPE_CHECKING:
    from PIL.Image import Image

# Formats that are decoded by Pillow itself: EPS, say, would start a program.
FORMATS = ('JPEG', 'PNG', 'GIF', 'WEBP', 'BMP', 'TIFF', 'AVIF', 'JPEG2000',
           'PPM')
MAX_PIXELS = 80_000_000
# Encoders make the short side as long as they need: a line of 1 x 60,000
# pixels would grow to gigabytes.
MAX_RATIO = 100


def reading() -> dict[str, Any]:
    r"""Returns how images are read, to be stored with features.

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

    The size in the header is looked at before a pixel is decoded.

    Args:
        content (bytes): The whole file.

    Raises:
        FormatError: If the content is no such image, or too large.
        OSError: If it is truncated. From a damaged file, Pillow
            may raise other exceptions, too.
    """
    image_module, ops = _pillow()
    image_module.init()
    formats = [name for name in FORMATS if name in image_module.OPEN]
    try:
        with warnings.catch_warnings():
            # Between the limit here and the one that raises.
            warnings.simplefilter('ignore',
                                  image_module.DecompressionBombWarning)
            image = image_module.open(io.BytesIO(content), formats=formats)
    except image_module.UnidentifiedImageError as error:
        raise FormatError(f'no image in one of the formats '
                          f'{", ".join(formats)}') from error
    with image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise FormatError(f'{width} x {height} pixels, more than '
                              f'{MAX_PIXELS}')
        if max(width, height) > MAX_RATIO * min(width, height):
            raise FormatError(f'{width} x {height} pixels: longer than '
                              f'{MAX_RATIO} times its width')
        image.load()
        return _to_rgb(ops.exif_transpose(image))


def _to_rgb(image: Image) -> Image:
    image_module, _ = _pillow()
    if image.mode.startswith('I'):
        # Pillow would cut off at 255 instead of scaling.
        pixels = np.asarray(image)
        if pixels.min() < 0 or pixels.max() > 65_535:
            raise FormatError('32 bits per pixel, of unknown range')
        return image_module.fromarray((pixels >> 8).astype(
            np.uint8)).convert('RGB')
    if image.mode == 'F':
        raise FormatError('floating-point pixels, of unknown range')
    if image.mode in ('RGBA', 'LA', 'PA') or 'transparency' in image.info:
        # Without, the colour that happens to lie below would show.
        image = image.convert('RGBA')
        white = image_module.new('RGBA', image.size, 'white')
        image = image_module.alpha_composite(white, image)
    return image.convert('RGB')


def _pillow() -> tuple[Any, Any]:
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise MMKGCError('images need Pillow: pip install '
                         '"pyg_mmkgc[features]"') from error
    return Image, ImageOps
