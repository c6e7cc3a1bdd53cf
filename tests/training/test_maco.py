"""Tests of feature rows that are generated before training."""

import math

import pytest
import torch

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.datasets import FakeMMKG
from pyg_mmkgc.errors import DataError, ModelError
from pyg_mmkgc.nn import AdaMF
from pyg_mmkgc.training import MACO, fill_missing
from pyg_mmkgc.training import maco as module

SMALL = {'channels': 8, 'noise_channels': 4, 'hidden_channels': 16,
         'epochs': 3, 'batch_size': 20}


@pytest.fixture
def graph() -> KnowledgeGraph:
    kg = FakeMMKG(num_nodes=60, num_edges=200, seed=2)[0]
    kg.mask_text = torch.arange(60) % 3 > 0
    return kg


def test_only_missing_rows_are_new(graph) -> None:
    before, state = graph.x_text.clone(), torch.get_rng_state()
    mask = graph.mask_text.clone()
    out = fill_missing(graph, 'text', **SMALL)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(graph.x_text, before)  # The given graph is kept.
    assert torch.equal(graph.mask_text, mask)
    assert torch.equal(out.x_text[mask], before[mask])
    assert bool((out.x_text[~mask] != before[~mask]).all())
    assert out.x_text.dtype == before.dtype
    assert 'mask_text' not in out and bool(out.masks()['text'].all())
    out.validate()
    # Models use the rows unchanged under any policy.
    model = AdaMF.from_data(out, 4, missing='random')
    assert torch.equal(model.encoders['text'].x, out.x_text)


def test_seed_decides(graph) -> None:
    torch.manual_seed(5)
    first = fill_missing(graph, 'text', **SMALL).x_text
    torch.manual_seed(6)
    assert torch.equal(fill_missing(graph, 'text', **SMALL).x_text, first)
    assert not torch.equal(
        fill_missing(graph, 'text', seed=1, **SMALL).x_text, first)


def test_half_precision_is_kept(graph) -> None:
    graph.x_text = graph.x_text.half()
    out = fill_missing(graph, 'text', **SMALL)
    assert out.x_text.dtype == torch.half
    assert torch.equal(out.x_text[graph.mask_text],
                       graph.x_text[graph.mask_text])


def test_reads_training_triples_and_present_rows_only(graph) -> None:
    first = fill_missing(graph, 'text', **SMALL).x_text
    other = graph.clone()
    other.edge_index[:, ~other.train_mask] = 7
    other.x_text[~other.mask_text] = 1e6
    assert torch.equal(fill_missing(other, 'text', **SMALL).x_text, first)
    other.edge_index[:, other.train_mask] = 7
    assert not torch.equal(fill_missing(other, 'text', **SMALL).x_text, first)


def test_rows_follow_the_structure() -> None:
    """Each of two communities has its own feature."""
    torch.manual_seed(0)
    N = 60
    side = torch.arange(N) % 2
    pairs = torch.randint(N // 2, (2, 400)) * 2 + torch.arange(400) % 2
    kg = KnowledgeGraph(pairs, torch.zeros(400).long(), num_nodes=N,
                        num_relations=1,
                        x_text=(2 * side[:, None] - 1) * 3.0 + torch.randn(
                            N, 5) * 0.5 + 10, mask_text=torch.rand(N) < 0.6)
    out = fill_missing(kg, 'text', channels=16, noise_channels=4,
                       hidden_channels=32, epochs=40, lr=5e-3)
    rows = out.x_text[~kg.mask_text].mean(1) - 10
    right = (rows > 0) == (side[~kg.mask_text] == 1)
    assert float(right.float().mean()) > 0.9


def test_contrast_by_loops() -> None:
    model = MACO(9, 2, 5, channels=3, noise_channels=2, hidden_channels=4)
    x, s = torch.randn(6, 5), torch.randn(6, 3)
    y = (x @ model.lin.weight.detach().t()).tolist()

    def cosine(a: list[float], b: list[float]) -> float:
        dot = sum(p * q for p, q in zip(a, b))
        return dot / math.sqrt(sum(p * p for p in a) * sum(q * q for q in b))

    total = 0.0
    for i in range(6):
        top = [math.exp(cosine(y[i], s[j].tolist()) / 0.3) for j in range(6)]
        total -= math.log(top[i] / sum(top))
    assert model.contrast(x, s, 0.3).item() == pytest.approx(total / 6,
                                                             rel=1e-5)


def test_structure_by_loops() -> None:
    """Both directions of a relation have their own matrix."""
    model = MACO(5, 2, 3, channels=3, noise_channels=2, hidden_channels=4)
    edges = [(0, 0, 1), (1, 1, 2), (3, 0, 1), (2, 1, 4)]
    edge_index = torch.tensor([[h for h, _, _ in edges],
                               [t for _, _, t in edges]])
    edge_type = torch.tensor([r for _, r, _ in edges])
    x = model.node_emb.weight.detach()
    for k, conv in enumerate(model.convs):
        weight = torch.einsum('rb,bij->rij', conv.comp, conv.weight)
        out = x @ conv.root + conv.bias
        for node in range(5):
            for r in range(4):
                near = [h if r < 2 else t for h, s, t in edges
                        if s == r % 2 and node == (t if r < 2 else h)]
                if near:
                    out[node] = out[node] + x[near].mean(0) @ weight[r]
        x = out.relu() if k == 0 else out
    torch.testing.assert_close(model.structure(edge_index, edge_type), x)


def test_each_step_leaves_the_other_side(graph, monkeypatch) -> None:
    step, calls = module.minimize, []

    def watch(*args) -> None:  # noqa: ANN002
        model = args[-2]
        before = {name: p.detach().clone()
                  for name, p in model.named_parameters()}
        step(*args)
        moved = {name for name, p in model.named_parameters()
                 if not torch.equal(p, before[name])}
        mine = {name for name in before if name.startswith('generator.')}
        mine = mine if len(calls) % 2 else set(before) - mine
        assert moved == mine
        calls.append(1)

    monkeypatch.setattr(module, 'minimize', watch)
    fill_missing(graph, 'text', **SMALL)
    assert len(calls) == 2 * 3 * 2


def test_bad_input(graph) -> None:
    with pytest.raises(DataError, match="'modality' to be .*got 'audio'"):
        fill_missing(graph, 'audio')
    graph.mask_text[:] = True
    with pytest.raises(DataError, match="'text' to be missing.*got none of "
                       '60'):
        fill_missing(graph, 'text')
    del graph.mask_text
    with pytest.raises(DataError, match='got none of 60'):
        fill_missing(graph, 'text')
    graph.mask_text = torch.zeros(60, dtype=torch.bool)
    with pytest.raises(DataError, match='got all of 60'):
        fill_missing(graph, 'text')
    graph.x_text = torch.randn(60, 2, 4)
    with pytest.raises(DataError, match=r'one row.*\[60, 2, 4\]'):
        fill_missing(graph, 'text')
    for kwargs, match in (
            ({'epochs': 0}, "'epochs' to be an integer >= 1 .got 0"),
            ({'epochs': 1.5}, "'epochs' to be an integer >= 1 .got 1.5"),
            ({'channels': 'a'}, "'channels' to be an integer >= 1 .got 'a'"),
            ({'lr': 0.0}, "'lr' to be positive .got 0.0"),
            ({'contrast': None}, "'contrast' to be non-neg.* .got None")):
        with pytest.raises(ModelError, match=match):
            fill_missing(graph, 'text', **kwargs)
