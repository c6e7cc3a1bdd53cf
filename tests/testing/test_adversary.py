"""Tests that check_adversary finds planted faults."""

import random
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import Parameter
from torch_geometric.nn.kge import KGEModel

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.testing import check_adversary
from pyg_mmkgc.training import Adversary, Batch
from pyg_mmkgc.training.batch import Completion

FAULTS: dict[str, tuple[type[Adversary], str]] = {}


class Noise(Adversary):
    """Shifts the heads by a vector that lowers the scores of positives."""
    def __init__(self, model: KGEModel) -> None:
        super().__init__(weight=0.5)
        self.shift = Parameter(torch.randn(model.encode().size(-1)))

    def _scores(self, model: KGEModel, batch: Batch, shift: Tensor) -> Tensor:
        head, tail = (model.encode(x)
                      for x in (batch.head_index, batch.tail_index))
        return model.score(head + shift, batch.rel_type, tail)

    def discriminator_loss(self, model: KGEModel, batch: Batch,
                           done: Completion) -> Tensor:
        return -self._scores(model, batch, self.shift.detach()).mean()

    def generator_loss(self, model: KGEModel, batch: Batch,
                       done: Completion) -> Tensor:
        return self._scores(model, batch, self.shift).mean()


def fault(message: str) -> Any:
    def add(cls: type[Adversary]) -> type[Adversary]:
        FAULTS[cls.__name__] = (cls, message)
        return cls
    return add


@fault('sides: .* step of the model to keep the adversary .*of calls')
class CountsInTheModelsStep(Noise):
    def __init__(self, model: KGEModel) -> None:
        super().__init__(model)
        self.register_buffer('calls', torch.zeros(()))

    def discriminator_loss(self, model: KGEModel, batch: Batch,
                           done: Completion) -> Tensor:
        self.calls += 1
        return super().discriminator_loss(model, batch, done)


@fault('sides: .* step of the adversary to keep the model .*rel_emb.weight')
class WritesToTheModel(Noise):
    def generator_loss(self, model: KGEModel, batch: Batch,
                       done: Completion) -> Tensor:
        with torch.no_grad():
            model.rel_emb.weight.mul_(0.99)
        return super().generator_loss(model, batch, done)


@fault('sides: RuntimeError')
class Detached(Noise):
    def generator_loss(self, model: KGEModel, batch: Batch,
                       done: Completion) -> Tensor:
        return super().generator_loss(model, batch, done).detach()


@fault("sides: Expected 'unused' of the adversary to learn")
class Unused(Noise):
    def __init__(self, model: KGEModel) -> None:
        super().__init__(model)
        self.unused = Parameter(torch.zeros(2))


@fault(r'sides: Expected a finite scalar from generator_loss \(got nan')
class NotANumber(Noise):
    def generator_loss(self, model: KGEModel, batch: Batch,
                       done: Completion) -> Tensor:
        return super().generator_loss(model, batch, done) * float('nan')


@fault('seed: Expected equal trainings .* .got different .*shift')
class NumbersOfItsOwn(Noise):
    def generator_loss(self, model: KGEModel, batch: Batch,
                       done: Completion) -> Tensor:
        noise = random.SystemRandom().random()
        return self._scores(model, batch, (1 + noise) * self.shift).mean()


@fault('state: Expected equal states after resuming .got .*shift')
class StateOutsideOfTheState(Noise):
    steps = 0

    def generator_loss(self, model: KGEModel, batch: Batch,
                       done: Completion) -> Tensor:
        self.steps += 1
        return self._scores(model, batch, self.steps * self.shift).mean()


@fault('refusal: AttributeError')
class NeedsModalities(Noise):
    def discriminator_loss(self, model: KGEModel, batch: Batch,
                           done: Completion) -> Tensor:
        model.encoders['text'].train()
        return super().discriminator_loss(model, batch, done)


@fault("refusal: Expected a ModelError with a reason .got 'no'")
class RefusesWithoutReason(Noise):
    def check(self, model: KGEModel) -> None:
        if not model.modalities:
            raise ModelError('no')


def test_a_sound_adversary_passes() -> None:
    check_adversary(Noise)


@pytest.mark.parametrize('name', FAULTS)
def test_planted_fault_is_found(name: str) -> None:
    cls, message = FAULTS[name]
    with pytest.raises(AssertionError, match=message):
        check_adversary(cls)
