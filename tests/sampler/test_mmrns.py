"""Tests of a sampler that is trained together with the model."""

import math

import pytest
import torch
from torch_geometric.nn import TransE

from pyg_mmkgc.datasets import FakeMMKG
from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn import RSME, AdaMF, MarginRankingLoss, SelfAdversarialLoss
from pyg_mmkgc.sampler import MMRNSSampler
from pyg_mmkgc.training import KBGAN, AdversarialTrainer, Batch, Trainer
from pyg_mmkgc.training.batch import complete

N, R, B, K = 14, 2, 9, 3


def make(**kwargs) -> tuple:  # noqa: ANN003
    model = AdaMF(N, R, 3)
    head, tail = edge_index = torch.randint(N, (2, 30))
    rel = torch.randint(R, (30, ))
    sampler = MMRNSSampler(
        model, {'visual': torch.randn(N, 3, 4), 'text': torch.randn(N, 5)},
        **{'num_negatives': K, 'num_candidates': 10, 'attention_channels': 6,
           **kwargs}).prepare(edge_index, rel, N, R)
    sampler.module.double()
    sampler.begin_epoch(model.double(), 1, 1)
    return sampler, (head[:B], rel[:B], tail[:B]), set(
        zip(head.tolist(), rel.tolist(), tail.tolist()))


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_known_triples_are_never_drawn_and_nothing_twice() -> None:
    sampler, triples, known = make()
    for seed in range(40):
        node, side, kept, choice = sampler.sample(*triples, gen(seed))
        assert kept is None and node.shape == side.shape == (B, K)
        assert choice.candidates.unique().numel() == 10
        assert torch.equal(choice.candidates[choice.picks], node)
        for b, (h, r, t) in enumerate(zip(*(x.tolist() for x in triples))):
            assert len(set(node[b].tolist())) == K
            for k in range(K):
                n = int(node[b, k])
                assert ((n, r, t) if side[b, k] else (h, r, n)) not in known


@pytest.mark.parametrize('step', [0, 50])
def test_distribution_of_the_draws(step, monkeypatch) -> None:
    """Draws follow the sum of the views' softmaxes, without replacement."""
    sampler, triples, _ = make(exploration=0.5)
    similar = {name: torch.randn(B, 10).double()
               for name in ('visual', 'text', 'structure')}
    known = torch.rand(B, 10) < 0.2
    many = 500  # The number of draws in a call.
    monkeypatch.setattr(sampler.module, 'forward', lambda *_: {
        name: x.repeat(many, 1) for name, x in similar.items()})
    monkeypatch.setattr(sampler, '_known', lambda *_: known.repeat(many, 1))
    T = 0.5 / (1 + math.log(step + 1))
    p = torch.zeros(B, 10).double()
    for b in range(B):
        for cos in similar.values():
            weight = [math.exp(float(x) / T) for x in cos[b]]
            for m in range(10):
                p[b, m] += weight[m] / sum(weight)
    p[known] = 0
    p /= p.sum(-1, keepdim=True)
    second = torch.stack([sum(
        p[:, i] * p[:, m] / (1 - p[:, i]) for i in range(10) if i != m)
        for m in range(10)], dim=-1)
    runs, count, after = 4 * many, torch.zeros(B, 10), torch.zeros(B, 10)
    generator = gen()
    for _ in range(4):
        sampler.module.step.fill_(step)
        picks = sampler.sample(*(x.repeat(many) for x in triples),
                               generator).choice.picks
        for out, column in ((count, 0), (after, 1)):
            one_hot = torch.nn.functional.one_hot(picks[:, column], 10)
            out += one_hot.view(many, B, 10).sum(0)
    for share, prob in ((count / runs, p), (after / runs, second)):
        error = (share - prob).abs()
        assert bool((error < 5 * (prob * (1 - prob) / runs).sqrt()
                     + 1e-3).all())
    assert int(sampler.module.step) == step + 1


