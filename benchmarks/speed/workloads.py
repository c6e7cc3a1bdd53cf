"""The graphs, models and trainers of the measurements."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from protocol import Setup
from torch import Tensor

from pyg_mmkgc import (
    MAT,
    AdaMF,
    AdaMFMAT,
    AdversarialTrainer,
    KnowledgeGraph,
    Trainer,
    nn,
)
from pyg_mmkgc.datasets import DB15K, MKGW, FakeMMKG
from pyg_mmkgc.sampler import BernoulliSampler, PooledSampler, UniformSampler
from pyg_mmkgc.training.profile import full_batches

SAMPLERS = {'pooled': PooledSampler, 'bernoulli': BernoulliSampler,
            'uniform': UniformSampler}
MODELS = ('RotatE', 'AdaMF', 'AdaMF-MAT')


@dataclass(frozen=True)
class Size:
    """The width of the model and of the step, by default as in the paper."""
    channels: int = 200
    batch_size: int = 1024
    num_negatives: int = 128

    @classmethod
    def of(cls, setup: Setup, channels: int = 200) -> 'Size':
        return cls(8, 64, 8) if setup.quick else cls(channels)


def mkg_w(setup: Setup) -> KnowledgeGraph:
    """Returns MKG-W with structure and text."""
    if setup.quick:
        return _fake(('text', ), torch.float16)
    return _mkg_w(str(setup.data_root))


def db15k(setup: Setup, dtype: torch.dtype) -> KnowledgeGraph:
    """Returns DB15K with random features of the published width."""
    if setup.quick:
        return _fake(('visual', 'text'), dtype)
    return _db15k(str(setup.data_root), dtype)


@functools.cache
def _fake(names: tuple[str, ...], dtype: torch.dtype) -> KnowledgeGraph:
    kg = FakeMMKG(num_nodes=200, num_edges=400, coverage=1.0,
                  modalities={name: 24 for name in names})[0]
    for name in names:
        kg[f'x_{name}'] = kg[f'x_{name}'].to(dtype)
    return kg


@functools.lru_cache(maxsize=1)
def _mkg_w(root: str) -> KnowledgeGraph:
    return MKGW(root)[0]


@functools.lru_cache(maxsize=2)
def _db15k(root: str, dtype: torch.dtype) -> KnowledgeGraph:
    generator = torch.Generator().manual_seed(0)
    features = {name: torch.randn(12842, width, generator=generator).to(dtype)
                for name, width in (('visual', 4096), ('text', 768))}
    return DB15K(root, features=features)[0]


def synthetic(num_nodes: int, num_edges: int, num_relations: int = 100,
              num_test: int = 0, seed: int = 0,
              **features: Tensor) -> KnowledgeGraph:
    """Returns a graph of any size with distinct uniform triples."""
    generator = torch.Generator().manual_seed(seed)
    size = num_nodes * num_relations * num_nodes
    key = torch.randint(size, (num_edges + num_test, ),
                        generator=generator).unique()
    key = key[torch.randperm(key.numel(), generator=generator)]
    rest = key // num_nodes
    test = torch.arange(key.numel()) < num_test
    masks = {'train_mask': ~test} | ({'test_mask': test} if num_test else {})
    return KnowledgeGraph(
        edge_index=torch.stack([rest // num_relations, key % num_nodes]),
        edge_type=rest % num_relations, num_nodes=num_nodes,
        num_relations=num_relations, **masks,
        **{f'x_{name}': x for name, x in features.items()})


def mapped_features(path: Path, num_nodes: int, width: int) -> Tensor:
    """Returns random features in half precision from a memory-mapped file."""
    generator = torch.Generator().manual_seed(0)
    with path.open('wb') as file:
        for start in range(0, num_nodes, 1 << 14):
            rows = min(1 << 14, num_nodes - start)
            block = torch.randn(rows, width, generator=generator)
            file.write(block.half().numpy().tobytes())
    flat = torch.from_file(str(path), shared=False, size=num_nodes * width,
                           dtype=torch.float16)
    return flat.view(num_nodes, width)


def build(name: str, kg: KnowledgeGraph, channels: int,
          **kwargs: Any) -> torch.nn.Module:
    """Returns RotatE, AdaMF or AdaMF-MAT for a graph."""
    torch.manual_seed(0)
    if name == 'RotatE':
        own = getattr(nn, 'RotatE', None)
        if own is not None:
            return own(kg.num_nodes, kg.num_relations, channels, margin=12.0,
                       **kwargs)
        return AdaMF(kg.num_nodes, kg.num_relations, channels, **kwargs)
    cls = {'AdaMF': AdaMF, 'AdaMF-MAT': AdaMFMAT}[name]
    return cls.from_data(kg, hidden_channels=channels, **kwargs)


def trainer(setup: Setup, model: torch.nn.Module, kg: KnowledgeGraph,
            sampler: str | None, size: Size, one_pass: bool = False,
            **kwargs: Any) -> Trainer:
    """Returns the trainer of a model. For AdaMF-MAT, it has an adversary,
    which steps together with the model or after it.
    """
    if sampler is not None:
        kwargs['sampler'] = SAMPLERS[sampler](size.num_negatives)
    kwargs = {'batch_size': size.batch_size, 'epochs': 1, 'valid_every': None,
              'progress': False, 'device': setup.device, **kwargs}
    if isinstance(model, AdaMFMAT):
        adversary = MAT.from_model(model, weight=0.01, simultaneous=one_pass)
        return AdversarialTrainer(model, kg, adversary=adversary, **kwargs)
    return Trainer(model, kg, **kwargs)


def epoch(trainer: Trainer) -> Callable[[], float]:
    """Returns a task that trains for an epoch with the public API and returns
    the seconds in its history.
    """
    return lambda: float(trainer.fit().epochs[-1]['seconds'])


def steps(trainer: Trainer, setup: Setup,
          count: int = 1) -> Callable[[], list[float]]:
    """Returns full training steps, including the drawing of batches. On a
    GPU, which works asynchronously, a value is the mean of ten steps.
    """
    batches = full_batches(trainer)
    together = 10 if setup.device.type == 'cuda' else 1

    def some_steps() -> None:
        for _ in range(together):
            trainer.train_step(next(batches), 'a step of the benchmark')

    def run() -> list[float]:
        trainer.model.train()
        return [setup.seconds(some_steps)[0] / together
                for _ in range(count)]

    return run
