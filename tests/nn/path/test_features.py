"""Features in path models against their equations, written out node by node,
and what they are for: nodes that no path reaches.
"""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pyg_mmkgc import KnowledgeGraph, Trainer, evaluate, explain
from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn.path import ULTRA, NBFNet, PathModel, best_paths

pytestmark = pytest.mark.filterwarnings(
    'ignore::pyg_mmkgc.evaluation.result.TieWarning')
N, R, D = 9, 2, 4


def graph(N: int = N, **kwargs: Tensor) -> KnowledgeGraph:
    """Node 8 has no edge; some nodes lack a modality, node 2 both."""
    torch.manual_seed(0)
    head = torch.tensor([0, 1, 2, 3, 4, 5, 6, 0, 3])
    tail = torch.tensor([1, 2, 3, 4, 5, 6, 7, 4, 7])
    return KnowledgeGraph(
        torch.stack([head, tail]), torch.arange(9) % R, num_nodes=N,
        num_relations=R, train_mask=torch.arange(9) < 7,
        val_mask=torch.arange(9) == 7, test_mask=torch.arange(9) == 8,
        node_names=[f'n{i}' for i in range(N)],
        **{'x_text': torch.randn(N, 3), 'x_visual': torch.randn(N, 5),
           'mask_text': torch.arange(N) != 2,
           'mask_visual': torch.arange(N) % 4 != 2, **kwargs})


def build(cls: type[PathModel], kg: KnowledgeGraph,
          **kwargs: Any) -> PathModel:
    torch.manual_seed(1)
    return cls.from_data(kg, **{'hidden_channels': D, 'num_layers': 2,
                                **kwargs})


def by_hand(model: PathModel, kg: KnowledgeGraph, h: int,
            rel: int) -> Tensor:
    """The scores of one query, with plain loops over nodes and edges."""
    N = kg.num_nodes
    e, weights = (x[0] if isinstance(x, Tensor) else [w[0] for w in x]
                  for x in model.condition(torch.tensor([rel])))
    gates = model.features
    gamma, delta = gates.gate(e).view(2, -1)
    names = list(model.modalities)
    mask = kg.masks()
    f = {name: x.double() - x[mask[name]].double().mean(dim=0).float()
         for name, x in kg.features().items()}
    x = []
    for v in range(N):
        row = e if v == h else torch.zeros_like(e)
        for m, name in enumerate(names):
            if mask[name][v]:
                y = gates.value[name].weight @ f[name][v]
                y = (y - y.mean()) / (y.var(unbiased=False) + 1e-5).sqrt()
                row = row + gamma[m] * y
        x.append(row)
    train = kg.split('train')
    edges = []
    for a, b, r in zip(*train.edge_index.tolist(), train.edge_type.tolist(),
                       strict=True):
        edges += [(b, r, a), (a, r + R, b)]
    for layer, weight in zip(model.layers, weights, strict=True):
        rows = []
        for v in range(N):
            message = e if v == h else torch.zeros_like(e)
            for a, r, b in edges:
                if b == v:
                    message = message + weight[r] * x[a]
            out = layer.linear(torch.cat([x[v], message]))
            rows.append(layer.layer_norm(out).relu() + x[v])
        x = rows
    scores = []
    for v in range(N):
        total = model.mlp(torch.cat([x[v], e]))[0]
        for m, name in enumerate(names):
            scale, shift = gates.query[name](e).chunk(2)
            B = gates.key[name].weight
            own = F.normalize(B @ f[name][h], dim=0) * mask[name][h]
            key = F.normalize(B @ f[name][v], dim=0) * mask[name][v]
            total = total + 20 * delta[m] * F.normalize(
                scale * own + shift, dim=0) @ key
        scores.append(total)
    return torch.stack(scores)


