"""Tests of uniform nodes on one side of each positive."""

import torch

from pyg_mmkgc.sampler import CandidateSampler

N, R = 7, 2


def test_one_side_for_each_positive() -> None:
    """Relation 0 is 1-N, relation 1 is N-1."""
    edge_index = torch.tensor([[0, 0, 0, 0, 1, 2, 3, 4],
                               [1, 2, 3, 4, 0, 0, 0, 0]])
    rel = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    sampler = CandidateSampler(5).prepare(edge_index, rel, N, R)
    index = torch.arange(8).repeat(500)
    node, side, kept, choice = sampler.sample(
        edge_index[0, index], rel[index], edge_index[1, index],
        torch.Generator().manual_seed(0))
    assert kept is None and choice is None
    assert bool((side == side[:, :1]).all())
    share = side[:, 0].view(-1, 8).double().mean(0)
    expected = torch.tensor([0.8] * 4 + [0.2] * 4).double()
    assert (share - expected).abs().max() < 5 * (0.16 / 500) ** 0.5
    share = node.view(-1).bincount(minlength=N) / node.numel()
    assert (share - 1 / N).abs().max() < 5 * (1 / N / node.numel()) ** 0.5


def test_follows_the_generator() -> None:
    edge_index, rel = torch.randint(N, (2, 9)), torch.randint(R, (9, ))
    sampler = CandidateSampler().prepare(edge_index, rel, N, R)
    state = torch.get_rng_state()
    first, again, other = (
        sampler.sample(edge_index[0], rel, edge_index[1],
                       torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2))
    assert first.node.shape == (9, 20)
    assert torch.equal(first.node, again.node)
    assert torch.equal(first.corrupt_head, again.corrupt_head)
    assert not torch.equal(first.node, other.node)
    assert torch.equal(torch.get_rng_state(), state)
