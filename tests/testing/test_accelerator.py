"""The pretend device computes the values of the CPU, refuses what a GPU
refuses, and counts the waits of the host.
"""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import backend_registration

from pyg_mmkgc.datasets import FakeMMKG
from pyg_mmkgc.errors import DeviceError
from pyg_mmkgc.nn import AdaMF
from pyg_mmkgc.sampler import BernoulliSampler, Negatives
from pyg_mmkgc.testing import (
    count_waits,
    missing_accelerator,
    pretend_accelerator,
)
from pyg_mmkgc.training import Trainer

REASON = missing_accelerator() or ''
needs_device = pytest.mark.skipif(bool(REASON), reason=REASON)


@pytest.fixture
def device() -> torch.device:
    if REASON:
        pytest.skip(REASON)
    return pretend_accelerator()


def test_without_registration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(backend_registration,
                        '_setup_privateuseone_for_python_backend',
                        raising=False)
    reason = missing_accelerator()
    assert reason is not None
    assert torch.__version__ in reason
    pretend_accelerator.cache_clear()
    with pytest.raises(DeviceError, match='registers no devices'):
        pretend_accelerator()


@needs_device
def test_another_device_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch._C, '_get_privateuse1_backend_name',
                        lambda: 'npu')
    assert missing_accelerator() == (
        "the device 'npu' is registered in place of 'pretend'")


def test_step_equals_the_cpu(device: torch.device) -> None:
    results = []
    for place in (torch.device('cpu'), device):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Embedding(5, 4),
                                    torch.nn.Linear(4, 3)).to(place)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1, fused=True)
        index = torch.tensor([0, 2, 2], device=place)
        for _ in range(3):
            optimizer.zero_grad()
            loss = torch.nn.functional.dropout(model(index)).square().sum()
            loss.backward()
            optimizer.step()
        assert {x.device for x in model.parameters()} == {place}
        results.append([x.detach().cpu() for x in model.parameters()])
    for x, y in zip(*results, strict=True):
        assert torch.equal(x, y)
    assert results[0][0][2].abs().sum() > 0


def test_values_move_between_devices(device: torch.device) -> None:
    x = torch.arange(6.0).view(2, 3)
    there = x.to(device)
    assert there.device == device
    assert there[1].tolist() == [3.0, 4.0, 5.0]
    there[:, 0] = -1.0
    assert there.cpu().tolist() == [[-1.0, 1.0, 2.0], [-1.0, 4.0, 5.0]]
    assert x[0, 0] == 0.0  # A copy.
    twin = copy.deepcopy(there)
    twin.zero_()
    assert there[0, 1].item() == 1.0
    module = torch.nn.Linear(2, 2).to(device).double()
    assert module.weight.cpu().dtype == torch.double
    with pytest.raises(DeviceError, match='as the data of'):
        there.data = x


MIXED: dict[str, Callable[[Tensor, Tensor], Any]] = {
    'add': lambda x, y: x + y,
    'matmul': lambda x, y: y @ x.t(),
    'in place': lambda x, y: x.mul_(y),
    'index': lambda x, y: x[torch.tensor([0, 1])],
    'index on the host': lambda x, y: y[torch.tensor([0, 1],
                                                     device=x.device)],
    'embedding': lambda x, y: torch.nn.functional.embedding(
        torch.tensor([0, 1]), x),
    'cat': lambda x, y: torch.cat([x, y]),
}


@pytest.mark.parametrize('name', MIXED)
def test_refuses_operands_on_two_devices(name: str,
                                         device: torch.device) -> None:
    with pytest.raises(DeviceError, match="on one device .*on 'cpu'"):
        MIXED[name](torch.ones(2, 3, device=device), torch.ones(2, 3))


def test_scalars_are_arguments(device: torch.device) -> None:
    with count_waits() as waits:
        x = torch.ones(2, device=device) * torch.tensor(3.0) + 1
    assert waits.total == 0
    assert x.tolist() == [4.0, 4.0]


def test_refuses_a_generator_of_the_cpu(device: torch.device) -> None:
    generator = torch.Generator()
    for draw in (torch.rand, torch.randn):
        with pytest.raises(DeviceError, match='Expected a generator on'):
            draw(3, generator=generator, device=device)
    with pytest.raises(DeviceError, match='Expected a generator on'):
        torch.empty(3, device=device).normal_(generator=generator)


def test_refuses_numpy(device: torch.device) -> None:
    with pytest.raises((RuntimeError, TypeError), match='numpy'):
        torch.ones(3, device=device).numpy()


