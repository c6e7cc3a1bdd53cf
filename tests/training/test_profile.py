"""Tests of profiles, which must not change the methods of a model."""

import importlib
import statistics

import pytest
import torch
from torch_geometric.nn.kge import TransE

from pyg_mmkgc import MAT, AdaMFMAT, AdversarialTrainer, Trainer
from pyg_mmkgc.datasets import FakeMMKG
from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn import TBKGC
from pyg_mmkgc.nn.encoder import ModalityEncoder
from pyg_mmkgc.nn.share import Share
from pyg_mmkgc.sampler import MANSSampler, PooledSampler
from pyg_mmkgc.training.profile import full_batches, peak_memory, profile


def trainer(**kwargs):
    kg = FakeMMKG(num_nodes=60, num_edges=300)[0]
    model = AdaMFMAT.from_data(kg, hidden_channels=4, generator_channels=8)
    return AdversarialTrainer(
        model, kg, adversary=MAT.from_model(model), batch_size=50,
        sampler=PooledSampler(4), valid_every=None, progress=False, **kwargs)


class FakeTime:
    """A clock that advances by one whenever it is read."""
    def __init__(self):
        self.value = 0.0

    def perf_counter(self):
        self.value += 1.0
        return self.value


@pytest.fixture
def clock(monkeypatch):
    fake = FakeTime()
    monkeypatch.setattr(importlib.import_module(
        'pyg_mmkgc.training.profile'), 'time', fake)
    return fake


def test_parts_are_nested_and_add_up(clock):
    found = profile(trainer(), steps=4, warmup=1)
    assert len(found.seconds) == 4
    time = {part.path: part.seconds for part in found.parts}
    assert {('batch', ), ('batch', 'sampling'), ('encode', ),
            ('encode', 'embed'), ('encode', 'embed', 'project text'),
            ('score', ), ('score negatives', ), ('loss', ), ('backward', ),
            ('optimizer of the model', ), ('adversary, model side', ),
            ('adversary, its own side', 'generate visual'),
            ('backward of the adversary', ),
            ('optimizer of the adversary', )} <= set(time)
    median = statistics.median(found.seconds)
    assert sum(x for path, x in time.items() if len(path) == 1) == median
    for path, seconds in time.items():
        inside = [x for other, x in time.items() if other[:-1] == path]
        assert seconds > sum(inside)
        if len(path) > 1:
            assert path[:-1] in time
    assert all(part.share == part.seconds / median for part in found.parts)
    kept = {part.path: part.memory for part in found.parts}
    assert kept['encode', ] > 0 > kept['backward', ]
    assert found.operators[0][2] >= found.operators[-1][2] > 0


def test_a_slow_part_is_found(clock, monkeypatch):
    original = ModalityEncoder.forward

    def slow(self, index):
        clock.value += 1000.0
        return original(self, index)

    monkeypatch.setattr(ModalityEncoder, 'forward', slow)
    found = profile(trainer(), steps=2, warmup=1)
    slowest = {part.path for part in found.parts if part.seconds > 900}
    ends = {path[-1] for path in slowest}
    assert {'project visual', 'project text', 'embed'} <= ends
    assert ends <= {'project visual', 'project text', 'embed', 'encode',
                    'adversary, its own side'}
    part = next(part for part in found.parts
                if part.path[-1] == 'project text')
    assert 1000 <= part.seconds < 1100
    assert part.share == pytest.approx(
        part.seconds / statistics.median(found.seconds))


def test_steps_are_those_of_the_trainer():
    torch.manual_seed(0)
    profiled = trainer()
    torch.manual_seed(0)
    plain = trainer()
    for part in (profiled, plain):
        part.model.train()
    torch.manual_seed(1)
    profile(profiled, steps=2, warmup=0)
    torch.manual_seed(1)
    batches = full_batches(plain)
    for _ in range(3):  # The last one is recorded by torch's profiler.
        plain.train_step(next(batches), 'here')
    for ours, theirs in zip(profiled.model.parameters(),
                            plain.model.parameters()):
        assert torch.equal(ours, theirs)


def test_everything_is_put_back():
    part = trainer()
    backward, encode = torch.autograd.backward, type(part).train_step
    profile(part, steps=1, warmup=0)
    assert torch.autograd.backward is backward
    assert type(part).train_step is encode
    for owner in (part.model, part.sampler, part.adversary, part.loss,
                  *part.optimizers.values()):
        assert not {'embed', 'fuse', 'score', 'forward', 'sample', 'step',
                    'generator_loss'} & set(vars(owner))


def test_pyg_model_and_text():
    kg = FakeMMKG(num_nodes=60, num_edges=300)[0]
    found = profile(Trainer(TransE(60, 6, 8), kg, batch_size=64,
                            valid_every=None, progress=False), steps=2)
    text = str(found)
    assert "the model's own loss" in text and '  score' in text
    assert 'step, median of 2' in text
    assert found.to_dict()['parts'][0]['path'] == ['batch']


def test_batches_are_full():
    part = trainer()
    batches = full_batches(part)
    sizes = [next(batches).head_index.numel() for _ in range(12)]
    assert sizes == [50] * 12


def test_batches_are_full_with_few_triples_per_epoch():
    batches = full_batches(trainer(triples_per_epoch=30))
    assert [next(batches).head_index.numel() for _ in range(3)] == [30] * 3


def test_batches_are_full_in_one_of_several_processes():
    part = trainer()
    part.own_part = lambda batch: batch.part(Share(
        0, batch.head_index.numel() * 2 // 5, batch.head_index.numel(), 0.4))
    batches = full_batches(part)
    assert [next(batches).head_index.numel() for _ in range(12)] == [20] * 12


def test_peak_memory_grows():
    before = peak_memory(torch.device('cpu'))
    if before is None:
        pytest.skip('the system does not tell')
    # The new bytes alone exceed the bound, whatever was freed before.
    x = torch.ones((before + (64 << 20)) // 4)
    assert peak_memory(torch.device('cpu')) > before + (32 << 20)
    assert x.numel() > 0


def test_refuses_no_steps():
    with pytest.raises(ModelError, match="'steps' to be an integer >= 1"):
        profile(trainer(), steps=0)


def test_samplers_begin_an_epoch():
    """Variant T needs the number of epochs, and variant A needs the model."""
    kg = FakeMMKG(num_nodes=60, num_edges=300)[0]
    for variant in ('A', 'T'):
        model = TBKGC.from_data(kg, hidden_channels=4)
        sampler = MANSSampler(2, variant)
        found = profile(Trainer(
            model, kg, sampler=sampler, batch_size=300, epochs=2,
            valid_every=None, progress=False), steps=2, warmup=1)
        assert len(found.seconds) == 2
        assert sampler.share == {'A': 1.0, 'T': 0.0}[variant]