def test_penalty_by_loops() -> None:
    sampler, triples, known = make(contrast=0.3, temperature=0.7)
    similar = {}
    forward = sampler.module.forward
    sampler.module.forward = lambda *args: similar.setdefault(
        'now', forward(*args))
    negatives = sampler.sample(*triples, gen(3))
    neg = torch.randn(B, K).double()
    got = negatives.choice.penalty(neg)
    node, total = negatives.choice.candidates.tolist(), 0.0
    for cos in similar['now'].values():
        terms = []
        for b, (h, r, t) in enumerate(zip(*(x.tolist() for x in triples))):
            at_head = bool(negatives.corrupt_head[b, 0])
            true = [m for m, n in enumerate(node) if (
                (n, r, t) if at_head else (h, r, n)) in known]
            if not true:
                continue
            top = sum(math.exp(cos[b, m].item()) for m in true)
            weights = [math.exp(0.7 * neg[b, k].item()) for k in range(K)]
            low = sum(weights[k] / sum(weights) * math.exp(
                cos[b, int(negatives.choice.picks[b, k])].item())
                for k in range(K))
            terms.append(-math.log(top / low))
        assert 1 < len(terms) < B  # Some rows have no known answer.
        total += sum(terms) / len(terms)
    assert got.item() == pytest.approx(0.3 * total / 3)
    grads = torch.autograd.grad(got, list(sampler.module.parameters()))
    assert all(bool(g.isfinite().all()) for g in grads)


def test_the_loss_reaches_the_sampler() -> None:
    """Both parts learn, and the model is trained on the drawn nodes."""
    sampler, triples, _ = make(contrast=0.0)
    batch = Batch(*triples, gen(), sampler.sample(*triples, gen()))
    model, loss = sampler.model, SelfAdversarialLoss()
    got, _, scored = complete(model, loss, batch)
    for b in range(B):
        for k in range(K):
            h, r, t = (x[b] for x in triples)
            n = batch.negatives.node[b, k]
            triple = ((n, r, t) if batch.negatives.corrupt_head[b, k] else
                      (h, r, n))
            torch.testing.assert_close(
                scored.neg[b, k],
                model(*(x.view(1) for x in triple))[0])
    mine = list(sampler.module.parameters())
    theirs = [model.node_emb.weight, model.rel_emb.weight]
    grads = torch.autograd.grad(got, mine + theirs)
    assert all(bool((g != 0).any()) for g in grads[:len(mine)])
    # The gradient of the model equals the gradient for fixed negatives.
    plain = Batch(*triples, gen(), batch.negatives._replace(choice=None))
    for x, y in zip(grads[len(mine):], torch.autograd.grad(
            complete(model, loss, plain).loss, theirs)):
        torch.testing.assert_close(x, y)


def test_follows_the_generator() -> None:
    sampler, triples, _ = make()
    state = torch.get_rng_state()
    draws = []
    for seed in (1, 1, 2):
        sampler.module.step.zero_()
        draws.append(sampler.sample(*triples, gen(seed)))
    assert torch.equal(draws[0].node, draws[1].node)
    assert not torch.equal(draws[0].node, draws[2].node)
    assert torch.equal(torch.get_rng_state(), state)


KG = FakeMMKG(num_nodes=40, num_edges=160, seed=1)[0]


def trainer(init: int = 0, **kwargs) -> Trainer:  # noqa: ANN003
    torch.manual_seed(init)
    model = AdaMF(40, KG.num_relations, 4)
    sampler = MMRNSSampler.from_data(
        KG, model, num_negatives=4, num_candidates=kwargs.pop('pool', 20),
        attention_channels=6, lr=kwargs.pop('sampler_lr', 0.01))
    return Trainer(model, KG, sampler=sampler, **{
        'batch_size': 50, 'epochs': 4, 'lr': 0.02, 'valid_every': 1,
        'progress': False, 'lr_schedule': 'linear', **kwargs})


def weights(made: Trainer) -> dict:
    return {**made.model.state_dict(), **made.sampler.module.state_dict()}


def test_two_learning_rates() -> None:
    made = trainer(epochs=1)
    before = {name: x.clone() for name, x in weights(made).items()}
    groups = made.optimizers['model'].param_groups
    assert [group['lr'] for group in groups] == [0.02, 0.01]
    made.fit()
    after = weights(made)
    assert {name for name in before if torch.equal(
        before[name], after[name])} <= {'fuser.weight'}  # No modalities.
    assert groups[1]['lr'] == pytest.approx(groups[0]['lr'] / 2)
    frozen = trainer(epochs=1, sampler_lr=1e-30)
    start = {name: x.clone() for name, x
             in frozen.sampler.module.named_parameters()}
    frozen.fit()
    assert all(torch.allclose(x, start[name], atol=1e-20) for name, x
               in frozen.sampler.module.named_parameters())


