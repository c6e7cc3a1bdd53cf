"""Small trainings of every kind, and helpers to compare their results."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch_geometric.nn import RotatE, TransE

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.datasets import FakeMMKG
from pyg_mmkgc.nn import AdaMF, AdaMFMAT, SelfAdversarialLoss
from pyg_mmkgc.sampler import BernoulliSampler, PooledSampler, UniformSampler
from pyg_mmkgc.training import MAT, AdversarialTrainer, History, Trainer

# Own loss or a sampler's negatives, sparse, one optimizer or two.
TRAININGS = ['pyg', 'pyg_sampler', 'sparse', 'adamf', 'one_optimizer', 'mat',
             'mat_apart', 'mat_together']


@pytest.fixture(scope='session')
def kg() -> KnowledgeGraph:
    return FakeMMKG(num_nodes=40, num_edges=160, seed=1)[0]


def build(kg: KnowledgeGraph, kind: str, init: int = 0,
          **kwargs: Any) -> Trainer:
    """Builds a trainer whose model is initialized with the seed `init`."""
    torch.manual_seed(init)
    counts = (kg.num_nodes, kg.num_relations)
    kwargs = {'batch_size': 50, 'epochs': 3, 'lr': 0.02, 'valid_every': 1,
              'progress': False, **kwargs}
    small = {'num_negatives': 8, 'missing': 'learned'}
    mat = {'generator_channels': 8, 'noise_channels': 3}
    # Sums of absolute values would lead to ties that rounding breaks.
    if kind == 'pyg':
        return Trainer(TransE(*counts, 8, p_norm=2.0), kg, **kwargs)
    if kind == 'pyg_sampler':
        return Trainer(RotatE(*counts, 8), kg, **{
            'sampler': UniformSampler(5), **kwargs})
    if kind == 'sparse':
        return Trainer(TransE(*counts, 8, p_norm=2.0, sparse=True), kg,
                       **kwargs)
    if kind == 'adamf':
        return Trainer(AdaMF.from_data(kg, 4, **small), kg, **{
            'sampler': BernoulliSampler(5),
            'loss': SelfAdversarialLoss(2.0), **kwargs})
    if kind == 'one_optimizer':
        return Trainer(AdaMFMAT.from_data(kg, 4, **small, **mat), kg,
                       **kwargs)
    sampler = {'sampler': PooledSampler(5, 16)}
    weight = kwargs.pop('weight', 0.1)
    if kind in ('mat', 'mat_together'):
        model = AdaMFMAT.from_data(kg, 4, **small, **mat)
        adversary = MAT.from_model(model, weight=weight,
                                   simultaneous=kind == 'mat_together')
    else:
        model = AdaMF.from_data(kg, 4, **small)
        adversary = MAT.from_model(model, **mat, weight=weight, groups=2,
                                   parity='released')
    return AdversarialTrainer(model, kg, adversary=adversary,
                              generator_lr=0.01, **{**sampler, **kwargs})


def collect(trainer: Trainer) -> dict[str, Tensor]:
    """Collects the weights, the adversary and the optimizer moments."""
    out = dict(trainer.model.state_dict())
    for group, state in trainer.extra_states().items():
        out |= {f'{group}.{name}': x for name, x in state.items()}
    for name, optimizer in trainer.optimizers.items():
        for index, slots in optimizer.state_dict()['state'].items():
            out |= {f'{name}.{index}.{slot}': torch.as_tensor(value)
                    for slot, value in slots.items()}
    return {name: x.detach().clone() for name, x in out.items()}


@pytest.fixture
def make(kg: KnowledgeGraph) -> Callable[..., Trainer]:
    return lambda kind, **kwargs: build(kg, kind, **kwargs)


OPTIONS: dict[str, Any] = {'lr_schedule': 'cosine', 'grad_clip': 0.5,
                           'patience': 3}


@pytest.fixture
def options() -> dict[str, Any]:
    return dict(OPTIONS)


@pytest.fixture(scope='session')
def whole(kg: KnowledgeGraph) -> Callable[[str], tuple[
        History, dict[str, Tensor]]]:
    """Runs an uninterrupted training with the options, once per kind."""
    @functools.cache
    def run(kind: str) -> tuple[History, dict[str, Tensor]]:
        trainer = build(kg, kind, **OPTIONS)
        before = torch.get_rng_state()
        history = trainer.fit()
        assert torch.equal(torch.get_rng_state(), before)
        return history, collect(trainer)
    return run


@pytest.fixture
def state() -> Callable[[Trainer], dict[str, Tensor]]:
    return collect


@pytest.fixture
def same() -> Callable[..., None]:
    def check(x: dict[str, Tensor], y: dict[str, Tensor]) -> None:
        assert x.keys() == y.keys()
        different = [name for name in x if not torch.equal(x[name], y[name])]
        assert not different
    return check


class Interrupt:
    """Raises a `KeyboardInterrupt` in step `step`, counted from 1."""
    def __init__(self, trainer: Trainer, step: int) -> None:
        self.step, self.calls, self.run = step, 0, trainer.train_step
        trainer.train_step = self

    def __call__(self, *args: Any) -> Any:
        self.calls += 1
        if self.calls == self.step:
            raise KeyboardInterrupt
        return self.run(*args)


@pytest.fixture
def interrupted(make: Callable[..., Trainer]) -> Callable[..., Path]:
    """Interrupts a training, and returns its folder."""
    def run(folder: Path, kind: str, step: int, **kwargs: Any) -> Path:
        trainer = make(kind, folder=folder, **kwargs)
        Interrupt(trainer, step)
        with pytest.raises(KeyboardInterrupt):
            trainer.fit()
        return folder
    return run


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if 'kind' in metafunc.fixturenames:
        metafunc.parametrize('kind', TRAININGS)
