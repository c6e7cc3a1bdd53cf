from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from pyg_mmkgc.data import TripleIndex
from pyg_mmkgc.errors import DataError

N, R = 7, 3


def random_triples(seed: int, num_edges: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randint(N, (2, num_edges), generator=generator),
            torch.randint(R, (num_edges, ), generator=generator))


@pytest.mark.parametrize('num_edges', [0, 1, 10, 60, 400])
@pytest.mark.parametrize('seed', range(4))
def test_triple_index_equals_brute_force(seed: int, num_edges: int) -> None:
    edge_index, edge_type = random_triples(seed, num_edges)
    index = TripleIndex(edge_index, edge_type, N, R)
    known = set(zip(*torch.stack([*edge_index, edge_type]).tolist(),
                    strict=True))
    assert len(index) == len(known)

    for h, r, t in itertools.product(range(N), range(R), range(N)):
        h_, r_, t_ = torch.tensor(h), torch.tensor(r), torch.tensor(t)
        assert bool(index.contains(h_, r_, t_)) == ((h, t, r) in known)

    # All queries at once, in random order and with repetitions.
    query = torch.randint(N, (50, )), torch.randint(R, (50, ))
    row, tail = index.tails(*query)
    expected = [(i, t) for i in range(50) for t in range(N)
                if (int(query[0][i]), t, int(query[1][i])) in known]
    assert list(zip(row.tolist(), tail.tolist(), strict=True)) == expected
    row, head = index.heads(query[1], query[0])
    expected = [(i, h) for i in range(50) for h in range(N)
                if (h, int(query[0][i]), int(query[1][i])) in known]
    assert list(zip(row.tolist(), head.tolist(), strict=True)) == expected
    assert row.dtype == head.dtype == torch.long


def test_triple_index_broadcasts() -> None:
    edge_index, edge_type = random_triples(0, 60)
    index = TripleIndex(edge_index, edge_type, N, R)
    head = torch.arange(N).view(N, 1, 1)
    rel = torch.arange(R).view(1, R, 1)
    tail = torch.arange(N).expand(2, 1, 1, N)
    out = index.contains(head, rel, tail)
    assert out.shape == (2, N, R, N)
    assert out.dtype == torch.bool
    expected = torch.zeros(N, R, N, dtype=torch.bool)
    expected[edge_index[0], edge_type, edge_index[1]] = True
    assert torch.equal(out, expected.expand(2, -1, -1, -1))
    empty = torch.empty(0, dtype=torch.long)
    assert index.contains(empty, empty, empty).shape == (0, )
    assert index.tails(empty, empty)[0].shape == (0, )


def test_triple_index_is_immutable() -> None:
    edge_index, edge_type = random_triples(1, 60)
    index = TripleIndex(edge_index, edge_type, N, R)
    before = index._tails.clone(), index._heads.clone()
    edge_index.zero_()
    row, tail = index.tails(torch.arange(N), torch.zeros(N, dtype=torch.long))
    tail.fill_(-1)
    assert torch.equal(index._tails, before[0])
    assert torch.equal(index._heads, before[1])
    moved = index.to('cpu')
    assert len(moved) == len(index)
    assert str(moved) == f'TripleIndex({len(index)}, num_nodes=7, ' \
        'num_relations=3)'


def test_triple_index_large_ids() -> None:
    # The largest size for 64 bits: the last triple is the last integer.
    num_nodes, num_relations = 2**31 - 1, 2
    last = torch.tensor([[num_nodes - 1, 0], [num_nodes - 1, 5]])
    index = TripleIndex(last, torch.tensor([1, 0]), num_nodes, num_relations)
    assert index.contains(last[0], torch.tensor([1, 0]), last[1]).all()
    row, tail = index.tails(last[0], torch.tensor([1, 0]))
    assert row.tolist() == [0, 1] and tail.tolist() == [num_nodes - 1, 5]


def test_triple_index_errors() -> None:
    edge_index, edge_type = random_triples(0, 5)
    with pytest.raises(DataError, match='fit into 64 bits .got '):
        TripleIndex(edge_index, edge_type, 2**31, 3)
    with pytest.raises(DataError, match=r'node ids from 0 to 6 \(got'):
        TripleIndex(edge_index + 7, edge_type, N, R)
    with pytest.raises(DataError, match='relation ids of dtype int64 .got'):
        TripleIndex(edge_index, edge_type.float(), N, R)
    index = TripleIndex(edge_index, edge_type, N, R)
    good, bad = torch.tensor([0]), torch.tensor([-1])
    for call in [
            lambda: index.contains(bad, good, good),
            lambda: index.contains(good, bad, good),
            lambda: index.contains(good, good, bad),
            lambda: index.tails(good, torch.tensor([3])),
            lambda: index.heads(good, bad),
    ]:
        with pytest.raises(DataError, match=r'ids from 0 to \d+ \(got'):
            call()


@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA')
def test_triple_index_cuda() -> None:
    edge_index, edge_type = random_triples(0, 60)
    index = TripleIndex(edge_index, edge_type, N, R)
    query = torch.arange(N), torch.arange(N) % R
    moved = index.to('cuda').tails(query[0].cuda(), query[1].cuda())
    for out, expected in zip(moved, index.tails(*query), strict=True):
        assert out.is_cuda and torch.equal(out.cpu(), expected)