@pytest.mark.parametrize('step', [4, 8, 12])
def test_resumed_equals_uninterrupted(step, tmp_path) -> None:
    whole = trainer()
    history = whole.fit()
    first = trainer(folder=tmp_path)
    run, calls = first.train_step, []

    def stop(*args):  # noqa: ANN002, ANN202
        calls.append(1)
        if len(calls) == step:
            raise KeyboardInterrupt
        return run(*args)

    first.train_step = stop
    with pytest.raises(KeyboardInterrupt):
        first.fit()
    resumed = trainer(init=9, folder=tmp_path)
    again = resumed.fit(resume=True)
    assert [e['loss'] for e in again.epochs] == [
        e['loss'] for e in history.epochs]
    theirs = weights(whole)
    assert all(torch.equal(x, theirs[name])
               for name, x in weights(resumed).items())
    moments, again = (x.optimizers['model'].state_dict()['state']
                      for x in (whole, resumed))
    assert moments.keys() == again.keys()
    assert all(torch.equal(moments[i]['exp_avg'], again[i]['exp_avg'])
               for i in moments)


def test_with_mat(tmp_path) -> None:
    """An adversary's checkpoint holds the sampler's weights as well."""
    from pyg_mmkgc.training import MAT
    torch.manual_seed(0)
    model = AdaMF.from_data(KG, 4)
    made = AdversarialTrainer(
        model, KG, adversary=MAT.from_model(model, generator_channels=4),
        sampler=MMRNSSampler.from_data(KG, model, num_negatives=4,
                                       num_candidates=20),
        epochs=1, progress=False, valid_every=None)
    made.fit()
    assert set(made.extra_states()) == {'sampler', 'adversary'}


@pytest.mark.parametrize('training', [True, False])
def test_a_model_that_evaluates_otherwise_than_it_trains(training) -> None:
    """RSME's representations are wider in evaluation."""
    model = RSME.from_data(KG, 4).train(training)
    made = Trainer(model, KG, sampler=MMRNSSampler.from_data(
        KG, model, num_negatives=4, num_candidates=20), epochs=1,
        progress=False, valid_every=None)
    assert model.training == training
    assert len(made.fit().epochs) == 1


def test_bad_input() -> None:
    x = {'text': torch.randn(N, 4)}
    with pytest.raises(ModelError, match="'MMKGEModel'.*got 'TransE'"):
        MMRNSSampler(TransE(N, R, 4), x)
    with pytest.raises(ModelError, match="sparse=False.*got 'AdaMF'"):
        MMRNSSampler(AdaMF(N, R, 4, sparse=True), x)
    with pytest.raises(ModelError, match=r"'features' to .*\(got {}\)"):
        MMRNSSampler(AdaMF(N, R, 4), {})
    with pytest.raises(ModelError, match="'num_candidates' to be greater "
                       "than 'num_negatives'.*got 20 and 20"):
        MMRNSSampler(AdaMF(N, R, 4), x, num_candidates=20)
    with pytest.raises(ModelError, match="'exploration' to be positive"):
        MMRNSSampler(AdaMF(N, R, 4), x, exploration=0.0)
    with pytest.raises(ModelError, match='more nodes than.*= 20.*got 14'):
        MMRNSSampler(AdaMF(N, R, 4), x).prepare(
            torch.zeros(2, 1).long(), torch.zeros(1).long(), N, R)
    with pytest.raises(ModelError, match='without learn.*got MMRNSSampler'):
        made = trainer()
        AdversarialTrainer(made.model, KG, sampler=made.sampler,
                           adversary=KBGAN.from_model(made.model),
                           loss=MarginRankingLoss())
    assert 'num_candidates=99' in repr(MMRNSSampler(AdaMF(N, R, 4), x,
                                                    num_candidates=99))


def test_a_cold_distribution_is_finite() -> None:
    """Known answers stay behind all others as well."""
    sampler, triples, known = make(exploration=1e-3)
    for seed in range(20):
        _, side, _, choice = sampler.sample(*triples, gen(seed))
        logits = choice.logits
        assert bool(logits.isfinite().all())
        grads = torch.autograd.grad(
            logits.sin().sum(), list(sampler.module.parameters()))
        assert all(bool(x.isfinite().all()) for x in grads)
        for b, (h, r, t) in enumerate(zip(*(x.tolist() for x in triples))):
            pairs = [((n, r, t) if side[b, 0] else (h, r, n)) in known
                     for n in choice.candidates.tolist()]
            answers = torch.tensor(pairs)
            if answers.any() and not answers.all():
                assert logits[b, answers].max() < logits[b, ~answers].min()
