"""Tests of a generator that learns to choose negatives."""

import math
from dataclasses import replace

import pytest
import torch
from torch_geometric.nn import ComplEx, DistMult, RotatE, TransE

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn import AdaMF, MarginRankingLoss, OneVsAllLoss
from pyg_mmkgc.sampler import (
    CandidateSampler,
    MANSSampler,
    Negatives,
    UniformSampler,
)
from pyg_mmkgc.training import KBGAN, AdversarialTrainer, Batch
from pyg_mmkgc.training import adversarial_trainer as module
from pyg_mmkgc.training.batch import complete
from pyg_mmkgc.training.step import minimize

N, R, B, K = 15, 3, 6, 5


def make_batch() -> Batch:
    side = (torch.rand(B, 1) < 0.5).expand(-1, K)
    return Batch(torch.randint(N, (B, )), torch.randint(R, (B, )),
                 torch.randint(N, (B, )), torch.Generator().manual_seed(0),
                 Negatives(torch.randint(N, (B, K)), side))


def corrupted(batch: Batch, b: int, node: int, at_head: bool) -> tuple:
    h, r, t = (int(x[b]) for x in (batch.head_index, batch.rel_type,
                                   batch.tail_index))
    return (node, r, t) if at_head else (h, r, node)


def distmult(weights: dict, triple: tuple) -> float:
    h, r, t = triple
    return sum(a * b * c for a, b, c in zip(
        weights['node_emb.weight'][h].tolist(),
        weights['rel_emb.weight'][r].tolist(),
        weights['node_emb.weight'][t].tolist()))


def log_probs(weights: dict, batch: Batch, candidates: Negatives,
              b: int, temperature: float = 1.0) -> list[float]:
    """Computes the log-probabilities of the generator in plain loops."""
    logits = [distmult(weights, corrupted(
        batch, b, int(candidates.node[b, k]),
        bool(candidates.corrupt_head[b, k]))) / temperature
        for k in range(K)]
    total = sum(math.exp(x) for x in logits)
    return [x - math.log(total) for x in logits]


@pytest.mark.parametrize('temperature', [1.0, 0.5])
def test_policy_gradient_by_loops(temperature) -> None:
    model, batch = TransE(N, R, 4).double(), make_batch()
    kbgan = KBGAN(DistMult(N, R, 3), temperature=temperature).double()
    kbgan.baseline.fill_(-1.5)
    candidates = batch.negatives
    batch = replace(batch, negatives=kbgan.choose(model, batch))
    done = complete(model, MarginRankingLoss(3.0), batch)
    loss = kbgan.generator_loss(model, batch, done)
    params = list(kbgan.parameters())
    grads = torch.autograd.grad(loss, params)
    assert batch.negatives.node.shape == (B, 1)
    pick = kbgan.drawn[1]
    assert torch.equal(batch.negatives.node, candidates.node.gather(1, pick))
    rewards = []
    for b in range(B):  # The reward is the model's score of the chosen one.
        triple = corrupted(batch, b, int(batch.negatives.node[b, 0]),
                           bool(batch.negatives.corrupt_head[b, 0]))
        with torch.no_grad():
            rewards.append(float(model(*(torch.tensor([x])
                                         for x in triple))[0]))

    def expected() -> float:
        weights = kbgan.generator.state_dict()
        return -sum((rewards[b] + 1.5) * log_probs(
            weights, batch, candidates, b, temperature)[int(pick[b, 0])]
            for b in range(B)) / B

    assert loss.item() == pytest.approx(expected(), abs=1e-9)
    for param, grad in zip(params, grads):
        for i in range(0, param.numel(), 5):
            flat, step = param.data.view(-1), 1e-6
            flat[i] += step
            above = expected()
            flat[i] -= 2 * step
            below = expected()
            flat[i] += step
            assert float(grad.view(-1)[i]) == pytest.approx(
                (above - below) / (2 * step), abs=1e-6)
    # The reward is a constant: the model has no gradient of this loss.
    assert not any(g is not None for g in torch.autograd.grad(
        kbgan.generator_loss(model, batch, done), list(model.parameters()),
        allow_unused=True))


