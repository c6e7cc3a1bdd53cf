"""Ensembles add up the log-probabilities of any models."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch_geometric.nn import kge as pyg_kge

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.datasets import FakeMMKG
from pyg_mmkgc.errors import CheckpointError, ModelError
from pyg_mmkgc.evaluation import evaluate, explain, predict, score
from pyg_mmkgc.evaluation.scorer import model_for, scoring
from pyg_mmkgc.io import load_pretrained
from pyg_mmkgc.io.manifest import seal
from pyg_mmkgc.nn import (
    ULTRA,
    AdaMF,
    ComplEx,
    Ensemble,
    NBFNet,
    NeighborBaseline,
)

N, R = 20, 3


@pytest.fixture(scope='module')
def kg() -> KnowledgeGraph:
    torch.manual_seed(3)
    return FakeMMKG(num_nodes=N, num_relations=R, num_edges=120,
                    modalities={'text': 4, 'visual': 3})[0]


def members(kg: KnowledgeGraph) -> list[Any]:
    torch.manual_seed(5)
    return [AdaMF.from_data(kg, 4), pyg_kge.RotatE(N, R, 4),
            NBFNet.from_data(kg, 4, num_layers=2), ULTRA(4, 2),
            ComplEx.from_data(kg, 4), NeighborBaseline()]


def ensemble(kg: KnowledgeGraph) -> Ensemble:
    model = Ensemble(members(kg), R)
    model.weight.copy_(torch.rand(R, 6) * 2)
    return model


def alone(member: Any, kg: KnowledgeGraph, node: int, rel: int,
          side: str) -> list[float]:
    """Returns the scores of all nodes, one triple at a time."""
    every = torch.arange(N)
    one = torch.full((N, ), node)
    triples = [(a, rel, b) for a, b in (
        zip(every.tolist(), one.tolist(), strict=True) if side == 'head' else
        zip(one.tolist(), every.tolist(), strict=True))]
    if isinstance(member, NBFNet | ULTRA) and side == 'head':
        # Path models predict heads as the tails of reciprocal relations.
        with torch.no_grad():
            return member.attached(kg).eval().score_all(
                one[:1], torch.tensor([rel]), 'head')[0].tolist()
    return score(member, kg, triples).tolist()


def check_scores(model: Ensemble, side: str, kg: KnowledgeGraph) -> None:
    for node, rel in ((0, 0), (7, 2), (13, 1)):
        wanted = torch.zeros(N, dtype=torch.double)
        for member, weight in zip(members(kg), model.weight[rel].tolist(),
                                  strict=True):
            x = torch.tensor(alone(member, kg, node, rel, side)).double()
            wanted += weight * (x - x.exp().sum().log())
        with scoring(model, kg) as scorer:
            out = scorer(torch.tensor([node]), torch.tensor([rel]), side)
        torch.testing.assert_close(out[0].double(), wanted, rtol=1e-4,
                                   atol=1e-4)


@pytest.mark.parametrize('side', ['head', 'tail'])
def test_scores(side: str, kg: KnowledgeGraph) -> None:
    check_scores(ensemble(kg), side, kg)


class Unnormalized(Ensemble):
    def combine(self, scores: Any, rel_type: Tensor) -> Tensor:
        return sum(x * w for x, w in zip(
            scores, self.weight[rel_type].t().unsqueeze(-1), strict=True))


class OverQueries(Ensemble):
    def combine(self, scores: Any, rel_type: Tensor) -> Tensor:
        return sum(x.log_softmax(dim=0) * w for x, w in zip(
            scores, self.weight[rel_type].t().unsqueeze(-1), strict=True))


class OneRelation(Ensemble):
    def combine(self, scores: Any, rel_type: Tensor) -> Tensor:
        return super().combine(scores, rel_type * 0)


@pytest.mark.parametrize('cls', [Unnormalized, OverQueries, OneRelation])
def test_planted_fault_is_found(cls: type[Ensemble],
                                kg: KnowledgeGraph) -> None:
    model = cls(members(kg), R)
    model.weight.copy_(torch.rand(R, 6) * 2)
    with pytest.raises(AssertionError, match='not close'):
        check_scores(model, 'tail', kg)


def test_one_member_ranks_as_alone(kg: KnowledgeGraph) -> None:
    """The weights select a member for each relation."""
    model = ensemble(kg)
    for m, member in enumerate(members(kg)):
        model.weight.zero_()[:, m] = 0.5
        mine, own = evaluate(model, kg), evaluate(member, kg)
        assert mine.mrr == pytest.approx(own.mrr, abs=1e-9)


def test_evaluation_scores_each_query_once(kg: KnowledgeGraph) -> None:
    class Counting(NBFNet):
        asked: list[tuple[int, int, str]] = []

        def score_all(self, node: Tensor, rel_type: Tensor,
                      side: str) -> Tensor:
            Counting.asked += [(n, r, side) for n, r in zip(
                node.tolist(), rel_type.tolist(), strict=True)]
            return super().score_all(node, rel_type, side)

    model = Ensemble([AdaMF.from_data(kg, 4),
                      Counting.from_data(kg, 4, num_layers=1)], R)
    result = evaluate(model, kg)
    assert len(Counting.asked) == len(set(Counting.asked))
    assert len(Counting.asked) == result.protocol['num_queries']


def test_it_is_left_as_it_was(kg: KnowledgeGraph) -> None:
    model = ensemble(kg).train()
    evaluate(model, kg)
    assert all(member.training for member in model.members)
    assert model.members[3].num_nodes is None  # Attached for a while only.


def test_all_members_are_attached_or_none(kg: KnowledgeGraph) -> None:
    ultra, nbfnet = ULTRA.from_data(kg, 4), NBFNet.from_data(kg, 4)
    larger = FakeMMKG(num_nodes=N + 5, num_relations=R + 1, num_edges=120,
                      modalities={'text': 4, 'visual': 3})[0]
    with pytest.raises(ModelError, match=f'at most {R} relations'):
        Ensemble([ultra, nbfnet], R).attach(larger)
    assert ultra.num_nodes == nbfnet.num_nodes == N


def test_added_nodes(kg: KnowledgeGraph) -> None:
    """They are scored as by each member."""
    found = [AdaMF.from_data(kg, 4, structure=False),
             NBFNet.from_data(kg, 4, num_layers=2)]
    more = kg.add_nodes('new', {name: {'new': x[0]}
                                for name, x in kg.features().items()})
    wanted = 0.0
    for member in found:
        with scoring(model_for(member, more), more) as scorer:
            wanted += scorer(torch.tensor([N]), torch.tensor([1]),
                             'tail').log_softmax(dim=-1) / 2
    for order in (found, found[::-1]):
        model = model_for(Ensemble(order, R), more)
        with scoring(model, more) as scorer:
            torch.testing.assert_close(scorer(
                torch.tensor([N]), torch.tensor([1]), 'tail'), wanted)
        answers = predict(model, more, head='new', rel_type=1, k=3)
        assert answers.answer.shape == (1, 3)


def test_prediction(kg: KnowledgeGraph) -> None:
    model = ensemble(kg)
    found = predict(model, kg, head=[0, 4], rel_type=1, k=N, self_loops=True)
    with scoring(model, kg) as scorer:
        scores = scorer(torch.tensor([0, 4]), torch.tensor([1, 1]), 'tail')
    torch.testing.assert_close(found.score, scores.sort(
        dim=1, descending=True).values)
    assert predict(model, kg, head=0, tail=4, k=2).answer.shape == (1, 2)


def test_explanation(kg: KnowledgeGraph) -> None:
    """The shares add up, and each member ranks as it does alone."""
    model = ensemble(kg)
    head, tail = kg.split('test').edge_index[:, 0].tolist()
    rel = int(kg.split('test').edge_type[0])
    found = explain(model, kg, head, rel, tail)
    assert found.members is not None
    assert [x.name for x in found.members] == model.names
    uniform = torch.tensor(1 / N).log()
    total = found.score - float(model.weight[rel].sum() * uniform)
    assert sum(x.share for x in found.members) == pytest.approx(total,
                                                                abs=1e-3)
    for member, part in zip(members(kg), found.members, strict=True):
        own = explain(member, kg, head, rel, tail)
        assert own.members is None
        assert (part.head_rank, part.tail_rank) == (
            own.ranks['head'].rank, own.ranks['tail'].rank)
    # Paths come from the first path model.
    assert found.paths == explain(members(kg)[2], kg, head, rel, tail).paths
    assert 'NBFNet' in str(found) and 'share' in str(found)
    assert found.table('members').columns[1] == 'weight'


def test_saved_and_loaded(kg: KnowledgeGraph, tmp_path: Path) -> None:
    model = ensemble(kg)
    model.save_pretrained(tmp_path, kg)
    assert sorted(x.name for x in tmp_path.iterdir()) == [
        'config.json', 'labels.json', 'manifest.json', 'model.safetensors']
    state = torch.get_rng_state()
    for loaded in (load_pretrained(tmp_path),
                   Ensemble.from_pretrained(tmp_path)):
        assert torch.equal(torch.get_rng_state(), state)
        assert type(loaded) is Ensemble and not loaded.training
        assert [type(x) for x in loaded.members] == [
            type(x) for x in model.members]
        assert loaded.names == model.names
        assert loaded.node_names == kg.node_names
        first, second = evaluate(model, kg), evaluate(loaded, kg)
        assert torch.equal(first.ranks.realistic, second.ranks.realistic)
        assert torch.equal(loaded.weight, model.weight)


def test_damaged_folders(kg: KnowledgeGraph, tmp_path: Path) -> None:
    ensemble(kg).save_pretrained(tmp_path, kg)
    path = tmp_path / 'config.json'
    saved = json.loads(path.read_text())

    def load(**change: Any) -> None:
        path.write_text(json.dumps({**saved, **change}))
        seal(tmp_path)
        load_pretrained(tmp_path)

    with pytest.raises(ModelError, match='4 different names'):
        load(members=saved['members'][:-2])
    with pytest.raises(CheckpointError, match='fit its config'):
        load(**{'class': 'AdaMF'})
    with pytest.raises(CheckpointError, match=r'members\[0\]'):
        load(members=[{'class': 'AdaMF'}])
    other = [{**saved['members'][0], 'class': 'Other'}]
    with pytest.raises(CheckpointError, match="got 'Other'"):
        load(members=other + saved['members'][1:])
    load()


def test_members_that_cannot_be_saved(tmp_path: Path) -> None:
    model = Ensemble([torch.nn.Linear(2, 2), ULTRA(4, 2)], R)
    with pytest.raises(ModelError, match=r'PyG \(got .Linear'):
        model.save_pretrained(tmp_path / 'new')
    assert not (tmp_path / 'new').exists()


def test_refusals(kg: KnowledgeGraph) -> None:
    with pytest.raises(ModelError, match=r"'members' .* \(got \[\]\)"):
        Ensemble([], R)
    with pytest.raises(ModelError, match=r"\(got \['ULTRA', 'Ensemble'\]\)"):
        Ensemble([ULTRA(4, 2), Ensemble([ULTRA(4, 2)], R)], R)
    with pytest.raises(ModelError, match=r"2 different names \(got \['a'"):
        Ensemble([ULTRA(4, 2), ULTRA(4, 2)], R, ['a', 'a'])
    with pytest.raises(ModelError, match="'num_relations' .*got 0"):
        Ensemble([ULTRA(4, 2)], 0)
    assert Ensemble([ULTRA(4, 2), ULTRA(4, 2)], R).names == ['ULTRA',
                                                             'ULTRA 2']
    small = Ensemble([ComplEx(N - 1, R, 4), ULTRA(4, 2)], R)
    with pytest.raises(ModelError, match=f'{N} nodes .*got {N - 1}'):
        evaluate(small, kg)
    few = Ensemble([ComplEx(N, R, 4), ULTRA(4, 2)], R - 1)
    with pytest.raises(ModelError, match=f'{R} relations .*got {R - 1}'):
        evaluate(few, kg)
    renamed = kg.clone()
    renamed.node_names = kg.node_names[::-1]
    with pytest.raises(ModelError, match='to be node 19 of the graph'):
        evaluate(ensemble(kg), renamed)
