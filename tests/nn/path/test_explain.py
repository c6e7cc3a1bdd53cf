"""Paths against all paths of a small graph, with gradients of a formula that
has a weight of every edge in every layer.
"""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pyg_mmkgc import Countries, KnowledgeGraph
from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.evaluation import explain
from pyg_mmkgc.nn.path import ULTRA, NBFNet, Path, PathModel, best_paths

D, L = 4, 3


def graph() -> KnowledgeGraph:
    torch.manual_seed(3)
    edge_index = torch.randint(6, (2, 18))
    return KnowledgeGraph(edge_index, torch.randint(2, (18, )), num_nodes=6,
                          num_relations=2)


def gradients(model: PathModel, edges: list[tuple[int, int, int]],
              node: int, rel: int, answer: int) -> Tensor:
    """Those of the score by weights of all ones, [L, E]."""
    start, weights = model.condition(torch.tensor([rel]))
    start = start[0].detach()
    ones = torch.ones(L, len(edges), dtype=start.dtype, requires_grad=True)
    zero = torch.zeros_like(start)
    first = [start if v == node else zero for v in range(6)]
    x = list(first)
    for i, (layer, weight) in enumerate(zip(model.layers, weights)):
        rows = []
        for v in range(6):
            got = [ones[i, e] * weight[0, r] * x[u] for e, (u, r, t) in
                   enumerate(edges) if t == v] + [first[v]]
            stack = torch.stack(got)
            m = (stack.max(dim=0).values if layer.reduce == 'max' else
                 getattr(stack, layer.reduce)(dim=0))
            h = F.linear(torch.cat([x[v], m]), layer.linear.weight,
                         layer.linear.bias)
            rows.append(F.layer_norm(h, (D, ), layer.layer_norm.weight,
                                     layer.layer_norm.bias).relu() + x[v])
        x = rows
    score = model.mlp(torch.cat([x[answer], start]))[0]
    return torch.autograd.grad(score, ones)[0]


def all_paths(edges: list[tuple[int, int, int]], grads: Tensor, node: int,
              answer: int) -> dict[tuple[int, ...], float]:
    """Every path of at most L edges, with its mean gradient."""
    found = {}
    partial: list[tuple[tuple[int, ...], int, float]] = [((), node, 0.0)]
    for i in range(L):
        partial = [((*path, e), t, total + float(grads[i, e]))
                   for path, end, total in partial
                   for e, (u, _, t) in enumerate(edges) if u == end]
        found |= {path: total / (i + 1) for path, end, total in partial
                  if end == answer}
    return found


@pytest.mark.parametrize('name, kwargs', [
    ('NBFNet', {}), ('NBFNet', {'reduce': 'mean'}),
    ('NBFNet', {'reduce': 'max'}), ('ULTRA', {})], ids=str)
@pytest.mark.parametrize('side', ['tail', 'head'])
def test_against_all_paths(name: str, kwargs: dict[str, Any],
                           side: str) -> None:
    kg = graph()
    torch.manual_seed(0)
    cls = {'NBFNet': NBFNet, 'ULTRA': ULTRA}[name]
    model = cls.from_data(kg, hidden_channels=D, num_layers=L,
                          **kwargs).double().eval()
    head, rel, tail = (int(kg.edge_index[0, 0]), int(kg.edge_type[0]),
                       int(kg.edge_index[1, 0]))
    node, answer = (head, tail) if side == 'tail' else (tail, head)
    # The triple that is explained is no edge.
    edges = []
    for h, t, r in zip(*kg.edge_index.tolist(), kg.edge_type.tolist()):
        if (h, r, t) != (head, rel, tail):
            edges += [(t, r, h), (h, r + 2, t)]
    wanted = all_paths(edges, gradients(
        model, edges, node, rel + (2 if side == 'head' else 0), answer),
        node, answer)
    found = best_paths(model, node, rel, answer, side, k=10_000,
                       num_beams=10_000)
    assert len(found) == len(wanted) > 3
    expected = sorted(wanted.values(), reverse=True)
    assert [path.score for path in found] == pytest.approx(expected)
    # A path and its score belong together.
    for path in found:
        steps = [(u, r + (2 if forward else 0), v) for u, r, v, forward in
                 zip(path.nodes, path.relations, path.nodes[1:],
                     path.forward)]
        assert (path.nodes[0], path.nodes[-1]) == (node, answer)
        scores = [score for key, score in wanted.items()
                  if [edges[e] for e in key] == steps]
        assert any(path.score == pytest.approx(score) for score in scores)
    few = best_paths(model, node, rel, answer, side, k=2, num_beams=10_000)
    assert few == found[:2]