@pytest.mark.parametrize('size', [N, 30])
@pytest.mark.parametrize('cls', [NBFNet, ULTRA])
def test_scores_equal_the_equations(cls: type[PathModel], size: int) -> None:
    """A query reaches most nodes of the first graph, and few of the second."""
    kg = graph(size)
    model = build(cls, kg).double()
    node, rel = torch.tensor([0, 2, 8, 5]), torch.tensor([0, 1, 1, 0])
    for side, shift in (('tail', 0), ('head', R)):
        wanted = torch.stack([by_hand(model, kg, h, r + shift) for h, r in zip(
            node.tolist(), rel.tolist(), strict=True)])
        out = model.score_all(node, rel, side)
        torch.testing.assert_close(out, wanted, rtol=1e-9, atol=1e-9)
        with torch.no_grad():
            torch.testing.assert_close(model.score_all(node, rel, side),
                                       wanted, rtol=1e-9, atol=1e-9)
        weight = torch.randn_like(wanted)
        params = list(model.features.parameters())
        for got, want in zip(torch.autograd.grad(out, params, weight),
                             torch.autograd.grad(wanted, params, weight),
                             strict=True):
            torch.testing.assert_close(got, want, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize('cls', [NBFNet, ULTRA])
def test_unreachable_nodes_differ(cls: type[PathModel]) -> None:
    """Nodes 7 and 8 have no edge within reach of a short path."""
    kg = graph()
    query = torch.tensor([0]), torch.tensor([1])
    with torch.no_grad():
        plain = build(cls, kg, modalities={}, num_layers=1).eval().score_all(
            *query, 'tail')[0]
        assert plain[6] == plain[7] == plain[8]
        scores = build(cls, kg, num_layers=1).eval().score_all(
            *query, 'tail')[0]
        assert scores[7] != scores[8] != scores[5]


def test_fine_tuning_starts_at_the_scores_of_the_pretrained_model(
        tmp_path: Path) -> None:
    torch.manual_seed(3)
    plain = ULTRA(D, 2)
    torch.save({'model': plain.state_dict()}, tmp_path / 'ultra.pth')
    kg = graph()
    model = build(ULTRA, kg, pretrained=str(tmp_path / 'ultra.pth'))
    assert model.modalities == {'text': 3, 'visual': 5}
    plain.attach(kg).eval()
    node, rel = torch.tensor([0, 3, 8]), torch.tensor([0, 1, 0])
    with torch.no_grad():
        for side in ('head', 'tail'):
            assert torch.equal(model.eval().score_all(node, rel, side),
                               plain.score_all(node, rel, side))
    assert evaluate(model, kg).mrr == evaluate(plain, kg).mrr
    # The gates are learned from there.
    triple = kg.edge_index[0, :4], kg.edge_type[:4], kg.edge_index[1, :4]
    loss = model.train().loss(*triple)
    torch.testing.assert_close(loss, plain.train().loss(*triple))
    loss.backward()
    assert bool((model.features.gate.weight.grad != 0).any(dim=1).all())
    Trainer(model, kg, lr=0.01, batch_size=4, epochs=2, valid_every=None,
            progress=False).fit()
    with torch.no_grad():
        assert model.eval().score_all(node, rel, 'tail')[2].unique(
            ).numel() == N
    # A saved model with modalities goes on as it is.
    model.save_pretrained(tmp_path / 'tuned', kg)
    again = build(ULTRA, kg, pretrained=str(tmp_path / 'tuned')).eval()
    with torch.no_grad():
        assert torch.equal(again.score_all(node, rel, 'tail'),
                           model.score_all(node, rel, 'tail'))
    with pytest.raises(ModelError, match=r"'text': 3.*got \{\}"):
        build(ULTRA, kg, pretrained=str(tmp_path / 'tuned'), modalities={})
    with pytest.raises(TypeError, match="argument 'num_negative'"):
        build(ULTRA, kg, pretrained=str(tmp_path / 'tuned'), num_negative=3)
    assert build(ULTRA, kg, modalities=None).modalities == model.modalities
    with pytest.raises(ModelError, match="'structure_dropout' .*got -0.1"):
        build(ULTRA, kg, pretrained=str(tmp_path / 'tuned'),
              structure_dropout=-0.1)


def islands(unseen: int) -> KnowledgeGraph:
    """Heads point to one of two hubs, which only a feature tells; the last
    heads have no training triple.
    """
    torch.manual_seed(0)
    size = 40
    kind = torch.arange(size) % 2
    x = torch.randn(size + 2, 6) * 0.3
    x[:size, 0] += 3.0 * (2 * kind - 1)
    there = torch.arange(size) < size - unseen
    later = torch.arange(size) % 4 < 2
    return KnowledgeGraph(
        torch.stack([torch.arange(size), size + kind]),
        torch.zeros(size, dtype=torch.long), num_nodes=size + 2,
        num_relations=1, train_mask=there, val_mask=~there & later,
        test_mask=~there & ~later, x_text=x)


@pytest.mark.parametrize('cls', [NBFNet, ULTRA])
def test_unseen_nodes_are_ranked_by_their_features(
        cls: type[PathModel]) -> None:
    kg = islands(8)
    found = {}
    for name, modalities in (('with', None), ('without', {})):
        torch.manual_seed(0)
        kwargs = {} if modalities is None else {'modalities': modalities}
        model = cls.from_data(kg, 8, num_layers=2, **kwargs)
        Trainer(model, kg, lr=0.01, batch_size=8, epochs=24,
                valid_every=None, progress=False).fit()
        found[name] = evaluate(model, kg, 'test', sides=['tail'])
    # Both hubs are known as tails, but not which of them.
    assert found['with'].mrr == 1.0
    assert found['without'].mrr < 0.8


def test_structure_dropout_takes_all_edges_of_the_node_with_fewer() -> None:
    def triples(edges: list[tuple[int, int, int]]) -> KnowledgeGraph:
        torch.manual_seed(0)
        h, r, t = torch.tensor(edges).t()
        return KnowledgeGraph(torch.stack([h, t]), r, num_nodes=6,
                              num_relations=R, x_text=torch.randn(6, 3))

    others = [(1, 1, 2), (1, 1, 3), (4, 1, 1)]
    kg = triples([(0, 0, 1), (2, 1, 0), *others])
    model = build(NBFNet, kg).double()
    triple = [torch.tensor([x]) for x in (0, 0, 1)]
    expected = []
    for edges in ([(2, 1, 0), *others], others):
        expected.append(model.attached(triples(edges)).loss(*triple).item())
    model = build(NBFNet, kg, structure_dropout=0.3).double()
    found = [model.loss(*triple).item() for _ in range(400)]
    with_dropout = [x == pytest.approx(expected[1], abs=1e-9) for x in found]
    assert expected[0] != pytest.approx(expected[1], abs=1e-3)
    assert all(x == pytest.approx(expected[dropped], abs=1e-9)
               for x, dropped in zip(found, with_dropout, strict=True))
    assert 0.2 < sum(with_dropout) / 400 < 0.4  # Over four deviations.


def test_several_rows_of_a_node() -> None:
    """Present rows are averaged."""
    rows = torch.randn(N, 3, 5)
    mask = torch.rand(N, 3) < 0.6
    mask[4] = False
    mean = torch.stack([rows[v][mask[v]].mean(dim=0) if mask[v].any() else
                        torch.zeros(5) for v in range(N)])
    several = graph(x_visual=rows, mask_visual=mask)
    single = graph(x_visual=mean, mask_visual=mask.any(dim=1))
    query = torch.tensor([0, 4]), torch.tensor([0, 1]), 'tail'
    model = build(NBFNet, several).double()
    out = model.score_all(*query)
    torch.testing.assert_close(model.attached(single).score_all(*query), out,
                               rtol=1e-5, atol=1e-5)


def test_another_graph_has_its_own_features() -> None:
    kg, other = graph(), graph()
    model = build(NBFNet, kg).eval()
    query = torch.tensor([0]), torch.tensor([0]), 'tail'
    with torch.no_grad():
        before = model.score_all(*query)
        other.x_text = kg.x_text.flip(0)
        # The edges are the same.
        assert not torch.equal(model.attached(other).score_all(*query),
                               before)
        assert torch.equal(model.score_all(*query), before)
    with pytest.raises(ModelError, match=r"\['text', 'visual'\] .*\(got "
                       r"\['text'\]\)"):
        model.attach(KnowledgeGraph(kg.edge_index, kg.edge_type, num_nodes=N,
                                    num_relations=R, x_text=kg.x_text))
    with pytest.raises(ModelError, match=r"'visual' with 5 .*got shape \[9, "
                       r'6\]'):
        evaluate(model, graph(x_visual=torch.randn(N, 6)))
    assert torch.equal(model.eval().score_all(*query).detach(), before)
    fresh = NBFNet(R, D, 2, modalities={'text': 3})
    fresh.num_nodes = N
    fresh.prepare(kg.edge_index, kg.edge_type)
    with pytest.raises(ModelError, match='with features .got none'):
        fresh.score_all(*query)


def test_weights_and_effects_of_modalities() -> None:
    kg = graph()
    model = build(NBFNet, kg).eval()
    with torch.no_grad():
        model.features.gate.weight.zero_()
        model.features.gate.bias.copy_(torch.tensor([.5, .25, -3., 1.]))
    gates = model.modality_gates(torch.tensor([0, 1]))
    torch.testing.assert_close(gates['text'], torch.tensor(
        [[.5, -3.], [.5, -3.]]))
    index = torch.tensor([0, 2, 6])  # Node 2 has no feature, node 6 a text.
    weight = model.modality_weights(index, torch.zeros(3).long())
    torch.testing.assert_close(weight['text'], torch.tensor([.75, 0., 1.]))
    torch.testing.assert_close(weight['visual'], torch.tensor([.25, 0., 0.]))
    assert build(NBFNet, kg, modalities={}).modality_weights(
        index, index * 0) is None

    found = explain(model, kg, 'n3', 1, 'n4')
    assert [x.name for x in found.modalities] == ['text', 'visual']
    assert found.modalities[0].head_weight == 0.75
    for effect in found.modalities:
        mean = kg[f'x_{effect.name}'][kg[f'mask_{effect.name}']].mean(dim=0)
        other = graph()
        other[f'x_{effect.name}'] = mean.expand(N, -1).contiguous()
        wanted = explain(model, other, 'n3', 1, 'n4')
        assert effect.score == pytest.approx(wanted.score, abs=1e-4)
        assert effect.score != pytest.approx(found.score, abs=1e-3)
        assert effect.tail_rank == wanted.ranks['tail'].rank
    assert 'without text' in str(found)
    with pytest.raises(ModelError, match="'visual'.* .got 'sound'"):
        model.without('sound')


def test_paths_are_found_with_features() -> None:
    kg = graph()
    model = build(NBFNet, kg).eval()
    paths = best_paths(model, 0, 0, 2, k=3)
    assert [0, 1, 2] in [path.nodes for path in paths]


def test_refusals() -> None:
    with pytest.raises(ModelError, match="'num_active' .*got 5"):
        NBFNet(R, D, modalities={'text': 3}, num_active=5)
    with pytest.raises(ModelError, match="modality name .*got 'structure'"):
        NBFNet(R, D, modalities={'structure': 3})
    with pytest.raises(ModelError, match="'modalities.text' .*got 0"):
        ULTRA(D, 2, modalities={'text': 0})
    for rate, modalities in ((1.0, {'text': 3}), (-0.1, {'text': 3}),
                             ('0.5', {'text': 3}), (0.1, {})):
        message = re.escape(f'got {rate!r} and the modalities '
                            f'{list(modalities)}')
        with pytest.raises(ModelError, match=r"'structure_dropout' .*\[0, 1\)"
                           f'.*{message}'):
            NBFNet(R, D, modalities=modalities, structure_dropout=rate)
