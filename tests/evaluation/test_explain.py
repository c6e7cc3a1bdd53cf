"""Explanations, compared with removing each modality by hand."""

import json
import math

import pytest
import torch
from torch_geometric.nn.kge import TransE

from pyg_mmkgc import nn
from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.errors import ConfigError, DataError
from pyg_mmkgc.evaluation import explain
from pyg_mmkgc.report import Report

N = 12
NAMES = [f'node {i}' for i in range(N)]


@pytest.fixture
def kg() -> KnowledgeGraph:
    g = torch.Generator().manual_seed(0)
    triples = [(i, r, (i * 5 + r + 1) % N) for i in range(N) for r in (0, 1)]
    triples.append((0, 2, 7))  # The one triple of its relation.
    head, rel, tail = torch.tensor(triples).t()
    split = torch.arange(len(triples)) % 5
    split[-1] = 0
    return KnowledgeGraph(
        edge_index=torch.stack([head, tail]), edge_type=rel, num_nodes=N,
        num_relations=3, train_mask=split < 3, val_mask=split == 3,
        test_mask=split == 4, node_names=NAMES,
        relation_names=['next', 'far', 'once'],
        x_text=torch.randn(N, 5, generator=g),
        x_visual=torch.randn(N, 4, generator=g),
        mask_visual=torch.arange(N) % 3 > 0)


def known(kg: KnowledgeGraph) -> set[tuple[int, int, int]]:
    return set(zip(kg.edge_index[0].tolist(), kg.edge_type.tolist(),
                   kg.edge_index[1].tolist(), strict=True))


def rank_by_hand(score, kg, triple, side):
    """Returns the realistic rank and the number of candidates, one by one."""
    place = {'head': 0, 'tail': 2}[side]
    others = []
    for node in range(N):
        other = [*triple]
        other[place] = node
        if tuple(other) != triple and tuple(other) not in known(kg):
            others.append(score(*other))
    own = score(*triple)
    better = sum(x > own for x in others)
    equal = sum(x == own for x in others)
    return 1 + better + equal / 2, 1 + len(others)


def adamf(kg, missing='random'):
    torch.manual_seed(1)
    model = nn.AdaMF.from_data(kg, hidden_channels=3, missing=missing)
    torch.nn.init.normal_(model.fuser.weight, std=2)
    torch.nn.init.normal_(model.node_emb.weight)
    return model.eval()


def by_the_paper(model, views):
    """Returns the joint embeddings of eqs. (4) and (5), and RotatE's score."""
    names = ['structure', 'text', 'visual']
    weight = model.fuser.weight.double()
    logits = torch.stack([views[m].tanh() @ weight[i]
                          for i, m in enumerate(names)], dim=-1)
    alpha = logits.exp() / logits.exp().sum(dim=-1, keepdim=True)
    joint = sum(alpha[:, i:i + 1] * views[m] for i, m in enumerate(names))
    table = torch.complex(*joint.chunk(2, dim=-1))
    phase = model.rel_emb.weight.double() * math.pi * 3 / (12 + 2)

    def score(h, r, t):
        turn = torch.polar(torch.ones_like(phase[r]), phase[r])
        return float(model.margin - (table[h] * turn - table[t]).abs().sum())

    return alpha, score