def test_draws_by_the_generators_softmax() -> None:
    batch = make_batch()
    generator = DistMult(N, R, 3)
    generator.node_emb.weight.data *= 4
    kbgan, count = KBGAN(generator), torch.zeros(B, K)
    expected = torch.tensor([log_probs(generator.state_dict(), batch,
                                       batch.negatives, b)
                             for b in range(B)]).exp()
    assert expected.max() > 2 / K  # The candidates differ.
    runs = 4000
    for _ in range(runs):
        kbgan.choose(TransE(N, R, 4), batch)
        count.scatter_add_(1, kbgan.drawn[1], torch.ones(B, 1))
    error = (count / runs - expected).abs()
    assert bool((error < 5 * (expected * (1 - expected) / runs).sqrt()
                 + 1e-3).all())


def test_baseline_is_the_mean_of_the_epoch_before() -> None:
    kbgan = KBGAN(DistMult(N, R, 3))
    model, means = AdaMF(N, R, 4), []
    for epoch in (1, 2, 3):
        kbgan.begin_epoch(epoch)
        if means:
            assert float(kbgan.baseline) == pytest.approx(means[-1])
        rewards = []
        for _ in range(3):
            batch = make_batch()
            batch = replace(batch, negatives=kbgan.choose(model, batch))
            done = complete(model, MarginRankingLoss(), batch)
            kbgan.generator_loss(model, batch, done)
            rewards.append(done.scored.neg.detach())
        means.append(float(torch.cat(rewards).double().mean()))
    assert means[0] != means[1]


def test_first_epoch_has_the_mean_of_the_batch() -> None:
    """A single positive equals its own mean, so its gradient is zero."""
    kbgan, batch = KBGAN(DistMult(N, R, 3)), make_batch()
    kbgan.begin_epoch(1)
    model = TransE(N, R, 4)
    one = Batch(batch.head_index[:1], batch.rel_type[:1],
                batch.tail_index[:1], batch.generator, Negatives(
                    *(x[:1] for x in batch.negatives[:2])))
    one = replace(one, negatives=kbgan.choose(model, one))
    done = complete(model, MarginRankingLoss(), one)
    assert float(kbgan.generator_loss(model, one, done)) == 0.0


def test_pretraining() -> None:
    """The generator learns a softmax; the model takes first candidates."""
    kbgan = KBGAN(DistMult(N, R, 3), pretrain_epochs=2).double()
    model, batch = TransE(N, R, 4).double(), make_batch()
    candidates = batch.negatives
    kbgan.begin_epoch(2)
    batch = replace(batch, negatives=kbgan.choose(model, batch))
    assert torch.equal(batch.negatives.node, candidates.node[:, :1])
    done = complete(model, MarginRankingLoss(), batch)
    weights, expected = kbgan.generator.state_dict(), 0.0
    for b in range(B):
        pos = distmult(weights, tuple(int(x[b]) for x in (
            batch.head_index, batch.rel_type, batch.tail_index)))
        neg = [distmult(weights, corrupted(
            batch, b, int(candidates.node[b, k]),
            bool(candidates.corrupt_head[b, k]))) for k in range(K)]
        expected -= pos - math.log(sum(math.exp(x) for x in [pos, *neg]))
    assert float(kbgan.generator_loss(model, batch, done)) == pytest.approx(
        expected / B)
    kbgan.begin_epoch(3)
    assert not kbgan.pretrains and float(kbgan.baseline) == 0.0


def test_generator_finds_what_the_model_scores_highest() -> None:
    model, kbgan = TransE(N, R, 4), KBGAN(DistMult(N, R, 8))
    optimizer = torch.optim.Adam(kbgan.parameters(), lr=0.05)
    candidates, means = make_batch(), []
    for epoch in range(1, 200):
        kbgan.begin_epoch(epoch)
        batch = replace(candidates, negatives=kbgan.choose(model, candidates))
        done = complete(model, MarginRankingLoss(), batch)
        loss = kbgan.generator_loss(model, batch, done)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        means.append(float(done.scored.neg.mean()))
    assert sum(means[-20:]) / 20 > sum(means[:20]) / 20 + 0.05


