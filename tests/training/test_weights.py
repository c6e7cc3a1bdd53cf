"""Weights of ensembles are learned on validation triples, and only there."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import Module

from pyg_mmkgc.data import KnowledgeGraph, TripleIndex
from pyg_mmkgc.errors import ConfigError, DataError, ModelError, NonFiniteError
from pyg_mmkgc.evaluation import evaluate
from pyg_mmkgc.nn import Ensemble
from pyg_mmkgc.training import fit_weights

N, R = 40, 3


class Table(Module):
    """Scores of all triples, which are given."""
    def __init__(self, scores: Tensor) -> None:
        super().__init__()
        self.num_relations, self.num_nodes = scores.shape[:2]
        self.register_buffer('scores', scores)
        self.asked: list[tuple[int, int, str]] = []

    def score_all(self, node: Tensor, rel_type: Tensor, side: str) -> Tensor:
        self.asked += [(n, r, side) for n, r in zip(
            node.tolist(), rel_type.tolist(), strict=True)]
        table = self.scores if side == 'tail' else self.scores.transpose(1, 2)
        return table[rel_type, node]


@pytest.fixture(scope='module')
def kg() -> KnowledgeGraph:
    """Each query has two answers; no validation triple has relation 2."""
    torch.manual_seed(1)
    head = torch.arange(N).repeat(2 * R)
    rel = torch.arange(R).repeat_interleave(2 * N)
    tail = (head + rel + 1 + 7 * torch.arange(2).repeat_interleave(N).repeat(
        R)) % N
    split = torch.randint(3, (2 * R * N, ))
    split[4 * N:] = 0
    split[-1] = 2
    return KnowledgeGraph(torch.stack([head, tail]), rel, num_nodes=N,
                          num_relations=R, train_mask=split == 0,
                          val_mask=split == 1, test_mask=split == 2)


def member(noise: tuple[float, float, float], seed: int) -> Table:
    """Scores true triples higher, with noise of a scale per relation."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(R, N, N, generator=generator)
    scores *= torch.tensor(noise).view(R, 1, 1)
    for r in range(R):
        place = torch.arange(N)
        for answer in (r + 1, r + 8):
            scores[r, place, (place + answer) % N] += 3.0
    return Table(scores)


def make() -> Ensemble:
    return Ensemble([member((1.0, 4.0, 2.0), 0), member((4.0, 1.0, 2.0), 1)],
                    R, ['first', 'second'])


def likelihoods(model: Ensemble, kg: KnowledgeGraph
                ) -> Callable[[Tensor], Tensor]:
    """Returns the log-likelihood of each ranking of a validation triple as a
    function of the logarithms of the weights.
    """
    train, val = kg.split('train'), kg.split('val')
    known = {(int(h), int(r), int(t)) for part in (train, val)
             for h, r, t in zip(part.edge_index[0], part.edge_type,
                                part.edge_index[1], strict=True)}
    rel, scores, answers = [], [], []
    for h, r, t in zip(val.edge_index[0].tolist(), val.edge_type.tolist(),
                       val.edge_index[1].tolist(), strict=True):
        for side in ('head', 'tail'):
            answer = t if side == 'tail' else h
            x = torch.stack([table.scores[r, h] if side == 'tail' else
                             table.scores[r, :, t]
                             for table in model.members]).double()
            for v in range(N):
                if v != answer and ((h, r, v) if side == 'tail' else
                                    (v, r, t)) in known:
                    x[:, v] = -1e9  # Other answers are no rivals.
            rel.append(r)
            scores.append(x)
            answers.append(answer)
    x, place = torch.stack(scores), torch.tensor(answers).view(-1, 1)

    def call(theta: Tensor) -> Tensor:
        total = (x * theta.exp()[rel].unsqueeze(-1)).sum(dim=1)
        return total.log_softmax(dim=1).gather(1, place).view(-1)

    return call


def maximum(model: Ensemble, kg: KnowledgeGraph, prior: Tensor,
            strength: float, shared: bool) -> Tensor:
    """The maximum of likelihood and prior, by small steps of a gradient."""
    theta = prior.clone().requires_grad_()
    likelihood = likelihoods(model, kg)
    for _ in range(1000):
        each = theta if not shared else theta.expand(R, -1)
        loss = -likelihood(each).sum() + strength / 2 * (
            theta - prior).square().sum()
        grad, = torch.autograd.grad(loss, theta)
        with torch.no_grad():
            theta -= 0.003 * grad
    return theta.detach()


def test_the_likelihood_is_maximal(kg: KnowledgeGraph) -> None:
    """Far fewer nodes than rivals that are kept, so it is exact."""
    model = make()
    fit = fit_weights(model, kg, per='graph')
    prior = torch.full((1, 2), math.log(0.5), dtype=torch.double)
    wanted = maximum(model, kg, prior, 1.0, shared=True)
    torch.testing.assert_close(model.weight.double(),
                               wanted.exp().expand(R, 2), rtol=1e-3, atol=0)
    assert fit.weight == pytest.approx(dict(zip(
        model.names, wanted[0].exp().tolist(), strict=True)), rel=1e-3)
    assert fit.shrinkage is None


@pytest.mark.parametrize('fault', ['validation answers', 'all answers'])
def test_a_faulty_filter_is_found(fault: str, kg: KnowledgeGraph,
                                  monkeypatch: pytest.MonkeyPatch) -> None:
    """The equality above fails if other answers count as rivals."""
    class Faulty(TripleIndex):
        def __init__(self, edge_index: Tensor, edge_type: Tensor, *args: int
                     ) -> None:
            keep = (edge_type.numel() - int(kg.val_mask.sum())
                    if fault == 'validation answers' else 0)
            super().__init__(edge_index[:, :keep], edge_type[:keep], *args)

    monkeypatch.setattr('pyg_mmkgc.training.weights.TripleIndex', Faulty)
    with pytest.raises(AssertionError, match='not close'):
        test_the_likelihood_is_maximal(kg)