@torch.no_grad()
def test_each_modality_taken_out_by_hand(kg) -> None:
    model = adamf(kg)
    views = {name: x.double() for name, x in model.embed(
        torch.arange(N)).items()}
    alpha, full = by_the_paper(model, views)
    ranks = set()
    for h, r, t in [(0, 0, 1), (3, 1, 5), (7, 0, 2), (2, 1, 2)]:
        found = explain(model, kg, h, r, t)
        assert found.score == pytest.approx(full(h, r, t), abs=1e-4)
        for side in ('head', 'tail'):
            rank = found.ranks[side]
            assert (rank.rank, rank.num_candidates) == rank_by_hand(
                full, kg, (h, r, t), side)
        assert [x.name for x in found.modalities] == list(views)
        for i, effect in enumerate(found.modalities):
            assert effect.head_weight == pytest.approx(float(alpha[h, i]),
                                                        abs=1e-5)
            assert effect.tail_weight == pytest.approx(float(alpha[t, i]),
                                                        abs=1e-5)
            mean = views[effect.name].mean(dim=0, keepdim=True)
            _, less = by_the_paper(model, views | {
                effect.name: mean.expand(N, -1)})
            assert effect.score == pytest.approx(less(h, r, t), abs=1e-4)
            for side, rank in (('head', effect.head_rank),
                               ('tail', effect.tail_rank)):
                assert rank == rank_by_hand(less, kg, (h, r, t), side)[0]
                ranks.add((rank, found.ranks[side].rank))
    assert len(ranks) > 5  # The modalities matter.


@torch.no_grad()
def test_an_absent_view_stays_absent(kg) -> None:
    """With `drop`, the mean is over the nodes that have the view."""
    model = adamf(kg, missing='drop')
    views = model.embed(torch.arange(N))
    there = kg.mask_visual[:, None]
    mean = (views['visual'] * there).sum(dim=0) / there.sum()
    table = model.fuse(views | {'visual': torch.where(
        there, mean, torch.zeros_like(views['visual']))})
    found = explain(model, kg, 0, 0, 1)
    effect, = (x for x in found.modalities if x.name == 'visual')
    assert effect.head_weight == 0 and effect.head_has is False
    assert effect.tail_weight > 0 and effect.tail_has is True
    assert effect.score == pytest.approx(float(model.score(
        table[0], torch.tensor(0), table[1])), abs=1e-5)
    assert '(node 0: no visual features)' in str(found)


@torch.no_grad()
def test_weights_that_depend_on_the_relation(kg) -> None:
    torch.manual_seed(0)
    model = nn.NativE.from_data(kg, hidden_channels=3).eval()
    torch.nn.init.normal_(model.temperature.weight, std=3)
    torch.nn.init.normal_(model.fuser.weight, std=2)
    for r in (0, 1):
        views = model.embed(torch.tensor([4, 9]))
        logit = torch.stack([views[m].tanh() @ model.fuser.weight[0]
                             for m in ('structure', 'text', 'visual')])
        heat = 1 / (1 + math.exp(-model.temperature.weight[r].item()))
        expected = (logit / heat).softmax(dim=0)
        found = explain(model, kg, 4, r, 9)
        for i, effect in enumerate(found.modalities):
            assert [effect.head_weight, effect.tail_weight] == pytest.approx(
                expected[i].tolist(), abs=1e-5)


def test_nearest_training_triples(kg) -> None:
    model = adamf(kg)
    table = torch.nn.functional.normalize(model.encode().detach(), dim=-1)
    train = kg.split('train')
    expected = sorted(
        (((table[h] @ table[0] + table[t] @ table[1]) / 2).item(), h, t)
        for (h, t), r in zip(train.edge_index.t().tolist(),
                             train.edge_type.tolist(), strict=True)
        if r == 0 and (h, t) != (0, 1))[::-1]
    assert (0, 0, 1) in known(kg)
    found = explain(model, kg, 'node 0', 'next', 'node 1', k=3)
    assert found.known == 'train' and len(found.nearest) == 3
    for near, (value, h, t) in zip(found.nearest, expected, strict=False):
        assert (near.head, near.tail) == (NAMES[h], NAMES[t])
        assert near.similarity == pytest.approx(value, abs=1e-5)
        assert near.similarity == pytest.approx(
            (near.head_similarity + near.tail_similarity) / 2, abs=1e-5)
    lonely = explain(model, kg, 0, 2, 7)
    assert lonely.nearest == []
    assert 'No other training triple has the relation once.' in str(lonely)


@pytest.mark.parametrize('name', ['IKRL', 'TBKGC', 'MoSE', 'RSME', 'OTKGE',
                                  'VBKGC', 'TransAE', 'MMKRL', 'GCOTE'])
