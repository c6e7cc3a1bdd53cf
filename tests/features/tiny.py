"""Generated images and small encoders."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyg_mmkgc.features import Item


def draw(root: Path, counts: dict[str, int], seed: int = 0) -> None:
    """Writes a folder with a number of random images per entity."""
    from PIL import Image
    rng = np.random.default_rng(seed)
    for entity, count in counts.items():
        (root / entity).mkdir(parents=True)
        for i in range(count):
            size = rng.integers(20, 60, 2)
            pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / entity / f'{i}.png')


def texts(*pairs: tuple[str, str]) -> list[Item]:
    return [Item(entity, text, f'row {i}')
            for i, (entity, text) in enumerate(pairs, start=1)]


def to_tensor(image: Any) -> Tensor:
    pixels = np.array(image.resize((12, 12)), dtype=np.float32) / 255
    return torch.from_numpy(pixels).permute(2, 0, 1)


class ConvEncoder:
    """A small convolutional network with fixed weights."""
    kind = 'image'

    def __init__(self, num_channels: int = 6, seed: int = 7) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.weight = torch.randn(num_channels, 3, 5, 5, generator=generator)
        self.seed = seed
        self.prepare = to_tensor

    def encode(self, batch: Tensor) -> Tensor:
        return torch.conv2d(batch, self.weight).relu().mean(dim=(2, 3))

    def describe(self) -> dict[str, Any]:
        return {'name': 'conv', 'seed': self.seed}


class CharacterEncoder:
    """Counts letters, which is easy to check by hand."""
    kind = 'text'
    prepare = staticmethod(str.lower)

    def __init__(self, alphabet: str = 'abc') -> None:
        self.alphabet = alphabet

    def encode(self, batch: list[str]) -> Tensor:
        return torch.tensor([[float(text.count(c)) for c in self.alphabet]
                             for text in batch])

    def describe(self) -> dict[str, Any]:
        return {'name': 'characters', 'alphabet': self.alphabet}
