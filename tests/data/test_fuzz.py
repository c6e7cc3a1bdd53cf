"""Damaged files load or raise one of the library's own errors."""

import random
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.errors import MMKGCError

LABELS = [f'n{i}' for i in range(5)]


def make_triples(path: Path) -> None:
    path.write_text(''.join(f'{label}\tr\tn{i}\n' for i, label in
                            enumerate(LABELS)))


def make_npz(path: Path) -> None:
    np.savez(path, **{label: np.ones(3, np.float32) for label in LABELS})


def make_compressed(path: Path) -> None:
    np.savez_compressed(path, **{label: np.ones(3, np.float32)
                                 for label in LABELS})


def make_table(path: Path) -> None:
    safetensors.torch.save_file(
        {'x': torch.randn(8, 3), 'ptr': torch.tensor([0, 1, 3, 5, 6, 8])},
        path)


def damage(content: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.2:
        return content[:rng.randrange(len(content))]
    out = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 3, 10])):
        # Damage the header more often than the rest.
        end = min(64, len(out)) if rng.random() < 0.3 else len(out)
        out[rng.randrange(end)] = rng.choice([
            0, 255, rng.randrange(256),
            out[rng.randrange(len(out))] ^ 1 << rng.randrange(8)])
    return bytes(out)


@pytest.mark.parametrize('name, make', [
    ('train.tsv', make_triples), ('x.npz', make_npz),
    ('x.npz', make_compressed), ('x.safetensors', make_table)])
def test_damaged_files(name: str, make: Callable[[Path], None],
                       tmp_path: Path) -> None:
    make_triples(tmp_path / 'train.tsv')
    (tmp_path / 'labels.txt').write_text('\n'.join(LABELS))
    path = tmp_path / name
    make(path)
    content, refused = path.read_bytes(), 0
    rng = random.Random(name)
    features = None if name == 'train.tsv' else {'text': path}
    for _ in range(100):
        path.write_bytes(damage(content, rng))
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            try:
                KnowledgeGraph.from_tsv(tmp_path / 'train.tsv',
                                        features=features)
            except MMKGCError:
                refused += 1
    assert 20 < refused
