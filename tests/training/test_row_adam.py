"""Tests of RowAdam against PyTorch's Adam and SparseAdam."""

import copy
import importlib.util
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import Embedding, Linear

from pyg_mmkgc.kernels import backend
from pyg_mmkgc.kernels.rows import sum_rows
from pyg_mmkgc.testing import (
    count_waits,
    missing_accelerator,
    pretend_accelerator,
)
from pyg_mmkgc.training.row_adagrad import RowAdagrad
from pyg_mmkgc.training.row_adam import RowAdam

REASON = missing_accelerator() or ''
needs_device = pytest.mark.skipif(bool(REASON), reason=REASON)
HAS_NUMBA = importlib.util.find_spec('numba') is not None


@pytest.fixture(params=['plain'] + ['numba'] * HAS_NUMBA)
def path(request: pytest.FixtureRequest,
         monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == 'plain':
        monkeypatch.setattr(backend, '_load', lambda name: None)
    return request.param


def steps(optimizer: torch.optim.Optimizer, module: Embedding,
          num: int) -> None:
    """Ids repeat within a step, and rows pause between steps."""
    for i in range(num):
        index = torch.tensor([i % 5, 2, 2, (3 * i) % 7])
        optimizer.zero_grad()
        weight = torch.arange(1.0, 5.0, dtype=module.weight.dtype)
        (weight[:, None] * module(index).sin()).sum().backward()
        grad = module.weight.grad
        if grad is not None and grad.is_sparse:
            module.weight.grad = grad.coalesce()
        for group in optimizer.param_groups:
            group['lr'] = 0.1 / (1 + i)
        optimizer.step()


@pytest.mark.parametrize('dtype', [torch.float, torch.double])
def test_equals_sparse_adam(path: str, dtype: torch.dtype) -> None:
    ours = Embedding(7, 3, sparse=True, dtype=dtype)
    theirs = copy.deepcopy(ours)
    steps(RowAdam(ours.parameters()), ours, 9)
    steps(torch.optim.SparseAdam(theirs.parameters()), theirs, 9)
    tol = 1e-12 if dtype == torch.double else 1e-5
    torch.testing.assert_close(ours.weight, theirs.weight, rtol=tol, atol=tol)


def test_equals_adam_where_gradients_are_dense() -> None:
    ours = Embedding(7, 3)
    theirs = copy.deepcopy(ours)
    steps(RowAdam(ours.parameters()), ours, 9)
    steps(torch.optim.Adam(theirs.parameters(), fused=True), theirs, 9)
    assert torch.equal(ours.weight, theirs.weight)


def test_both_in_one(path: str) -> None:
    """Rows without a gradient stay, and gradients are kept."""
    rows, lin = Embedding(7, 3, sparse=True), Linear(3, 1)
    before = rows.weight.detach().clone()
    optimizer = RowAdam([*rows.parameters(), *lin.parameters()], lr=0.1)
    lin(rows(torch.tensor([1, 4]))).sum().backward()
    optimizer.step()
    moved = (rows.weight != before).any(dim=1)
    assert moved.tolist() == [i in (1, 4) for i in range(7)]
    assert rows.weight.grad is not None and rows.weight.grad.is_sparse
    assert lin.weight.grad is not None


def test_goes_on_from_a_state(path: str) -> None:
    whole = Embedding(7, 3, sparse=True)
    half = copy.deepcopy(whole)
    optimizer = RowAdam(whole.parameters())
    steps(optimizer, whole, 6)
    steps(optimizer, whole, 6)
    first = RowAdam(half.parameters())
    steps(first, half, 6)
    second = RowAdam(half.parameters())
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    steps(second, half, 6)
    assert torch.equal(whole.weight, half.weight)


@needs_device
@pytest.mark.parametrize('optimizer', [RowAdam, RowAdagrad])
def test_a_device_is_not_waited_for(optimizer: Any) -> None:
    """Ids that repeat in a step are added up on the device."""
    table = Embedding(7, 3, sparse=True, dtype=torch.double)
    there = copy.deepcopy(table).to(pretend_accelerator())
    index = [torch.tensor(ids) for ids in (
        [5, 1, 5, 2, 5], [4], [1, 1, 1, 1], [6, 2, 2, 0, 6])]

    def train(module: Embedding, ids: list[Tensor]) -> None:
        steps = optimizer(module.parameters(), lr=0.1)
        for some in ids:
            steps.zero_grad()
            module(some).sin().square().sum().backward()
            steps.step()

    train(table, index)
    ids = [some.to(pretend_accelerator()) for some in index]
    with count_waits() as waits:
        train(there, ids)
    assert waits.total == 0, waits
    torch.testing.assert_close(there.weight.cpu(), table.weight, rtol=1e-6,
                               atol=1e-7)
    assert torch.equal(table.weight[3], there.weight[3].cpu())


@needs_device
def test_sums_of_rows() -> None:
    """A gradient keeps its value and its norm is the norm of the sums."""
    index = torch.tensor([[3, 0, 3, 5, 0, 3]])
    values = torch.randn(6, 2, dtype=torch.double)
    grad = torch.sparse_coo_tensor(index, values, (7, 2),
                                   check_invariants=True)
    there = torch.sparse_coo_tensor(
        index.to(pretend_accelerator()), values.to(pretend_accelerator()),
        (7, 2), check_invariants=False)
    out = sum_rows(there)
    torch.testing.assert_close(out.cpu().to_dense(), grad.to_dense())
    torch.testing.assert_close(out._values().cpu().norm(),
                               grad.to_dense().norm())
    assert out._indices().cpu().tolist() == [[0, 3, 5, 5, 5, 5]]
    assert sum_rows(grad).is_coalesced()