def make(kg, model=TransE, **kwargs) -> AdversarialTrainer:  # noqa: ANN001
    torch.manual_seed(kwargs.pop('init', 0))
    built = model(kg.num_nodes, kg.num_relations, 4)
    adversary = KBGAN.from_model(
        built, kwargs.pop('generator', 'DistMult'), 3,
        pretrain_epochs=kwargs.pop('pretrain_epochs', 1))
    return AdversarialTrainer(built, kg, adversary=adversary, **{
        'batch_size': 50, 'epochs': 4, 'lr': 0.02, 'valid_every': 1,
        'generator_lr': 0.01, 'progress': False,
        'loss': MarginRankingLoss(3.0), **kwargs})


@pytest.mark.parametrize('model', [TransE, RotatE, AdaMF])
@pytest.mark.parametrize('generator', ['DistMult', 'ComplEx'])
def test_each_step_leaves_the_other_side(kg, model, generator,
                                         monkeypatch) -> None:
    trainer, calls = make(kg, model, generator=generator), []

    def sides() -> tuple[list, list]:
        return tuple([p.detach().clone() for p in side.parameters()]
                     for side in (trainer.model, trainer.adversary))

    def watch(*args) -> torch.Tensor:  # noqa: ANN002
        before = sides()
        total = minimize(*args)
        after = sides()
        mine = int(args[2] is trainer.optimizers['adversary'])
        assert any(not torch.equal(x, y)
                   for x, y in zip(before[mine], after[mine]))
        assert all(torch.equal(x, y)
                   for x, y in zip(before[1 - mine], after[1 - mine]))
        calls.append('DG'[mine])
        return total

    monkeypatch.setattr(module, 'minimize', watch)
    trainer.fit()
    assert ''.join(calls) == 'DG' * 12
    assert isinstance(trainer.sampler, CandidateSampler)


@pytest.mark.parametrize('step', [5, 8, 12])
def test_resumed_equals_uninterrupted(kg, step, state, same,
                                      tmp_path) -> None:
    whole = make(kg)
    history = whole.fit()
    first = make(kg, folder=tmp_path)
    run, calls = first.train_step, []

    def stop(*args):  # noqa: ANN002, ANN202
        calls.append(1)
        if len(calls) == step:
            raise KeyboardInterrupt
        return run(*args)

    first.train_step = stop
    with pytest.raises(KeyboardInterrupt):
        first.fit()
    resumed = make(kg, init=9, folder=tmp_path)
    again = resumed.fit(resume=True)
    same(state(resumed), state(whole))
    assert [e['generator_loss'] for e in again.epochs] == [
        e['generator_loss'] for e in history.epochs]
    assert float(whole.adversary.baseline) != 0.0


def test_views_that_are_kept_stay_so(kg) -> None:
    """The candidates may come from MANS."""
    torch.manual_seed(0)
    model = AdaMF.from_data(kg, 4)
    AdversarialTrainer(model, kg, adversary=KBGAN.from_model(model),
                       sampler=MANSSampler(5, 'H'), epochs=2, progress=False,
                       valid_every=None, loss=MarginRankingLoss()).fit()
    kbgan, batch = KBGAN(DistMult(N, R, 3)), make_batch()
    mask = torch.rand(B, K) < 0.5
    negatives = batch.negatives._replace(kept={'structure': mask})
    got = kbgan.choose(model, replace(batch, negatives=negatives))
    assert torch.equal(got.kept['structure'], mask.gather(1, kbgan.drawn[1]))


def test_bad_input(kg) -> None:
    with pytest.raises(ModelError, match="'generator' to .*got 'TransE'"):
        KBGAN.from_model(TransE(N, R, 4), 'TransE')
    with pytest.raises(ModelError, match="'temperature' to be positive"):
        KBGAN(DistMult(N, R, 3), temperature=0.0)
    with pytest.raises(ModelError, match="'pretrain_epochs' to .*got -1"):
        KBGAN(DistMult(N, R, 3), pretrain_epochs=-1)
    with pytest.raises(ModelError, match='15 nodes and 3 relations of the '
                       'model .got 14 nodes and 3 relations'):
        KBGAN(ComplEx(14, R, 3)).check(TransE(N, R, 4))
    with pytest.raises(ModelError, match='chooses among its .*got none'):
        make(kg, AdaMF, loss=OneVsAllLoss())
    assert 'pretrain_epochs=3' in repr(KBGAN(DistMult(N, R, 3), 3))
    assert make(kg, sampler=UniformSampler(4)).sampler.num_negatives == 4
