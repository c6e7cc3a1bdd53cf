"""Tests of the Bernoulli sampler by brute force and by distribution."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, chisquare
from torch import Tensor
from torch_geometric.testing import withCUDA

from pyg_mmkgc.errors import DataError
from pyg_mmkgc.sampler import BernoulliSampler, Negatives

N, R = 8, 3
# Relation 0 is 1-N (heads 0 and 1), relation 1 is symmetric, 2 is a loop.
TRIPLES = [(0, 0, 1), (0, 0, 2), (0, 0, 3), (0, 0, 4), (1, 0, 5), (1, 0, 7),
           (2, 1, 3), (3, 1, 2), (2, 1, 0), (6, 2, 6), (0, 1, 1)]


def prepare(triples: list[tuple[int, int, int]] = TRIPLES,
            num_negatives: int = 6, num_nodes: int = N,
            device: str | torch.device = 'cpu') -> tuple[BernoulliSampler,
                                                         Tensor]:
    head, rel, tail = table = torch.tensor(triples, device=device).t()
    sampler = BernoulliSampler(num_negatives)
    out = sampler.prepare(torch.stack([head, tail]), rel, num_nodes, R)
    assert out is sampler
    return sampler, table


def draw(sampler: BernoulliSampler, triples: Tensor,
         seed: int = 0) -> Negatives:
    return sampler.sample(*triples, torch.Generator().manual_seed(seed))


def corrupted(triples: Tensor, negatives: Negatives) -> list[
        tuple[int, int, int]]:
    out = []
    for b, (h, r, t) in enumerate(triples.t().tolist()):
        for node, side in zip(negatives.node[b].tolist(),
                              negatives.corrupt_head[b].tolist()):
            out.append((node, r, t) if side else (h, r, node))
    return out


@withCUDA
def test_no_negative_is_a_training_triple(device: torch.device) -> None:
    sampler, triples = prepare(num_negatives=200, device=device)
    negatives = draw(sampler, triples)
    assert negatives.node.shape == negatives.corrupt_head.shape == (11, 200)
    assert negatives.node.dtype == torch.long
    assert negatives.node.device == triples.device
    found = corrupted(triples, negatives)
    assert not set(found) & set(TRIPLES)
    assert all(0 <= h < N and 0 <= t < N for h, _, t in found)
    # Every other triple does come up.
    for h, r, t in TRIPLES:
        assert {(n, r, t) for n in range(N)} - set(TRIPLES) <= set(found)
        assert {(h, r, n) for n in range(N)} - set(TRIPLES) <= set(found)


edges = st.lists(st.tuples(st.integers(0, 4), st.integers(0, R - 1),
                           st.integers(0, 4)), min_size=1, max_size=14)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(edges, st.integers(0, 99))
def test_brute_force(triples: list[tuple[int, int, int]],
                     seed: int) -> None:
    """Draws any graph, with duplicates and at least one spare node."""
    sampler, table = prepare(triples, 9, num_nodes=6)
    negatives = draw(sampler, table, seed)
    assert not set(corrupted(table, negatives)) & set(triples)
    assert bool(((negatives.node >= 0) & (negatives.node < 6)).all())


@pytest.mark.parametrize('position', range(len(TRIPLES)))
def test_uniform_over_the_complement(position: int) -> None:
    sampler, triples = prepare(num_negatives=4000)
    one = triples[:, position:position + 1]
    node, side = (x.view(-1) for x in draw(sampler, one, seed=11)[:2])
    h, r, t = TRIPLES[position]
    for heads in (True, False):
        free = [n for n in range(N)
                if ((n, r, t) if heads else (h, r, n)) not in TRIPLES]
        count = node[side == heads].bincount(minlength=N)
        assert int(count.sum()) == int(count[free].sum()) > 300
        assert chisquare(count[free].numpy()).pvalue > 1e-4


def test_side_follows_the_relation() -> None:
    """P(head) = tph / (tph + hpt): 6 triples of relation 0 have 2 heads and
    6 tails, so tph = 3 and hpt = 1.
    """
    sampler, triples = prepare(num_negatives=2000)
    side = draw(sampler, triples, seed=5).corrupt_head
    num = {r: [x for x in TRIPLES if x[1] == r] for r in range(R)}
    expected = []
    for r in range(R):
        tph = len(num[r]) / len({h for h, _, _ in num[r]})
        hpt = len(num[r]) / len({t for _, _, t in num[r]})
        expected.append(tph / (tph + hpt))
        rows = side[triples[1] == r]
        test = binomtest(int(rows.sum()), rows.numel(), expected[-1])
        assert test.pvalue > 1e-4
    assert expected[0] == 0.75 and expected[2] == 0.5
    torch.testing.assert_close(sampler.head_prob, torch.tensor(expected))


@pytest.mark.parametrize('fault', [
    lambda x: x[[1, 0]],  # The graph turned round.
])
def test_a_wrong_side_is_caught(fault: Callable[[Tensor], Tensor]) -> None:
    sampler, triples = prepare()
    turned = BernoulliSampler().prepare(fault(triples[[0, 2]]), triples[1],
                                        N, R)
    assert not torch.allclose(sampler.head_prob, turned.head_prob)


def test_follows_the_generator() -> None:
    sampler, triples = prepare()
    state = torch.get_rng_state()
    first, again, other = (draw(sampler, triples, seed) for seed in (1, 1, 2))
    assert torch.equal(first.node, again.node)
    assert torch.equal(first.corrupt_head, again.corrupt_head)
    assert not torch.equal(first.node, other.node)
    assert torch.equal(torch.get_rng_state(), state)


def test_positives_must_be_training_triples() -> None:
    sampler, _ = prepare()
    for triple in ([7, 0, 1], [0, 0, 0], [7, 2, 7]):
        with pytest.raises(DataError, match='training triples .*positive 0'):
            draw(sampler, torch.tensor([triple]).t())


def test_a_query_with_all_answers_known() -> None:
    triples = [(0, 0, n) for n in range(N)]
    with pytest.raises(DataError, match=r'got node 0 and relation 0.*all 8'):
        prepare(triples)
    prepare(triples[:-1])  # One is left.


def test_the_last_free_node() -> None:
    sampler, triples = prepare([(0, 0, n) for n in range(N - 1)], 50)
    node, side, *_ = draw(sampler, triples)
    assert bool((node[~side] == N - 1).all()) and bool((~side).any())


def test_empty_batch() -> None:
    sampler, triples = prepare()
    assert draw(sampler, triples[:, :0]).node.shape == (0, 6)


def test_no_training_triples() -> None:
    empty = torch.empty(2, 0, dtype=torch.long)
    with pytest.raises(DataError, match=r'training triple \(got none\)'):
        BernoulliSampler().prepare(empty, empty[0], N, R)


def test_too_many_nodes_for_the_keys() -> None:
    with pytest.raises(DataError, match=rf'64-bit keys \(got {2**32} nodes'):
        BernoulliSampler().prepare(torch.tensor([[0], [1]]),
                                   torch.tensor([0]), 2**32, 3)