def test_relations_with_a_prior(kg: KnowledgeGraph) -> None:
    model = make()
    fit = fit_weights(model, kg)
    assert fit.shrinkage is not None
    common = torch.tensor([list(fit.weight.values())], dtype=torch.double
                          ).log()
    wanted = maximum(model, kg, common.expand(R, 2), fit.shrinkage,
                     shared=False)
    torch.testing.assert_close(model.weight.double(), wanted.exp(),
                               rtol=1e-3, atol=0)
    # Each relation has its own expert; one has no validation triples.
    assert model.weight[0].argmax() == 0 and model.weight[1].argmax() == 1
    torch.testing.assert_close(model.weight[2].double(), common[0].exp())


def test_the_ensemble_is_better(kg: KnowledgeGraph) -> None:
    model = make()
    fit = fit_weights(model, kg)
    best = max(evaluate(x, kg).mrr for x in model.members)
    assert evaluate(model, kg).mrr > best + 0.05
    keep = ~kg.test_mask
    alone = KnowledgeGraph(kg.edge_index[:, keep], kg.edge_type[keep],
                           num_nodes=N, num_relations=R,
                           train_mask=kg.train_mask[keep],
                           val_mask=kg.val_mask[keep])
    # Without test triples, the filters are equal.
    for name, x in zip(model.names, model.members, strict=True):
        assert fit.mrr[name] == pytest.approx(evaluate(x, alone, 'val').mrr)
    assert fit.mrr['ensemble'] == pytest.approx(
        evaluate(model, alone, 'val').mrr, abs=1e-3)
    assert fit.mrr['ensemble'] > fit.mrr['equal weights']
    assert 'second' in str(fit) and fit.table().columns[0] == ''


@pytest.mark.parametrize('per', ['graph', 'relation'])
def test_test_triples_are_not_seen(per: str, kg: KnowledgeGraph) -> None:
    other = kg.clone()
    where = kg.test_mask
    other.edge_index[1, where] = (kg.edge_index[1, where] + 7) % N
    weights = []
    for data in (kg, other):
        model = make()
        fit_weights(model, data, per=per)
        weights.append(model.weight)
    assert torch.equal(*weights)


def test_a_query_is_scored_once(kg: KnowledgeGraph) -> None:
    model = make()
    fit = fit_weights(model, kg)
    for table in model.members:
        assert len(table.asked) == len(set(table.asked)) == fit.num_queries
    val = kg.split('val')
    assert set(model.members[0].asked) == {
        (int(n), int(r), side) for side, nodes in (
            ('tail', val.edge_index[0]), ('head', val.edge_index[1]))
        for n, r in zip(nodes, val.edge_type, strict=True)}
    assert fit.num_triples == 2 * val.edge_type.numel()
    some = make()
    fit = fit_weights(some, kg, num_queries=10, seed=1)
    assert fit.num_queries == len(some.members[0].asked) == 10
    assert set(some.members[0].asked) < set(model.members[0].asked)
    again = make()
    fit_weights(again, kg, num_queries=10, seed=1)
    assert torch.equal(some.weight, again.weight)


def test_rivals_stand_for_others(kg: KnowledgeGraph,
                                 monkeypatch: pytest.MonkeyPatch) -> None:
    """With few rivals of many, the result is nearly the same."""
    exact = make()
    fit_weights(exact, kg, per='graph')
    monkeypatch.setattr('pyg_mmkgc.training.weights.BEST', 4)
    model = make()
    fit_weights(model, kg, per='graph')
    assert not torch.equal(model.weight, exact.weight)
    torch.testing.assert_close(model.weight, exact.weight, rtol=0.05, atol=0)


def test_a_useless_member_counts_less(kg: KnowledgeGraph) -> None:
    torch.manual_seed(0)
    model = Ensemble([member((1.0, 1.0, 1.0), 0),
                      Table(torch.randn(R, N, N))], R, ['good', 'noise'])
    fit = fit_weights(model, kg)
    assert fit.weight['noise'] < 0.2 * fit.weight['good']
    assert bool((model.weight >= 0).all())


def test_refusals(kg: KnowledgeGraph) -> None:
    model = make()
    before = model.weight.clone()
    with pytest.raises(ModelError, match="'Ensemble' .got 'Table'"):
        fit_weights(model.members[0], kg)
    with pytest.raises(ConfigError, match="'relation' .got 'side'"):
        fit_weights(model, kg, per='side')
    with pytest.raises(ModelError, match="'num_queries' .*got 0"):
        fit_weights(model, kg, num_queries=0)
    leaky = kg.clone()
    leaky.selection_refused = 'it repeats test triples'
    with pytest.raises(DataError, match="'val' .*it repeats test triples"):
        fit_weights(model, leaky)
    none = KnowledgeGraph(kg.edge_index, kg.edge_type, num_nodes=N,
                          num_relations=R, train_mask=kg.train_mask,
                          test_mask=~kg.train_mask)
    with pytest.raises(DataError, match='val'):
        fit_weights(model, none)
    broken = make()
    broken.members[1].scores[0, 3] = math.nan
    with pytest.raises(NonFiniteError):
        fit_weights(broken, kg)
    assert torch.equal(model.weight, before)
