"""Tests of ordinary negatives with their two twins."""

import pytest
import torch
import torch.nn.functional as F
from torch_geometric.nn import TransE

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn import AdaMF, SelfAdversarialLoss
from pyg_mmkgc.sampler import BernoulliSampler, TwinsSampler
from pyg_mmkgc.training import Batch, Trainer
from pyg_mmkgc.training.batch import complete

K = 3


def test_twins_of_the_ordinary_negatives(toy) -> None:
    gen = torch.Generator().manual_seed
    node, side, kept, choice = toy.prepare(TwinsSampler(K)).sample(
        *toy.triples, gen(1))
    base = toy.prepare(BernoulliSampler(K)).sample(*toy.triples, gen(1))
    assert choice is None and node.shape == (30, 3 * K)
    for part in node.split(K, 1):
        assert torch.equal(part, base.node)
    for part in side.split(K, 1):
        assert torch.equal(part, base.corrupt_head)
    pattern = {name: [part.all() for part in mask.split(K, 1)]
               for name, mask in kept.items()}
    assert pattern == {'structure': [False, False, True],
                       'visual': [False, True, False],
                       'text': [False, True, False]}
    assert all(int(mask.sum()) == 30 * K for mask in kept.values())


def test_scores_and_gradients_by_loops(toy) -> None:
    """Losses match plain loops, gradients match finite differences."""
    batch = Batch(*toy.triples, torch.Generator(),
                  toy.prepare(TwinsSampler(K)).sample(
                      *toy.triples, torch.Generator().manual_seed(1)))
    got, _, (_, _, pos, neg) = complete(toy.model, SelfAdversarialLoss(0.5),
                                        batch)
    triples = torch.stack(toy.triples).t().tolist()
    for b, (h, r, t) in enumerate(triples):
        for k in range(3 * K):
            node = int(batch.negatives.node[b, k])
            at_head = bool(batch.negatives.corrupt_head[b, k])
            own = h if at_head else t
            kind = ('both', 'structure', 'modal')[k // K]
            new = {name: node if kind == 'both' or (name == 'structure') == (
                kind == 'structure') else own for name in toy.views}
            heads = new if at_head else dict.fromkeys(toy.views, h)
            tails = dict.fromkeys(toy.views, t) if at_head else new
            assert float(neg[b, k]) == pytest.approx(
                toy.score(heads, r, tails), abs=1e-9)
        assert float(pos[b]) == pytest.approx(toy.score(
            dict.fromkeys(toy.views, h), r, dict.fromkeys(toy.views, t)))
    # The gradient, with the weights of the negatives held.
    weight = (0.5 * neg.detach()).softmax(-1)
    got.backward()

    def value() -> float:
        scored = complete(toy.model, SelfAdversarialLoss(0.5), batch).scored
        return float(-(F.logsigmoid(scored.pos) + (
            weight * F.logsigmoid(-scored.neg)).sum(-1)).mean())

    for param in (toy.model.node_emb.weight, toy.model.rel_emb.weight,
                  toy.model.encoders['text'].lin.weight):
        for i in range(0, param.numel(), 7):
            flat, step = param.data.view(-1), 1e-6
            flat[i] += step
            above = value()
            flat[i] -= 2 * step
            below = value()
            flat[i] += step
            assert float(param.grad.view(-1)[i]) == pytest.approx(
                (above - below) / (2 * step), abs=1e-6)


def test_a_fused_model(toy) -> None:
    """AdaMF fuses the representation of a twin from its mixed views."""
    N = toy.model.num_nodes
    model = AdaMF(N, 3, 4, {'text': torch.randn(N, 3)}).double()
    sampler = TwinsSampler(1)
    sampler.check(model)
    h, r, t = toy.triples
    sampler.prepare(torch.stack([h, t]), r, N, 3)
    negatives = sampler.sample(h, r, t, torch.Generator().manual_seed(1))
    batch = Batch(h, r, t, torch.Generator(), negatives)
    neg = complete(model, SelfAdversarialLoss(), batch).scored.neg
    views = model.embed(torch.arange(N))
    for b in range(30):
        node, at_head = negatives.node[b, 0], negatives.corrupt_head[b, 0]
        own = h[b] if at_head else t[b]
        for k, rows in enumerate([(node, node), (node, own), (own, node)]):
            new = model.fuse({'structure': views['structure'][rows[0]],
                              'text': views['text'][rows[1]]})
            triple = ((new, r[b], model.encode(t[b])) if at_head else
                      (model.encode(h[b]), r[b], new))
            torch.testing.assert_close(neg[b, k], model.score(*triple))


def test_twins_of_nodes_of_which_nothing_is_known() -> None:
    """A twin may mix an unseen structure with a missing text."""
    mask = torch.tensor([True, False, True, True])
    data = KnowledgeGraph(torch.tensor([[0, 1], [1, 2]]), torch.tensor([0, 0]),
                          num_nodes=4, num_relations=1)
    model = AdaMF(4, 1, 2, {'text': torch.randn(4, 3)}, {'text': mask},
                  missing='drop', drop_unseen=True)
    trainer = Trainer(model, data, sampler=TwinsSampler(8), epochs=3,
                      valid_every=None, progress=False)
    trainer.fit()  # Raises at a loss that is not finite.
    views = model.embed(torch.tensor([3, 1]))
    assert not views['structure'][0].any() and not views['text'][1].any()
    assert all(p.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize('model', [
    TransE(9, 2, 4), AdaMF(9, 2, 4),
    AdaMF(9, 2, 4, {'text': torch.randn(9, 3)}, structure=False)])
def test_models_without_two_views_are_refused(model) -> None:
    with pytest.raises(ModelError, match='a model with a structural.* '
                       f"'TwinsSampler'.*got '{type(model).__name__}'"):
        TwinsSampler().check(model)