WAITS: dict[str, tuple[Callable[[Tensor], Any], int]] = {
    'item': (lambda x: x.sum().item(), 1),
    'bool': (lambda x: bool((x > 0).all()), 1),
    'float, twice': (lambda x: float(x.sum()) + float(x.max()), 2),
    'tolist': (lambda x: x.tolist(), 1),
    'nonzero': (lambda x: x.nonzero(), 1),
    'where': (lambda x: torch.where(x > 0), 1),
    'unique': (lambda x: x.unique(), 1),
    'unique rows': (lambda x: x.unique(dim=0), 1),
    'unique_consecutive': (lambda x: x.unique_consecutive(), 1),
    'mask': (lambda x: x[x > 0], 1),
    'write to a mask': (lambda x: x.__setitem__(x > 0, x[x > 0]), 2),
    'masked_select': (lambda x: x.masked_select(x > 0), 1),
    'equal': (lambda x: torch.equal(x, x), 1),
    'bincount': (lambda x: x.view(-1).long().bincount(), 1),
    'repeat': (lambda x: x.repeat_interleave(x[:, 0].long(), dim=0), 1),
    'to the host': (lambda x: x.cpu(), 1),
    'into the host': (lambda x: torch.empty(2, 3).copy_(x), 1),
    'to the device': (lambda x: torch.ones(3).to(x.device), 1),
    'new tensor': (lambda x: torch.tensor([1, 2], device=x.device), 1),
    'in the backward pass': (lambda x: _Waits.apply(
        x.clone().requires_grad_()).sum().backward(), 1),
    # No waits.
    'arithmetic': (lambda x: (x @ x.t()).softmax(-1).sum(), 0),
    'rows': (lambda x: x[torch.zeros(2, dtype=torch.long, device=x.device)],
             0),
    'scalar at a mask': (lambda x: x.masked_fill(x > 0, 1.0), 0),
    'mask as numbers': (lambda x: ((x > 0) * x).sum(), 0),
    'copy in the background': (lambda x: torch.ones(3).to(
        x.device, non_blocking=True), 0),
    'repeat by a number': (lambda x: x.repeat_interleave(2, dim=0), 0),
    'repeat to a known size': (lambda x: torch.arange(
        2, device=x.device).repeat_interleave(x[:, 0].long(), output_size=2),
        0),
    'factories': (lambda x: [torch.arange(3, device=x.device), torch.eye(
        2, device=x.device), torch.randperm(4, device=x.device)], 0),
}


class _Waits(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * grad.max().item()


@pytest.mark.parametrize('name', WAITS)
def test_counts_waits(name: str, device: torch.device) -> None:
    call, count = WAITS[name]
    x = torch.ones(2, 3).to(device)
    with count_waits() as waits:
        call(x)
    assert waits.total == count, waits
    call(x)
    assert waits.total == count  # The context has ended.


def test_lines_of_waits(device: torch.device) -> None:
    x = torch.ones(3, device=device)
    with count_waits() as outer:
        x.sum().item()
        with count_waits() as inner:
            x.nonzero()
    assert outer.by_kind == {'item': 1, 'nonzero': 1}
    assert inner.by_kind == {'nonzero': 1}
    assert all('test_accelerator.py:' in line for line in outer.by_line)
    assert 'nonzero at' in str(inner)


# Planted faults in a training: each kind is found.


class LeftOnTheHost(AdaMF):
    def embed(self, index: Tensor) -> dict[str, Tensor]:
        views = super().embed(index)
        return views | {'structure': views['structure'] * torch.ones(8)}


class AsksForItems(AdaMF):
    def embed(self, index: Tensor) -> dict[str, Tensor]:
        views = super().embed(index)
        assert views['structure'].abs().max().item() < 1e6
        return views


class DrawsOnTheHost(AdaMF):
    def embed(self, index: Tensor) -> dict[str, Tensor]:
        views = super().embed(index)
        x = views['structure']
        noise = torch.randn(x.shape, device=x.device,
                            generator=torch.Generator().manual_seed(0))
        return views | {'structure': x + noise}


class UsesNumpy(AdaMF):
    def embed(self, index: Tensor) -> dict[str, Tensor]:
        index.detach().numpy()
        return super().embed(index)


class Sorts(BernoulliSampler):
    def sample(self, *args: Any) -> Negatives:
        found = super().sample(*args)
        distinct = found.node.to(pretend_accelerator()).unique()
        assert distinct.numel() > 0
        return found


def fit(cls: type[AdaMF], device: Any,
        sampler: type[BernoulliSampler] = BernoulliSampler) -> int:
    kg = FakeMMKG(num_nodes=20, num_relations=2, num_edges=40,
                  val_ratio=0.0, test_ratio=0.0)[0]
    trainer = Trainer(cls.from_data(kg, 4), kg, sampler=sampler(4),
                      batch_size=10, epochs=1, valid_every=None,
                      progress=False, device=device)
    with count_waits() as waits:
        trainer.fit()
    assert len(trainer) == 4
    return waits.total


def test_planted_faults(device: torch.device) -> None:
    sound = fit(AdaMF, device)
    assert sound == 4 + 1  # One wait per step, and one for the mean loss.
    for cls, reason in ((LeftOnTheHost, 'on one device'),
                        (DrawsOnTheHost, 'a generator on'),
                        (UsesNumpy, 'numpy')):
        fit(cls, 'cpu')
        with pytest.raises(RuntimeError, match=reason):
            fit(cls, device)
    assert fit(AsksForItems, device) == sound + 4
    assert fit(AdaMF, device, Sorts) == sound + 2 * 4
