"""Tests of one pool for each chunk of positives."""

import pytest
import torch
from torch_geometric.testing import withCUDA

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.sampler import PooledSampler

N, R = 1000, 2


def make(num_negatives: int = 7, chunk_size: int = 4,
         device: str | torch.device = 'cpu') -> tuple:
    head, tail = edge_index = torch.randint(N, (2, 10), device=device)
    rel = torch.randint(R, (10, ), device=device)
    sampler = PooledSampler(num_negatives, chunk_size)
    sampler.prepare(edge_index, rel, N, R)
    return sampler, (head, rel, tail)


@withCUDA
@pytest.mark.parametrize('num, chunk, num_chunks', [
    (10, 4, 3), (8, 4, 2), (10, 1, 10), (10, 100, 1), (0, 4, 0)])
def test_layout(num: int, chunk: int, num_chunks: int,
                device: torch.device) -> None:
    sampler, triples = make(chunk_size=chunk, device=device)
    node, side, *_ = sampler.sample(*(x[:num] for x in triples),
                                torch.Generator().manual_seed(0))
    assert node.shape == side.shape == (num, 7)
    assert node.device == side.device == triples[0].device
    assert bool(((node >= 0) & (node < N)).all())
    assert len(node.unique()) <= num_chunks * 7  # Makes a step cheap.
    for b in range(num):
        assert torch.equal(node[b], node[b // chunk * chunk])
        if b >= chunk:
            assert not torch.equal(node[b], node[b - chunk])


def test_sides_are_of_each_positive() -> None:
    """Relation 0 is 1-N, relation 1 is N-1."""
    edge_index = torch.tensor([[0, 0, 0, 0, 1, 2, 3, 4],
                               [5, 6, 7, 8, 0, 0, 0, 0]])
    rel = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    sampler = PooledSampler(5000).prepare(edge_index, rel, N, R)
    _, side, *_ = sampler.sample(edge_index[0], rel, edge_index[1],
                             torch.Generator().manual_seed(0))
    share = side.double().mean(1)
    expected = torch.tensor([0.8] * 4 + [0.2] * 4).double()
    assert (share - expected).abs().max() < 5 * (0.16 / 5000) ** 0.5
    assert not torch.equal(side[0], side[1])


def test_one_side_of_a_positive() -> None:
    """The side of each positive is a fair coin for any relation."""
    edge_index = torch.tensor([[0] * 4000, list(range(4000))])
    rel = torch.zeros(4000, dtype=torch.long)
    sampler = PooledSampler(3, 4, one_side=True)
    sampler.prepare(edge_index, rel, 4000, 1)
    assert float(sampler.head_prob[0]) > 0.99  # Bernoulli's would be.
    _, side, *_ = sampler.sample(edge_index[0], rel, edge_index[1],
                                 torch.Generator().manual_seed(0))
    assert side.shape == (4000, 3)
    assert torch.equal(side, side[:, :1].expand_as(side))
    share = float(side[:, 0].double().mean())
    assert abs(share - 0.5) < 5 * (0.25 / 4000) ** 0.5
    assert 'one_side=True' in repr(sampler)
    assert 'one_side' not in repr(PooledSampler())


def test_pools_are_uniform() -> None:
    sampler, triples = make(2000, 1)
    sampler.num_nodes = 5
    node, *_ = sampler.sample(*triples, torch.Generator().manual_seed(0))
    share = node.view(-1).bincount() / node.numel()
    assert share.numel() == 5
    assert (share - 0.2).abs().max() < 5 * (0.16 / node.numel()) ** 0.5


def test_follows_the_generator() -> None:
    sampler, triples = make()
    state = torch.get_rng_state()
    first, again, other = (
        sampler.sample(*triples, torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2))
    assert torch.equal(first.node, again.node)
    assert torch.equal(first.corrupt_head, again.corrupt_head)
    assert not torch.equal(first.node, other.node)
    assert torch.equal(torch.get_rng_state(), state)


def test_bad_input() -> None:
    with pytest.raises(ModelError, match="'chunk_size' .*>= 1 .got 0"):
        PooledSampler(chunk_size=0)
    with pytest.raises(ModelError, match="'num_negatives' .*>= 1 .got 0"):
        PooledSampler(0)


def test_repr_names_the_options() -> None:
    """Checkpoints identify a sampler by its representation."""
    assert 'chunk_size=9' in repr(PooledSampler(3, 9))
    assert 'num_negatives=3' in repr(PooledSampler(3, 9))
