"""Tests of the views that negatives replace, for each variant."""

import pytest
import torch
from torch_geometric.nn import TransE

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn import IKRL, AdaMF
from pyg_mmkgc.sampler import BernoulliSampler, MANSSampler
from pyg_mmkgc.training import Trainer

K = 40


def draw(toy, sampler, seed: int = 1):  # noqa: ANN001, ANN201
    return toy.prepare(sampler).sample(*toy.triples,
                                       torch.Generator().manual_seed(seed))


def test_nodes_are_the_base_samplers(toy) -> None:
    base = draw(toy, BernoulliSampler(K))
    for variant in 'VTHA':
        sampler = MANSSampler(K, variant)
        sampler.begin_epoch(toy.model, 1, 2)
        got = draw(toy, sampler)
        assert torch.equal(got.node, base.node)
        assert torch.equal(got.corrupt_head, base.corrupt_head)


def test_visual_negatives_keep_the_structure(toy) -> None:
    kept = draw(toy, MANSSampler(K, 'V')).kept
    assert set(kept) == {'structure'} and bool(kept['structure'].all())
    kept = draw(toy, MANSSampler(K, 'V', modality='visual')).kept
    assert set(kept) == {'structure', 'text'}
    assert bool(kept['structure'].all()) and bool(kept['text'].all())


@pytest.mark.parametrize('epochs', [1, 4, 5])
def test_two_stages(toy, epochs) -> None:
    """The first half of the epochs includes the middle one."""
    sampler, shares = MANSSampler(K, 'T'), []
    for epoch in range(1, epochs + 1):
        sampler.begin_epoch(toy.model, epoch, epochs)
        shares.append(float(draw(toy, sampler).kept['structure']
                            .float().mean()))
    assert shares == {1: [1], 4: [1, 1, 0, 0], 5: [1, 1, 1, 0, 0]}[epochs]


def test_share_of_hybrid(toy) -> None:
    kept = draw(toy, MANSSampler(K, 'H', beta=0.3)).kept['structure']
    assert abs(float(kept.float().mean()) - 0.3) < 5 * (0.21 / 1200) ** 0.5
    assert len(kept.unique(dim=0)) > 1  # Not the same for every row.
    assert not draw(toy, MANSSampler(K, 'H', beta=0.0)).kept[
        'structure'].any()


@pytest.mark.parametrize('modality', ['visual', None])
def test_share_of_adaptive_by_loops(toy, modality, monkeypatch) -> None:
    sampler = MANSSampler(K, 'A', modality=modality)
    sampler.begin_epoch(toy.model, 1, 1)
    shares = []
    share = sampler._share
    monkeypatch.setattr(sampler, '_share', lambda *args: shares.append(
        share(*args)) or shares[-1])
    got = draw(toy, sampler)
    count, ties = 0, 0
    for b, (h, r, t) in enumerate(zip(*(x.tolist() for x in toy.triples))):
        for k in range(K):
            node = int(got.node[b, k])
            head, tail = ((node, t) if got.corrupt_head[b, k] else (h, node))
            names = ['visual', 'text'] if modality is None else [modality]
            rel = toy.model.rel_emb.weight[r].tolist()
            energy = {(x, y): sum(abs(a + c - e) for a, c, e in zip(
                toy.views[x][head], rel, toy.views[y][tail]))
                for x in toy.views for y in toy.views}
            gap = sum(energy['structure', m] + energy[m, 'structure'] -
                      energy['structure', 'structure'] - energy[m, m]
                      for m in names)
            count += gap < -1e-9
            ties += abs(gap) <= 1e-9  # Where head and tail are one node.
    assert ties < 100 < count < 30 * K - 100
    assert 0 <= round(float(shares[0]) * 30 * K) - count <= ties
    mean = float(got.kept['structure'].float().mean())
    p = count / (30 * K)
    assert abs(mean - p) < 5 * (p * (1 - p) / (30 * K)) ** 0.5


@pytest.mark.parametrize('cls', [AdaMF, IKRL])
def test_absent_views_do_not_count(cls, monkeypatch) -> None:
    """The share counts only pairs whose views are available."""
    from pyg_mmkgc.datasets import FakeMMKG
    kg = FakeMMKG(num_nodes=30, num_edges=90, seed=1)[0]
    model = cls.from_data(kg, 4, missing='drop').double()
    mask = kg.masks()['text']
    assert 0 < int(mask.sum()) < 30
    head, tail = torch.randint(30, (2, 200, 1))
    rel = torch.randint(kg.num_relations, (200, 1))
    sampler = MANSSampler(1, 'A', modality='text')
    sampler.check(model)
    sampler.begin_epoch(model, 1, 1)
    here = (mask[head] & mask[tail]).view(-1)
    share = sampler._share(head, rel, tail)
    assert 0 < share < 1
    assert share == sampler._share(head[here], rel[here], tail[here])
    assert sampler._share(head[~here], rel[~here], tail[~here]) == 0


def test_follows_the_generator(toy) -> None:
    state = torch.get_rng_state()
    sampler = MANSSampler(K, 'H')
    first, again, other = (draw(toy, sampler, seed) for seed in (1, 1, 2))
    assert torch.equal(first.kept['structure'], again.kept['structure'])
    assert not torch.equal(first.kept['structure'], other.kept['structure'])
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize('variant', ['V', 'T', 'H', 'A'])
def test_trains(variant, toy) -> None:
    """The trainer informs the sampler about the epochs."""
    from pyg_mmkgc.datasets import FakeMMKG
    kg = FakeMMKG(num_nodes=30, num_edges=90, seed=1)[0]
    model = AdaMF.from_data(kg, 4)
    trainer = Trainer(model, kg, sampler=MANSSampler(4, variant), epochs=3,
                      batch_size=40, valid_every=None, progress=False)
    assert len(trainer.fit().epochs) == 3
    steps = trainer.fingerprint()['steps']
    assert (steps is None) == (variant != 'T')
    assert f'variant={variant!r}' in trainer.fingerprint()['sampler']


def test_bad_input(toy) -> None:
    with pytest.raises(ModelError, match="'variant' to be one of .*got 'X'"):
        MANSSampler(variant='X')
    with pytest.raises(ModelError, match=r"'beta' to be in .*got 1.5"):
        MANSSampler(beta=1.5)
    with pytest.raises(ModelError, match="'modality' to .*got 'audio'"):
        MANSSampler(modality='audio').check(toy.model)
    from pyg_mmkgc.datasets import FakeMMKG
    kg = FakeMMKG(num_nodes=30, num_edges=90, seed=1)[0]
    for model in (TransE(30, kg.num_relations, 4),
                  AdaMF(30, kg.num_relations, 4)):
        with pytest.raises(ModelError, match="a model with a structural.*for "
                           f"'MANSSampler'.*got '{type(model).__name__}'"):
            Trainer(model, kg, sampler=MANSSampler())
