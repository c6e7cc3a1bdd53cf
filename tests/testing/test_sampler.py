"""check_sampler finds each planted fault."""

import random
from typing import Any

import pytest
import torch
from torch import Tensor

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.sampler import (
    BernoulliSampler,
    Choice,
    Negatives,
    UniformSampler,
)
from pyg_mmkgc.testing import check_sampler

FAULTS: dict[str, tuple[type[UniformSampler], str]] = {}


def fault(message: str) -> Any:
    def add(cls: type[UniformSampler]) -> type[UniformSampler]:
        FAULTS[cls.__name__] = (cls, message)
        return cls
    return add


class Changed(UniformSampler):
    """Uniform negatives, then changed."""
    def sample(self, head_index: Tensor, rel_type: Tensor,
               tail_index: Tensor, generator: torch.Generator) -> Negatives:
        out = super().sample(head_index, rel_type, tail_index, generator)
        return self.change(out, head_index)

    def change(self, out: Negatives, head: Tensor) -> Negatives:
        return out


@fault(r'shapes: expected nodes \[1, 6\] or some times as many')
class OneColumnLess(Changed):
    def change(self, out: Negatives, head: Tensor) -> Negatives:
        return Negatives(out.node[:, 1:], out.corrupt_head[:, 1:])


@fault('shapes: corrupt_head: expected .* of torch.bool, got .* of torch.fl')
class SideAsNumber(Changed):
    def change(self, out: Negatives, head: Tensor) -> Negatives:
        return out._replace(corrupt_head=out.corrupt_head.float())


@fault("shapes: kept names views that there are not: {'image'}")
class UnknownView(Changed):
    def change(self, out: Negatives, head: Tensor) -> Negatives:
        return out._replace(kept={'image': out.corrupt_head})


@fault('shapes: the picks of a choice are not its nodes')
class PicksOfAnother(Changed):
    def change(self, out: Negatives, head: Tensor) -> Negatives:
        return out._replace(choice=Choice(
            torch.arange(self.num_nodes), torch.zeros(()), out.node.flip(0),
            lambda x: x.sum()))


@fault('seeds: draws from the global random numbers')
class GlobalNumbers(Changed):
    def change(self, out: Negatives, head: Tensor) -> Negatives:
        return out._replace(node=torch.randint_like(out.node, 24))


@fault('seeds: one seed gives different nodes')
class NumbersOfItsOwn(Changed):
    def change(self, out: Negatives, head: Tensor) -> Negatives:
        return out._replace(
            node=(out.node + random.SystemRandom().randrange(1, 1000)) % 24)


@fault('seeds: another seed gives the same nodes')
class AlwaysTheSame(Changed):
    def change(self, out: Negatives, head: Tensor) -> Negatives:
        rows = torch.arange(out.node.numel()).view_as(out.node)
        return out._replace(node=rows % 24)


@fault(r'range: expected nodes in \[0, 24\), got 1 to 24')
class CountsFromOne(Changed):
    def change(self, out: Negatives, head: Tensor) -> Negatives:
        return out._replace(node=out.node + 1)


@fault('range: 1 of 24 nodes are never drawn')
class NeverTheFirst(Changed):
    def change(self, out: Negatives, head: Tensor) -> Negatives:
        return out._replace(node=out.node.clamp(min=1))


@fault('range: sample changes the positives')
class WritesToThePositives(Changed):
    def change(self, out: Negatives, head: Tensor) -> Negatives:
        head += 1
        return out


@fault('side: only one side is corrupted')
class TailsOnly(Changed):
    def change(self, out: Negatives, head: Tensor) -> Negatives:
        return out._replace(corrupt_head=torch.zeros_like(out.corrupt_head))


@fault('side: relation 0: expected a share of 0.500 heads')
class ThreeOfFourAreHeads(Changed):
    def change(self, out: Negatives, head: Tensor) -> Negatives:
        return out._replace(corrupt_head=out.corrupt_head
                            | (out.node % 2 == 0))


@fault('training: expected num_negatives in the text')
class NamesNothing(Changed):
    def __repr__(self) -> str:
        return 'NamesNothing()'


@fault('training: training does not change weight')
class LearnsNothing(Changed):
    def __init__(self, num_negatives: int) -> None:
        super().__init__(num_negatives)
        self.module = torch.nn.Linear(2, 1)


@fault('refusal: refuses without a reason: no')
class RefusesWithoutReason(Changed):
    def check(self, model: Any) -> None:
        if not getattr(model, 'modalities', []):
            raise ModelError('no')


@fault('refusal: AttributeError')
class FailsLate(Changed):
    def begin_epoch(self, model: Any, epoch: int, epochs: int) -> None:
        self.encoder = model.encoders


@pytest.mark.parametrize('name', FAULTS)
def test_planted_fault_is_found(name: str) -> None:
    cls, message = FAULTS[name]
    with pytest.raises(AssertionError, match=message):
        check_sampler(cls, side='uniform', num_negatives=6)


class OtherSide(BernoulliSampler):
    def sample(self, *args: Any) -> Negatives:
        node, side, *_ = super().sample(*args)
        return Negatives(node, ~side)


def test_a_known_triple_is_found() -> None:
    """Nodes of the complement, on the side of which they are not."""
    with pytest.raises(AssertionError, match='side: relation'):
        check_sampler(OtherSide, side='bernoulli', filtered=True)
    with pytest.raises(AssertionError, match='known: draws training triples'):
        check_sampler(OtherSide, filtered=True, checks=['known'])


def test_device_is_checked() -> None:
    class OnAnother(UniformSampler):
        def sample(self, *args: Any) -> Negatives:
            return Negatives(*(x.to('meta') for x in
                               super().sample(*args)[:2]))

    with pytest.raises(AssertionError, match='devices: nodes: expected cpu'):
        check_sampler(OnAnother, checks=['devices'])
