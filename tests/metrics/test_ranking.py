import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from pyg_mmkgc.errors import NonFiniteError
from pyg_mmkgc.metrics import (
    Ranks,
    adjusted_mean_rank_index,
    hits_at_k,
    mean_rank,
    mean_reciprocal_rank,
    rank_targets,
)


def random_case(seed):
    r"""Scores with forced ties, targets, and a filter as a list of sets."""
    rng = random.Random(seed)
    num_queries, num_nodes = rng.randint(1, 6), rng.randint(1, 20)
    levels = rng.choice([1, 2, 3, 5, 1000])
    scores = [[rng.randrange(levels) / 7 - 0.3 for _ in range(num_nodes)]
              for _ in range(num_queries)]
    target = [rng.randrange(num_nodes) for _ in range(num_queries)]
    density = rng.choice([0.0, 0.2, 0.7, 1.0])
    known = [{n for n in range(num_nodes) if rng.random() < density}
             for _ in range(num_queries)]
    return scores, target, known


def to_coo(known, shuffle=None):
    pairs = [(q, n) for q, nodes in enumerate(known) for n in sorted(nodes)]
    if shuffle is not None:  # Random order, some pairs twice.
        pairs = pairs + shuffle.sample(pairs, len(pairs) // 2)
        shuffle.shuffle(pairs)
    coo = torch.tensor(pairs, dtype=torch.long).view(-1, 2)
    return coo[:, 0], coo[:, 1]


def assert_same(ranks, expected):
    for value, other in zip(ranks, expected, strict=True):
        assert torch.equal(value, other)


def brute_force(scores, target, known):
    rows = []
    for values, t, filtered in zip(scores, target, known,
                                   strict=True):
        better = ties = others = 0
        for n, value in enumerate(values):
            if n == t or n in filtered:
                continue
            others += 1
            better += value > values[t]
            ties += value == values[t]
        rows.append((1 + better, 1 + better + ties, 1 + others))
    return rows


@pytest.mark.parametrize('block', range(6))
def test_ranks_equal_brute_force_and_scipy(block):
    for seed in range(50 * block, 50 * block + 50):
        scores, target, known = random_case(seed)
        shuffle = random.Random(seed) if seed % 2 else None
        tensor = torch.tensor(scores)
        out = rank_targets(tensor, torch.tensor(target),
                           to_coo(known, shuffle))

        rows = list(zip(*(value.tolist() for value in out), strict=True))
        assert rows == brute_force(tensor.tolist(), target, known)

        for q, t in enumerate(target):
            keep = [n for n in range(tensor.size(1))
                    if n == t or n not in known[q]]
            values, position = -tensor[q, keep].numpy(), keep.index(t)
            assert out.optimistic[q] == rankdata(values, 'min')[position]
            assert out.pessimistic[q] == rankdata(values, 'max')[position]
            assert out.realistic[q] == rankdata(values, 'average')[position]
            assert out.num_candidates[q] == len(keep)


def test_ranks_without_a_filter():
    out = rank_targets(torch.tensor([[3., 1., 3., 2.]]), torch.tensor([3]))
    assert out.optimistic.tolist() == [3]
    assert out.pessimistic.tolist() == [3]
    assert out.num_candidates.tolist() == [4]


@pytest.mark.parametrize('num_nodes', [2, 3, 14, 12842])
@pytest.mark.parametrize('num_filtered', [0, 1])
def test_constant_model_ranks_in_the_middle(num_nodes, num_filtered):
    scores = torch.full((3, num_nodes), 0.7)
    target = torch.tensor([0, 1, num_nodes - 1])
    row = torch.arange(3).repeat(num_filtered)
    node = (target + 1) % num_nodes  # The filter removes one rival.
    out = rank_targets(scores, target, (row, node.repeat(num_filtered)))
    n = num_nodes - num_filtered

    assert out.realistic.tolist() == [(n + 1) / 2] * 3
    assert mean_reciprocal_rank(out.realistic) == pytest.approx(2 / (n + 1))
    assert mean_reciprocal_rank(out.optimistic) == 1.0
    assert mean_reciprocal_rank(out.pessimistic) == pytest.approx(1 / n)
    amri = adjusted_mean_rank_index(out.realistic, out.num_candidates)
    assert amri == pytest.approx(0.0)
    if n >= 2:
        assert hits_at_k(out.realistic, 1) == 0.0
    if n >= 20:
        assert hits_at_k(out.realistic, 10) == 0.0


@pytest.mark.parametrize('value', [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize('node', [0, 1, 2])
def test_non_finite_scores_raise(value, node):
    scores = torch.zeros(2, 3)
    scores[1, node] = value
    known = torch.tensor([1]), torch.tensor([2])  # Even if filtered.
    with pytest.raises(NonFiniteError, match=f'candidate {node} of query 1'):
        rank_targets(scores, torch.tensor([1, 1]), known)


def test_opposite_infinities_raise():
    scores = torch.tensor([[math.inf, -math.inf, 0.0]])
    with pytest.raises(NonFiniteError, match='2 non-finite out of 3'):
        rank_targets(scores, torch.tensor([2]))


def test_finite_scores_whose_sum_overflows_are_ranked():
    big = torch.finfo(torch.float32).max
    out = rank_targets(torch.tensor([[big, big, -big]]), torch.tensor([2]))
    assert out.realistic.tolist() == [3.0]


def test_the_filter_is_left_as_it_was():
    scores, known = torch.randn(2, 5), to_coo([{0, 1, 4}, {2}])
    before = [value.clone() for value in (scores, *known)]
    rank_targets(scores, torch.tensor([1, 2]), known)
    for value, expected in zip((scores, *known), before, strict=True):
        assert torch.equal(value, expected)


def test_metrics_by_hand():
    ranks = torch.tensor([1.0, 2.0, 4.5, 10.0])
    candidates = torch.tensor([10, 10, 11, 12])
    assert mean_rank(ranks) == 4.375
    assert mean_reciprocal_rank(ranks) == pytest.approx(
        (1 + 1 / 2 + 1 / 4.5 + 1 / 10) / 4)
    assert [hits_at_k(ranks, k) for k in (1, 3, 10)] == [0.25, 0.5, 1.0]
    # Expected ranks 5.5, 5.5, 6, 6.5: mean 5.875.
    assert adjusted_mean_rank_index(ranks, candidates) == pytest.approx(
        1 - (4.375 - 1) / (5.875 - 1))


def test_amri_without_a_choice_is_zero():
    assert adjusted_mean_rank_index(torch.ones(3), torch.ones(3)) == 0.0


def test_ties_are_named():
    ranks = Ranks(torch.tensor([1]), torch.tensor([2]), torch.tensor([9]))
    assert ranks.by_ties('optimistic').tolist() == [1.0]
    assert ranks.by_ties('realistic').tolist() == [1.5]
    assert ranks.by_ties('pessimistic').tolist() == [2.0]
    with pytest.raises(ValueError, match="got 'random'"):
        ranks.by_ties('random')


def test_realistic_rank_is_the_mean_over_random_orders_of_ties():
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 5, size=50).astype(float)
    order = np.stack([rng.permutation(50) for _ in range(10_000)])
    better = (scores > scores[7]).sum()
    tied = (scores == scores[7]) & (np.arange(50) != 7)
    sampled = 1 + better + (tied & (order < order[:, 7:8])).sum(1)
    rank = rank_targets(torch.tensor(scores)[None], torch.tensor([7]))
    error = sampled.std() / math.sqrt(len(sampled))
    assert abs(float(rank.realistic) - sampled.mean()) < 4 * error


@given(st.integers(0, 10**9))
@settings(max_examples=500, deadline=None, derandomize=True)
def test_rank_properties(seed):
    scores, target, known = random_case(seed)
    scores, target = torch.tensor(scores), torch.tensor(target)
    num_queries, num_nodes = scores.shape
    out = rank_targets(scores, target, to_coo(known))

    # Optimistic <= realistic <= pessimistic, in [1, candidates].
    assert bool((out.optimistic >= 1).all())
    assert bool((out.optimistic <= out.realistic).all())
    assert bool((out.realistic <= out.pessimistic).all())
    assert bool((out.pessimistic <= out.num_candidates).all())

    # A strictly increasing map of dense ranks, which creates no ties.
    dense = scores.unique(return_inverse=True)[1].double()
    for mapped in (dense, dense.exp(), dense ** 3 - 10):
        same = rank_targets(mapped, target, to_coo(known))
        assert_same(out, same)

    # Permute the candidates.
    g = torch.Generator().manual_seed(seed)
    perm = torch.randperm(num_nodes, generator=g)
    renamed = torch.empty_like(scores)
    renamed[:, perm] = scores
    row, node = to_coo(known)
    same = rank_targets(renamed, perm[target], (row, perm[node]))
    assert_same(out, same)

    # Queries in blocks.
    blocks = [rank_targets(scores[q:q + 1], target[q:q + 1],
                           to_coo(known[q:q + 1]))
              for q in range(num_queries)]
    parts = zip(*blocks, strict=True)
    assert_same(out, [torch.cat(part) for part in parts])

    # One more filtered rival never makes a rank worse.
    extra = [nodes | {seed % num_nodes} for nodes in known]
    more = rank_targets(scores, target, to_coo(extra))
    assert bool((more.realistic <= out.realistic).all())

    # The realistic ranks of all targets of a query sum to N(N + 1)/2.
    every = rank_targets(scores[:1].expand(num_nodes, -1),
                         torch.arange(num_nodes))
    assert float(every.realistic.sum()) == num_nodes * (num_nodes + 1) / 2