def test_models_without_weights(kg, name: str) -> None:
    torch.manual_seed(0)
    channels = 8 if name == 'GCOTE' else 4
    model = getattr(nn, name).from_data(kg, hidden_channels=channels)
    if name == 'GCOTE':
        train = kg.split('train')
        model.prepare(train.edge_index, train.edge_type)
    found = explain(model, kg, 1, 0, 6)
    assert len(found.modalities) >= 2
    assert all(x.head_weight is None for x in found.modalities)
    assert any(x.score != pytest.approx(found.score)
               for x in found.modalities)
    assert 'weight in' not in str(found) and 'without text' in str(found) or (
        name == 'GCOTE')
    assert model.training


@pytest.mark.parametrize('cls', [nn.DistMult, TransE])
def test_models_of_one_view(kg, cls) -> None:
    torch.manual_seed(0)
    model = cls(N, 3, 4)
    found = explain(model, kg, 1, 0, 6)
    assert found.modalities == [] and len(found.nearest) == 5
    assert 'contributes' not in str(found)


def test_a_model_without_representations(kg) -> None:
    class Pairs(torch.nn.Module):
        def forward(self, head_index, rel_type, tail_index):
            return -(head_index + rel_type - tail_index).abs().float()

    found = explain(Pairs(), kg, 3, 1, 6)
    assert found.score == -2 and found.nearest is None
    # 4 of 12 tails are nearer or as near: 4; 3, 5; 2 and the tail itself.
    tails = [abs(4 - t) for t in range(N)
             if t == 6 or (3, 1, t) not in known(kg)]
    assert found.ranks['tail'].rank == (
        1 + sum(x < 2 for x in tails) + (sum(x == 2 for x in tails) - 1) / 2)
    assert 'similar' not in str(found)


def test_the_page(kg) -> None:
    found = explain(adamf(kg), kg, 'node 2', 'far', 'node 3', k=2)
    text = str(found)
    assert text.startswith('node 2  --far->  node 3\n')
    assert 'is not in the graph' in text
    rank = found.ranks['tail']
    assert (f'(node 2, far, ?): node 3 has rank {rank.rank:.0f} of '
            f'{rank.num_candidates}') in text
    if rank.ahead:
        assert f'after {rank.ahead[0]}' in text
    assert 'without visual' in text and 'weight in node 2' in text
    assert text.count('--far->') == 3
    assert isinstance(found, Report)
    assert json.loads(json.dumps(found.to_dict()))['ranks']['tail'][
        'rank'] == rank.rank
    assert found.table('modalities').rows[0][-1] == rank.rank
    assert found.table('ranks').rows[1][2] == rank.rank
    assert len(found.table('nearest').rows) == 2
    assert r'\begin{tabular}' in found.to_latex('nearest')
    assert 'without visual' in found._repr_html_()
    assert 'tail_rank' in repr(found)


def test_better_answers_are_named(kg) -> None:
    class Constant(torch.nn.Module):
        def forward(self, head_index, rel_type, tail_index):
            return -tail_index.float()

    # For tails, lower is better; (2 next 11) is known and left out.
    assert (2, 0, 11) in known(kg)
    found = explain(Constant(), kg, 2, 0, 4)
    assert found.ranks['tail'].rank == 5
    assert found.ranks['tail'].ahead == ['node 0', 'node 1', 'node 2']
    assert 'after node 0, node 1, node 2 itself, ...' in str(found)
    assert found.ranks['head'].ahead == []


def test_bad_questions(kg) -> None:
    model = adamf(kg)
    with pytest.raises(DataError, match="got 'nobody'"):
        explain(model, kg, 'nobody', 0, 1)
    with pytest.raises(DataError, match='one triple'):
        explain(model, kg, [0, 1], 0, 1)
    for k in (0, 1.5):
        with pytest.raises(ConfigError, match=f"'k'.*got {k}"):
            explain(model, kg, 0, 0, 1, k=k)
