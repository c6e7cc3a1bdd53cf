"""Tests that ensembles are only fitted on validation triples."""

import copy
import math

import pytest
import torch
from torch import Tensor

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.errors import DataError, ModelError
from pyg_mmkgc.evaluation import evaluate
from pyg_mmkgc.nn import ComplEx, MoSE
from pyg_mmkgc.training import fit_ensemble
from pyg_mmkgc.training.ensemble import rank_boost

N, R, D = 30, 2, 8


@pytest.fixture
def kg() -> KnowledgeGraph:
    """Every tail is the next node, which only the text encodes."""
    head = torch.arange(N).repeat(2)
    split = torch.arange(2 * N) % 4
    x = torch.eye(N)
    return KnowledgeGraph(
        torch.stack([head, (head + 1) % N]), torch.arange(2 * N) // N,
        num_nodes=N, num_relations=R, train_mask=split < 2,
        val_mask=split == 2, test_mask=split == 3, x_text=x, x_visual=x)


def model_of(kg: KnowledgeGraph, mode: str) -> MoSE:
    """The text expert scores the next node best for relation 0, and the visual
    expert for relation 1.
    """
    torch.manual_seed(0)
    model = MoSE.from_data(kg, N // 2, ensemble=mode, scale=1.0)
    order = torch.arange(N) * 2 * math.pi / N
    with torch.no_grad():
        for m, name in ((1, 'visual'), (2, 'text')):
            weight = torch.zeros(2 * (N // 2), N)
            weight[0], weight[N // 2] = order.cos(), order.sin()
            model.encoders[name].lin.weight.copy_(weight)
            turn = 2 * math.pi / N
            rows = model.rel_emb.weight.view(R, 3, 2, N // 2)
            rows[:, m] = torch.randn(N // 2)
            rows[2 - m, m] = 0.0
            rows[2 - m, m, 0, 0] = math.cos(turn)
            rows[2 - m, m, 1, 0] = math.sin(turn)
    return model


@pytest.mark.parametrize('mode', ['boosted', 'learned'])
def test_fitted_on_validation(mode: str, kg: KnowledgeGraph) -> None:
    model = model_of(kg, mode)
    weights = [p.clone() for p in model.parameters() if p.requires_grad]
    before = evaluate(model, kg, 'val').mrr
    fit_ensemble(model, kg, min_triples=3)
    after = evaluate(model, kg, 'val').mrr
    assert after > before
    if mode == 'boosted':  # Each relation has its own expert.
        assert model.combine.weight.argmax(dim=1).tolist() == [2, 1]
    now = [p for p in model.parameters() if p.requires_grad]
    assert all(map(torch.equal, weights, now))
    assert model.training
    again = model_of(kg, mode)
    torch.manual_seed(99)  # Numbers come from the seed of the fit only.
    fit_ensemble(again, kg, min_triples=3)
    for name, x in model.state_dict().items():
        assert torch.equal(x, again.state_dict()[name]), name


@pytest.mark.parametrize('mode', ['boosted', 'learned'])
def test_test_triples_are_not_seen(mode: str, kg: KnowledgeGraph) -> None:
    """Changed or missing test triples do not change the ensemble."""
    states = []
    for change in (False, True):
        model, data = model_of(kg, mode), kg.clone()
        if change:
            where = data.test_mask
            data.edge_index[1, where] = (data.edge_index[0, where] + 7) % N
            if mode == 'boosted':  # Filters by all triples.
                data = KnowledgeGraph(
                    data.edge_index, data.edge_type, num_nodes=N,
                    num_relations=R, train_mask=data.train_mask,
                    val_mask=data.val_mask, test_mask=data.test_mask,
                    x_text=data.x_text, x_visual=data.x_visual,
                    filter_edge_index=kg.edge_index,
                    filter_edge_type=kg.edge_type)
        fit_ensemble(model, data, min_triples=3)
        states.append(model.combine.state_dict())
    if mode == 'learned':
        for name, x in states[0].items():
            assert torch.equal(x, states[1][name])
    else:
        assert (states[0]['weight'] - states[1]['weight']).abs().max() < 0.1


def test_few_triples_have_the_mean(kg: KnowledgeGraph) -> None:
    model = model_of(kg, 'boosted')
    count = int(kg.val_mask.sum()) // 2
    fit_ensemble(model, kg, min_triples=count + 2)
    assert torch.equal(model.combine.weight, torch.full((R, 3), 1 / 3))
    fit_ensemble(model, kg, min_triples=count - 1)
    assert not torch.equal(model.combine.weight, torch.full((R, 3), 1 / 3))


def test_the_mean_has_nothing_to_fit(kg: KnowledgeGraph) -> None:
    model = model_of(kg, 'mean')
    before = copy.deepcopy(model.state_dict())
    fit_ensemble(model, kg)
    assert all(map(torch.equal, before.values(), model.state_dict().values()))


def reference(gains: list[list[float]]) -> list[float]:
    """Runs RankBoost in plain loops."""
    M, Q = len(gains), len(gains[0])
    weight, left, alpha = [1 / Q] * Q, set(range(M)), [0.0] * M
    while left:
        mean = {m: sum(w * g for w, g in zip(weight, gains[m]))
                for m in left}
        best = max(left, key=lambda m: mean[m])
        left.remove(best)
        if mean[best] > 0:
            alpha[best] = 0.5 * math.log((1 + mean[best]) / (1 - mean[best]))
        weight = [w * math.exp(-alpha[best] * g)
                  for w, g in zip(weight, gains[best])]
        weight = [w / sum(weight) for w in weight]
    return [a / sum(alpha) for a in alpha]


def test_rank_boost() -> None:
    gains = 2 * torch.rand(3, 20, dtype=torch.double) - 0.8
    torch.testing.assert_close(rank_boost(gains), torch.tensor(
        reference(gains.tolist()), dtype=torch.double))


@pytest.mark.parametrize('gains, wanted', [
    ([[1.0, 1.0], [0.0, 0.0]], [1.0, 0.0]),  # Perfect, and random.
    ([[-0.5, -0.5], [-0.2, -0.1]], [0.5, 0.5]),  # All are useless.
    ([[0.5, 0.5], [0.5, 0.5]], [0.5, 0.5]),
])
def test_rank_boost_by_hand(gains: list, wanted: list) -> None:
    out: Tensor = rank_boost(torch.tensor(gains))
    torch.testing.assert_close(out, torch.tensor(wanted))


def test_refusals(kg: KnowledgeGraph) -> None:
    with pytest.raises(ModelError, match=r"an ensemble, such as MoSE \(got "
                       r"'ComplEx'\)"):
        fit_ensemble(ComplEx(N, R, D), kg)
    model = model_of(kg, 'boosted')
    for kwargs, match in (({'lr': -1}, "'lr' to be positive .got -1"),
                          ({'num_candidates': 2.5}, "'num_candidates' to be "
                           'an integer >= 1 .got 2.5'),
                          ({'steps': 0}, "'steps'"), ({'seed': -1}, "'seed'"),
                          ({'min_triples': None}, "'min_triples'")):
        with pytest.raises(ModelError, match=match):
            fit_ensemble(model, kg, **kwargs)
    weight = torch.rand(R, 3)
    model.combine.weight.copy_(weight)
    kg.selection_refused = 'it repeats test triples'
    with pytest.raises(DataError, match="'val' .*it repeats test triples"):
        fit_ensemble(model, kg)
    del kg.selection_refused, kg.val_mask
    with pytest.raises(DataError, match='val'):
        fit_ensemble(model, kg)
    assert torch.equal(model.combine.weight, weight)


@pytest.mark.parametrize('mode', ['boosted', 'learned'])
def test_an_interrupted_fit_leaves_the_weights(mode: str, kg: KnowledgeGraph
                                               ) -> None:
    model, calls = model_of(kg, mode), []
    with torch.no_grad():
        for x in model.combine.state_dict().values():
            x.copy_(torch.rand(x.shape))
    before = copy.deepcopy(model.state_dict())

    def interrupt(*args: object) -> None:
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt

    model.combine.register_forward_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        fit_ensemble(model, kg, min_triples=3)
    assert all(map(torch.equal, before.values(), model.state_dict().values()))


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.mark.parametrize('mode', ['boosted', 'learned'])
def test_a_graph_on_cuda(mode: str, kg: KnowledgeGraph) -> None:
    model = model_of(kg, mode)
    fit_ensemble(model, kg.clone().cuda(), min_triples=3)
    again = model_of(kg, mode)
    fit_ensemble(again, kg, min_triples=3)
    for name, x in model.state_dict().items():
        torch.testing.assert_close(x, again.state_dict()[name])
