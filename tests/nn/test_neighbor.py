"""The neighbour baseline against a sum over all training triples."""

import math

import pytest
import torch

from pyg_mmkgc import FakeMMKG, KnowledgeGraph, evaluate, predict
from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn import NeighborBaseline


def graph() -> KnowledgeGraph:
    return FakeMMKG(num_nodes=20, num_relations=3, num_edges=60,
                    modalities={'visual': 4, 'text': 3})[0]


def cosine(kg: KnowledgeGraph, x: int, y: int) -> float:
    """The sum of the modalities that both have, over the mean of how many
    each has (the geometric one)."""
    out, count = 0.0, [0, 0]
    for name, mask in kg.masks().items():
        for i, node in enumerate((x, y)):
            count[i] += int(mask[node])
        if mask[x] and mask[y]:
            a, b = kg[f'x_{name}'][x], kg[f'x_{name}'][y]
            out += float(a @ b / (a.norm() * b.norm()))
    return out / math.sqrt(max(count[0], 1) * max(count[1], 1))


def kappa(kg: KnowledgeGraph, x: int, y: int, temperature: float) -> float:
    return 1.0 if x == y else math.exp((cosine(kg, x, y) - 1) / temperature)


@pytest.mark.parametrize('temperature', [0.05, 0.5])
def test_scores(temperature: float) -> None:
    kg = graph()
    model = NeighborBaseline.from_data(kg, temperature=temperature)
    train = kg.split('train')
    rows = list(zip(*train.edge_index.tolist(), train.edge_type.tolist(),
                    strict=True))
    node, rel = torch.tensor([0, 5, 19]), torch.tensor([2, 0, 2])
    for side in ('tail', 'head'):
        out = model.score_all(node, rel, side)
        for q in range(3):
            for other in range(20):
                h, t = (int(node[q]), other)[::1 if side == 'tail' else -1]
                wanted = sum(
                    kappa(kg, h, a, temperature) * kappa(kg, t, b, temperature)
                    for a, b, r in rows if r == rel[q])
                assert out[q, other].item() == pytest.approx(wanted, rel=1e-4,
                                                             abs=1e-7)
                if side == 'tail' and other == 3:
                    assert model(node[q:q + 1], rel[q:q + 1],
                                 torch.tensor([3])).item() == pytest.approx(
                                     out[q, 3].item())


def test_training_triples_and_new_nodes() -> None:
    """Twins of nodes by their features are answered like the nodes."""
    kg = KnowledgeGraph(
        torch.tensor([[0, 1], [2, 3]]), torch.tensor([0, 0]), num_nodes=4,
        node_names=list('abcd'), relation_names=['r'],
        x_text=torch.eye(4))
    model = NeighborBaseline.from_data(kg)
    assert evaluate(model, kg, 'train').mrr == 1.0
    more = kg.add_nodes(['a2', 'd2'], {'text': torch.eye(4)[[0, 3]]})
    found = predict(model, more, head='a2', rel_type='r', k=2)
    assert found.labels == [['c', 'd']]
    found = predict(model, more, head='b', rel_type='r', k=2)
    assert found.labels == [['d', 'd2']]
    assert model.num_nodes == 4  # It was attached for a while.
    assert predict(model, kg, head='a', rel_type='r', k=1).labels == [['c']]


def test_graphs_without_features() -> None:
    kg = KnowledgeGraph(torch.tensor([[0], [1]]), torch.tensor([0]))
    with pytest.raises(ModelError, match='at least one modality.*got none'):
        NeighborBaseline.from_data(kg)
    with pytest.raises(ModelError, match="'temperature' .* positive .got 0"):
        NeighborBaseline(0)
