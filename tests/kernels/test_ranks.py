"""Counts of rivals in shared rows, against plain loops."""

import importlib.util

import pytest
import torch
from torch import Tensor

from pyg_mmkgc.kernels import backend, ranks
from pyg_mmkgc.kernels.ranks import count_rivals_in_rows

HAS_NUMBA = importlib.util.find_spec('numba') is not None


@pytest.fixture(params=['plain'] + ['numba'] * HAS_NUMBA)
def path(request, monkeypatch) -> str:
    """Runs without numba, and with it and no fallback."""
    if request.param == 'plain':
        monkeypatch.setattr(backend, '_load', lambda name: None)
    else:
        monkeypatch.setattr(ranks, '_count', None)
    return request.param


def brute_force(scores: Tensor, row: Tensor, target: Tensor, truth: Tensor,
                known: set[tuple[int, int]]) -> list[list[int]]:
    """Counts better, not worse and all candidates, one by one."""
    out: list[list[int]] = [[], [], []]
    for r, node, own in zip(row.tolist(), target.tolist(), truth.tolist(),
                            strict=True):
        rivals = [x for n, x in enumerate(scores[r].tolist())
                  if n == node or (r, n) not in known]
        out[0].append(sum(x > own for x in rivals))
        out[1].append(sum(x >= own for x in rivals))
        out[2].append(len(rivals))
    return out


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('filtered', [False, True])
@pytest.mark.parametrize('apart', [False, True])
def test_counts(path, dtype, filtered, apart) -> None:
    """Rows that are shared, left out and out of order, with many ties."""
    table = torch.randint(-3, 4, (5, 40), dtype=dtype)
    scores = table[:, :33] if apart else table[:, :33].contiguous()
    row = torch.tensor([3, 0, 0, 4, 0, 3, 1])
    # Known and unknown targets, and two targets of another block.
    target = torch.tensor([32, 1, 2, 3, 4, -5, 40])
    truth = scores[row, target.clamp(0, 32)]
    known, pairs = None, set()
    if filtered:
        # A row without targets, an unused row, and different counts.
        mask = torch.rand(5, 33) < 0.3
        mask[4], mask[0, 1], mask[0, 2] = False, True, False
        known = tuple(mask.nonzero().t())
        pairs = {(r, n) for r, n in mask.nonzero().tolist()}
    got = count_rivals_in_rows(scores, row, target, truth, known)
    assert [x.tolist() for x in got] == brute_force(scores, row, target, truth,
                                                    pairs)


@pytest.mark.parametrize('num_nodes', [4095, 4096, 4097, 9000])
def test_long_rows(path, num_nodes) -> None:
    """Counts past the runs of the loop."""
    scores = torch.rand(2, num_nodes)
    row, truth = torch.tensor([1, 0, 1]), torch.tensor([0.0, 0.5, 2.0])
    better, not_worse, counts = count_rivals_in_rows(
        scores, row, torch.zeros_like(row), truth, None)
    half = int((scores[0] > 0.5).sum())
    assert better.tolist() == [int((scores[1] > 0).sum()), half, 0]
    assert not_worse.tolist() == [num_nodes, int((scores[0] >= 0.5).sum()), 0]
    assert counts.tolist() == [num_nodes] * 3


def test_infinite_truth(path) -> None:
    scores = torch.tensor([[-1.0, 3e38, -3e38]])
    truth = torch.tensor([torch.inf, -torch.inf])
    better, not_worse, _ = count_rivals_in_rows(
        scores, torch.tensor([0, 0]), torch.tensor([0, 1]), truth, None)
    assert better.tolist() == not_worse.tolist() == [0, 3]


def test_no_targets(path) -> None:
    empty = torch.empty(0, dtype=torch.long)
    got = count_rivals_in_rows(torch.rand(3, 4), empty, empty,
                               torch.empty(0), (empty, empty))
    assert [x.numel() for x in got] == [0, 0, 0]
