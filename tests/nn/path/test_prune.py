"""Pruned propagation against a formula that knows a set of nodes."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pyg_mmkgc import KnowledgeGraph
from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn.path import NBFNet, best_paths

D, N = 4, 12


def graph() -> KnowledgeGraph:
    torch.manual_seed(5)
    edge_index = torch.randint(N - 2, (2, 16))  # Two nodes without edges.
    return KnowledgeGraph(edge_index, torch.randint(2, (16, )), num_nodes=N,
                          num_relations=2)


def build(num_active: int, reduce: str = 'sum') -> NBFNet:
    torch.manual_seed(0)
    return NBFNet.from_data(graph(), hidden_channels=D, num_layers=3,
                            num_active=num_active, reduce=reduce).double()


def by_hand(model: NBFNet, node: int, rel: int,
            num_active: int) -> tuple[Tensor, list[int]]:
    """Scores of a query, and how many nodes have passed messages on."""
    kg = graph()
    edges = []
    for h, t, r in zip(*kg.edge_index.tolist(), kg.edge_type.tolist()):
        edges += [(t, r, h), (h, r + 2, t)]
    e, weights = model.condition(torch.tensor([rel]))
    e = e[0]
    x = {node: e}
    counts = []
    for layer, weight in zip(model.layers, weights):
        priority = {v: model.mlp(torch.cat([row, e])).sigmoid()
                    for v, row in x.items()}
        # Of equal ones, the lowest id.
        best = sorted(x, key=lambda v: (
            -round(float(priority[v].detach()), 9), v)
                      )[:num_active]
        counts.append(len(best))
        got: dict[int, list[Tensor]] = {v: [] for v in x}
        for u, r, v in edges:
            if u in best:
                got.setdefault(v, []).append(weight[0, r] * priority[u]
                                             * x[u])
        got[node].append(e)
        new = {}
        for v, rows in got.items():
            old = x.get(v, torch.zeros_like(e))
            stack = torch.stack(rows) if rows else torch.zeros_like(e)[None]
            m = (stack.max(dim=0).values if layer.reduce == 'max' else
                 getattr(stack, layer.reduce)(dim=0))
            h = F.linear(torch.cat([old, m]), layer.linear.weight,
                         layer.linear.bias)
            new[v] = F.layer_norm(h, (D, ), layer.layer_norm.weight,
                                  layer.layer_norm.bias).relu() + old
        x = new
    zero = torch.zeros_like(e)
    return torch.stack([model.mlp(torch.cat([x.get(v, zero), e]))[0]
                        for v in range(N)]), counts


@pytest.mark.parametrize('num_active', [1, 3, N])
@pytest.mark.parametrize('reduce', ['sum', 'mean', 'max'])
def test_equals_the_formula(reduce: str, num_active: int) -> None:
    model = build(num_active, reduce)
    node, rel = torch.tensor([3, 0, 11]), torch.tensor([1, 0, 1])
    for side, shift in (('tail', 0), ('head', 2)):
        found = [by_hand(model, n, r + shift, num_active)
                 for n, r in zip(node.tolist(), rel.tolist())]
        wanted = torch.stack([scores for scores, _ in found])
        assert max(max(counts) for _, counts in found) <= num_active
        out = model.score_all(node, rel, side)
        torch.testing.assert_close(out, wanted, rtol=1e-10, atol=1e-10)
        grad = torch.randn_like(out)
        params = list(model.parameters())
        for got, want in zip(
                torch.autograd.grad(out, params, grad, allow_unused=True),
                torch.autograd.grad(wanted, params, grad,
                                    allow_unused=True)):
            none = torch.zeros(1).double()
            torch.testing.assert_close(none if got is None else got,
                                       none if want is None else want,
                                       rtol=1e-9, atol=1e-9)
        with torch.no_grad():
            torch.testing.assert_close(model.score_all(node, rel, side),
                                       wanted, rtol=1e-10, atol=1e-10)


def test_nodes_out_of_reach_are_alike() -> None:
    """Three steps along a chain of six reach three nodes."""
    kg = KnowledgeGraph(torch.stack([torch.arange(5), torch.arange(1, 6)]),
                        torch.zeros(5).long(), num_nodes=6)
    model = NBFNet.from_data(kg, hidden_channels=D, num_layers=3,
                             num_active=6).eval()
    with torch.no_grad():
        scores = model.score_all(torch.tensor([0]), torch.tensor([0]),
                                 'tail')[0]
    assert scores[4] == scores[5]
    assert scores[:5].unique().numel() == 5


def test_it_is_saved(tmp_path) -> None:
    model = build(3).float()
    model.save_pretrained(tmp_path)
    assert NBFNet.from_pretrained(tmp_path).num_active == 3


def test_bad_arguments() -> None:
    with pytest.raises(ModelError, match='num_active'):
        build(0)
    with pytest.raises(ModelError, match='num_active=3'):
        best_paths(build(3), 0, 0, 1)