def test_text() -> None:
    path = Path(1.0, [0, 2, 1], [1, 0], [True, False])
    assert path.text() == '0 -1-> 2 <-0- 1'
    assert path.text(['Alice', 'Bob', 'X'], ['ownerOf', 'worksFor']) == (
        'Alice -worksFor-> X <-ownerOf- Bob')


def test_directions_are_those_of_the_triples() -> None:
    """a -0-> b <-1- c: from a to c, forward and then backward."""
    kg = KnowledgeGraph(torch.tensor([[0, 2], [1, 1]]), torch.tensor([0, 1]),
                        num_nodes=3, num_relations=3)
    model = NBFNet.from_data(kg, hidden_channels=4, num_layers=2).eval()
    path, = best_paths(model, 0, 2, 2)
    assert path.text(['a', 'b', 'c']) == 'a -0-> b <-1- c'
    path, = best_paths(model, 2, 2, 0, side='head')
    assert path.text(['a', 'b', 'c']) == 'c -1-> b <-0- a'


def test_no_path() -> None:
    kg = KnowledgeGraph(torch.tensor([[0], [1]]), torch.tensor([0]),
                        num_nodes=3)
    model = NBFNet.from_data(kg, hidden_channels=4, num_layers=2).eval()
    assert best_paths(model, 0, 0, 2) == []
    assert best_paths(model, 0, 0, 1) == []  # Only the triple itself.


def test_leaves_no_gradient_and_takes_labels() -> None:
    kg = Countries()[0]
    torch.manual_seed(0)
    model = NBFNet.from_data(kg, hidden_channels=4, num_layers=3).eval()
    node = kg.node_names.index('Austria')
    answer = kg.node_names.index('Germany')
    rel = kg.relation_names.index('neighbour')
    found = best_paths(model, node, rel, answer, k=3)
    assert len(found) == 3
    assert all(p.grad is None for p in model.parameters())
    for path in found:
        text = path.text(kg.node_names, kg.relation_names)
        assert text.startswith('Austria ') and text.endswith(' Germany')


@pytest.mark.parametrize('kwargs', [{'k': 0}, {'num_beams': 0},
                                    {'side': 'Head'}])
def test_bad_arguments(kwargs: dict[str, Any]) -> None:
    kg = graph()
    model = NBFNet.from_data(kg, hidden_channels=4, num_layers=2)
    with pytest.raises(ModelError, match=next(iter(kwargs))):
        best_paths(model, 0, 0, 1, **kwargs)
    for triple in ((-1, 0, 1), (0, kg.num_relations, 1),
                   (0, 0, kg.num_nodes)):
        with pytest.raises(IndexError, match=r'lie in \[0, .*got '):
            best_paths(model, *triple)


def test_explain_shows_the_paths() -> None:
    """With labels, from the head to the tail, on the graph that is given."""
    kg = KnowledgeGraph(torch.tensor([[0, 1, 0, 2], [1, 3, 3, 3]]),
                        torch.tensor([0, 1, 2, 0]), num_nodes=5,
                        num_relations=3, node_names=list('abcde'),
                        relation_names=['r', 's', 't'])
    model = NBFNet.from_data(kg, hidden_channels=4, num_layers=2).eval()
    found = explain(model, kg, 'a', 't', 'd')
    assert found.paths == ['a -r-> b -s-> d']
    assert str(found).endswith('a -r-> b -s-> d')
    assert found.to_dict()['paths'] == found.paths
    assert 'No path' in str(explain(model, kg, 'a', 's', 'e'))
