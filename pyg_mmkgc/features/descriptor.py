r"""Encoders that need no weights, since a formula defines their output."""
from __future__ import annotations

import importlib.util
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pyg_mmkgc.errors import DataError, MMKGCError

if TYPE_CHECKING:
    from PIL import Image

#: The width and height in pixels to which images are resized.
SIZE = (96, 72)
NEEDS = ('Expected {1!r} to be installed for {0}. Run: '
         'pip install "pyg_mmkgc[features]"')


def describe_image(image: Image.Image) -> np.ndarray:
    r"""Describes an image by three blocks of numbers, each of unit length.

    * Colour layout, 144 numbers: the mean CIELAB colour of each of 6 x 8
      cells.
    * Gradients, 96 numbers: a histogram of oriented gradients, 8
      orientations in each of 3 x 4 cells.
    * Colour histogram, 64 numbers: the square root of the counts in 4 x 4 x 4
      bins of red, green and blue.

    The image is first resized to 96 x 72 pixels, regardless of its shape.

    Args:
        image (PIL.Image.Image): An image in mode :obj:`RGB`.

    Returns:
        An array of doubles with shape :obj:`[304]`.
    """
    try:
        from skimage.color import rgb2lab
        from skimage.feature import hog
    except ImportError as error:
        raise MMKGCError(NEEDS.format('the image descriptor',
                                      'scikit-image')) from error

    if image.mode != 'RGB':
        raise DataError(f'Expected an image in mode RGB (got {image.mode})')
    width, height = SIZE
    pixels = np.asarray(image.resize(SIZE), dtype=np.float64) / 255
    lab = rgb2lab(pixels).reshape(6, height // 6, 8, width // 8, 3)
    gradients = hog(pixels, orientations=8, channel_axis=-1,
                    pixels_per_cell=(height // 3, width // 4),
                    cells_per_block=(1, 1))
    bins = np.minimum((pixels * 4).astype(int), 3) @ [16, 4, 1]
    histogram = np.sqrt(np.bincount(bins.reshape(-1), minlength=64))
    blocks = [lab.mean(axis=(1, 3)).reshape(-1), gradients, histogram]
    # A block of zeros stays zero: a black image has no colour, and a plain
    # image has no gradients.
    return np.concatenate([x / max(float(np.linalg.norm(x)), 1e-12)
                           for x in blocks])


class DescriptorEncoder:
    r"""Encodes an image as the 304 numbers of
    :func:`~pyg_mmkgc.features.descriptor.describe_image`: colour layout,
    gradients and colour histogram, without weights.

    Raises:
        MMKGCError: If scikit-image or Pillow is not installed.
    """
    kind = 'image'
    num_channels = 304

    def __init__(self) -> None:
        # Checked here, since workers would only show a traceback.
        for module, package in (('skimage', 'scikit-image'),
                                ('PIL', 'pillow')):
            if importlib.util.find_spec(module) is None:
                raise MMKGCError(NEEDS.format('the image descriptor',
                                              package))

    def describe(self) -> dict[str, Any]:
        r"""Returns everything that determines the output."""
        return {
            'name': 'descriptor',
            'revision': 1,
            'num_channels': self.num_channels,
            'preprocessing': {'size': list(SIZE), 'blocks': [
                'CIELAB layout 6 x 8', 'HOG 8 x 3 x 4',
                'RGB histogram 4 x 4 x 4']},
            'versions': _versions('scikit-image', 'pillow'),
        }

    def prepare(self, raw: Image.Image) -> Tensor:
        r"""Describes an image. All work is done here, in the workers."""
        return torch.from_numpy(describe_image(raw)).float()

    def encode(self, batch: Tensor) -> Tensor:
        r"""Returns the descriptions as floats, :obj:`[B, 304]`."""
        return batch


class HashingEncoder:
    r"""Encodes a text by hashed counts of its character n-grams, scaled to
    unit length. The n-grams have 2 to 4 characters and stay within words.

    Texts that share words or parts of words have similar vectors. There is no
    vocabulary and nothing is learned: the vector of a text depends on this
    text alone.

    Args:
        num_channels (int, optional): The number of hash buckets.
            (default: :obj:`384`)

    Raises:
        MMKGCError: If scikit-learn is not installed.
    """
    kind = 'text'

    def __init__(self, num_channels: int = 384) -> None:
        try:
            from sklearn.feature_extraction.text import HashingVectorizer
        except ImportError as error:
            raise MMKGCError(NEEDS.format('the text descriptor',
                                          'scikit-learn')) from error
        self.num_channels = num_channels
        self.vectorizer = HashingVectorizer(
            analyzer='char_wb', ngram_range=(2, 4), n_features=num_channels)

    def describe(self) -> dict[str, Any]:
        r"""Returns everything that determines the output."""
        return {
            'name': 'hashing',
            'revision': 1,
            'num_channels': self.num_channels,
            'preprocessing': {'analyzer': 'char_wb', 'ngram_range': [2, 4]},
            'versions': _versions('scikit-learn'),
        }

    def prepare(self, raw: str) -> str:
        r"""Returns the text unchanged."""
        return raw

    def encode(self, batch: list[str]) -> Tensor:
        r"""Returns the scaled counts, :obj:`[B, num_channels]`."""
        counts = self.vectorizer.transform(batch)
        return torch.from_numpy(counts.toarray()).float()


def _versions(*packages: str) -> dict[str, str]:
    return {name: metadata.version(name) for name in packages}
