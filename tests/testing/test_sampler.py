"""Tests that check_sampler finds planted faults."""

from itertools import count
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
    """Draws uniform negatives, and changes them."""
    def sample(self, head_index: Tensor, rel_type: Tensor,
               tail_index: Tensor, generator: torch.Generator) -> Negatives:
        out = super().sample(head_index, rel_type, tail_index, generator)
        return self.change(out, head_index)

    def change(self, out: Negatives, head: Tensor) -> Negatives:
        return out


@fault(r'shapes: Expected nodes of shape \[1, 6\] or a multiple \(got \[')
class OneColumnLess(Changed):
    def change(self, out: Negatives, head: Tensor) -> Negatives:
        return Negatives(out.node[:, 1:], out.corrupt_head[:, 1:])


@fault("shapes: Expected 'corrupt_head' of .* torch.bool .got .* torch.float")
class SideAsNumber(Changed):
    def change(self, out: Negatives, head: Tensor) -> Negatives:
        return out._replace(corrupt_head=out.corrupt_head.float())


@fault("shapes: Expected only views .* 'kept' .got {'image'}")
class UnknownView(Changed):
    def change(self, out: Negatives, head: Tensor) -> Negatives:
        return out._replace(kept={'image': out.corrupt_head})


@fault("shapes: Expected the nodes of the picks in 'choice'")
class PicksOfAnother(Changed):
    def change(self, out: Negatives, head: Tensor) -> Negatives:
        return out._replace(choice=Choice(
            torch.arange(self.num_nodes), torch.zeros(()), out.node.flip(0),
            lambda x: x.sum()))


@fault('seeds: Expected sample to keep the global random state')
class GlobalNumbers(Changed):
    def change(self, out: Negatives, head: Tensor) -> Negatives:
        return out._replace(node=torch.randint_like(out.node, 24))


@fault('seeds: Expected equal nodes with the same seed')
class NumbersOfItsOwn(Changed):
    calls = count()

    def change(self, out: Negatives, head: Tensor) -> Negatives:
        return out._replace(node=(out.node + next(self.calls)) % 24)


@fault('seeds: Expected different nodes for different seeds')
class AlwaysTheSame(Changed):
    def change(self, out: Negatives, head: Tensor) -> Negatives:
        rows = torch.arange(out.node.numel()).view_as(out.node)
        return out._replace(node=rows % 24)


@fault(r'range: Expected nodes in \[0, 24\) \(got 1 to 24\)')
class CountsFromOne(Changed):
    def change(self, out: Negatives, head: Tensor) -> Negatives:
        return out._replace(node=out.node + 1)


@fault('range: Expected all 24 nodes .* .got 1 never drawn')
class NeverTheFirst(Changed):
    def change(self, out: Negatives, head: Tensor) -> Negatives:
        return out._replace(node=out.node.clamp(min=1))


@fault('range: Expected sample to keep the positives')
class WritesToThePositives(Changed):
    def change(self, out: Negatives, head: Tensor) -> Negatives:
        head += 1
        return out


@fault('side: Expected both sides to be corrupted .got only one')
class TailsOnly(Changed):
    def change(self, out: Negatives, head: Tensor) -> Negatives:
        return out._replace(corrupt_head=torch.zeros_like(out.corrupt_head))


@fault('side: Expected a share of 0.500 heads for relation 0 .*got 0')
class ThreeOfFourAreHeads(Changed):
    def change(self, out: Negatives, head: Tensor) -> Negatives:
        return out._replace(corrupt_head=out.corrupt_head
                            | (out.node % 2 == 0))


@fault("training: Expected 'num_negatives' in .*got NamesNothing")
class NamesNothing(Changed):
    def __repr__(self) -> str:
        return 'NamesNothing()'


@fault('training: Expected training to change weight')
class LearnsNothing(Changed):
    def __init__(self, num_negatives: int) -> None:
        super().__init__(num_negatives)
        self.module = torch.nn.Linear(2, 1)


@fault("refusal: Expected a ModelError with a reason .got 'no'")
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
    """Nodes of one complement may complete a triple on the other side."""
    with pytest.raises(AssertionError, match='side: .* for relation'):
        check_sampler(OtherSide, side='bernoulli', filtered=True)
    with pytest.raises(AssertionError, match='known: Expected no training '
                       r'triples .* \(got \[\('):
        check_sampler(OtherSide, filtered=True, checks=['known'])


def test_device_is_checked() -> None:
    class OnAnother(UniformSampler):
        def sample(self, *args: Any) -> Negatives:
            return Negatives(*(x.to('meta') for x in
                               super().sample(*args)[:2]))

    with pytest.raises(AssertionError, match='devices: Expected nodes on '
                       'cpu .got meta'):
        check_sampler(OnAnother, checks=['devices'])
