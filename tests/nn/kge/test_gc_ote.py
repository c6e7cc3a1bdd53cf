"""GC-OTE: contexts as loops over edges."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch_geometric.testing import withoutExtensions

from pyg_mmkgc.datasets import FakeMMKG
from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn import GCOTE, OTE, MMKGEModel
from pyg_mmkgc.sampler import BernoulliSampler, MMRNSSampler
from pyg_mmkgc.training import Trainer

from .against_formula import check_formula
from .test_ote import D, N, R, distance, make, transform

# Node 5 has no edges; (0, 0, 1) is there twice.
EDGES = [(0, 0, 1), (0, 0, 1), (0, 0, 2), (3, 0, 1), (3, 1, 1), (1, 1, 0),
         (2, 1, 2), (4, 0, 1)]


def graph(edges: list[tuple[int, int, int]]) -> tuple[Tensor, Tensor]:
    head, rel, tail = torch.tensor(edges).t()
    return torch.stack([head, tail]), rel


def make_gc(**kwargs: Any) -> GCOTE:
    model = make(GCOTE, **kwargs)
    assert isinstance(model, GCOTE)
    torch.nn.init.normal_(model.dummy, std=0.3)
    model.prepare(*graph(EDGES))
    return model


def test_training_needs_the_graph() -> None:
    model = make(GCOTE)
    args = torch.tensor([[0], [0], [1]])
    with pytest.raises(ModelError, match="GCOTE.*got none.*'prepare"):
        model.loss(*args)
    model.prepare(*graph(EDGES))
    model.loss(*args)


def context(model: GCOTE, node: int, incoming: bool,
            edges: list[tuple[int, int, int]]) -> Tensor:
    """Attention over the messages of one node's edges."""
    x = model.node_emb.weight
    messages = [model.dummy[int(incoming)]]
    for h, r, t in edges:
        if (t if incoming else h) == node:
            moved = transform(model, x[h if incoming else t], r,
                              inverse=not incoming)
            # Blocks as rows [S, m]; channel j of block i is at j * S + i.
            messages.append(torch.stack([torch.stack(b) for b in moved]
                                        ).t().reshape(-1))
    top = [(sum(a * b for a, b in zip(x[node], m)) / math.sqrt(D)).exp()
           for m in messages]
    return sum(a / sum(top) * m for a, m in zip(top, messages))


def reference(model: GCOTE, h: int, r: int, t: int,
              edges: list[tuple[int, int, int]] = EDGES) -> Tensor:
    x = model.node_emb.weight
    forth = transform(model, x[h], r)
    back = transform(model, x[t], r, inverse=True)
    return 4.0 - (
        distance(model, forth, x[t]) + distance(model, back, x[h]) +
        distance(model, forth, context(model, t, True, edges)) +
        distance(model, back, context(model, h, False, edges))) / 4


@pytest.mark.scatter
@withoutExtensions
def test_formula(without_extensions: bool) -> None:
    model = make_gc()
    check_formula(model, lambda *triple: reference(model, *triple), num=3)


def test_edges_of_the_batch_are_left_out_in_training() -> None:
    model = make_gc(block_size=4)
    batch = torch.tensor([[0, 0, 1], [2, 1, 2], [5, 1, 5]]).t()
    rest = [e for e in EDGES if e not in [(0, 0, 1), (2, 1, 2)]]
    model.before_step(*batch)
    expected = [torch.stack([reference(model, h, r, t, edges)
                             for h, r, t in batch.t().tolist()])
                for edges in (rest, EDGES)]
    torch.testing.assert_close(model.train()(*batch), expected[0])
    torch.testing.assert_close(model.eval()(*batch), expected[1])
    # The next batch has edges of its own.
    model.train().before_step(*batch[:, 2:])
    torch.testing.assert_close(model(*batch), expected[1])


def test_loss_does_not_see_the_edges_of_its_batch() -> None:
    """It is the same with and without them in the graph."""
    losses = []
    for edges in (EDGES, EDGES[4:]):
        torch.manual_seed(1)
        model = make_gc()
        model.prepare(*graph(edges))
        batch = torch.tensor(EDGES[:4]).t()
        losses.append(model.loss(*batch))
    torch.testing.assert_close(losses[0], losses[1])


def test_a_message_is_made_once_for_all_edges(
        monkeypatch: pytest.MonkeyPatch) -> None:
    """The edges (0, 0, 1), (0, 0, 1) and (0, 0, 2) send one message."""
    pairs = []
    made = GCOTE.messages

    def messages(model: GCOTE, node: Tensor, rel_type: Tensor,
                 direction: int) -> Tensor:
        pairs.append((direction, sorted(zip(node.tolist(),
                                            rel_type.tolist()))))
        return made(model, node, rel_type, direction)

    monkeypatch.setattr(GCOTE, 'messages', messages)
    model = make_gc()
    model.embed(torch.tensor([1, 1, 2]))
    assert pairs == [(0, [(0, 1), (2, 1)]),
                     (1, [(0, 0), (2, 1), (3, 0), (3, 1), (4, 0)])]


def test_without_a_graph_every_context_is_the_dummy() -> None:
    model = make(GCOTE)
    views = model.embed(torch.tensor([[4, 0, 4]]))
    for name, row in (('outgoing', 0), ('incoming', 1)):
        torch.testing.assert_close(views[name],
                                   model.dummy[row].expand(1, 3, -1))


def test_it_starts_from_a_trained_ote() -> None:
    """The score equals OTE's if the contexts equal the entities."""
    ote, model = make(OTE), make(GCOTE)
    left = model.load_state_dict(ote.state_dict(), strict=False)
    assert sorted(left.missing_keys) == ['dummy', 'edge_index', 'edge_type']
    x = model.encode()
    entity = x[:, :D]
    rows = torch.cat([entity] * 3, dim=-1)
    rel = torch.arange(N) % R
    torch.testing.assert_close(model.score(rows, rel, rows.flip(0)),
                               ote.score(entity, rel, entity.flip(0)))


def test_the_graph_is_saved(tmp_path: Any) -> None:
    model = make_gc().eval()
    model.save_pretrained(tmp_path)
    other = MMKGEModel.from_pretrained(tmp_path)
    assert isinstance(other, GCOTE)
    assert torch.equal(other.edge_index, model.edge_index)
    head, rel = torch.tensor([0, 3, 5]), torch.tensor([0, 1, 1])
    assert torch.equal(other.score_tails(head, rel),
                       model.score_tails(head, rel))


def test_a_sampler_that_encodes_sees_the_whole_graph(tmp_path: Any) -> None:
    """The edges of the previous batch, which a resumed training does not
    know, are not left out.
    """
    data = FakeMMKG(num_nodes=30, num_edges=90)[0]

    def make_trainer(**kwargs: Any) -> Trainer:
        torch.manual_seed(0)
        model = GCOTE.from_data(data, D, margin=3.0)
        return Trainer(
            model, data, sampler=MMRNSSampler.from_data(
                data, model, num_negatives=2, num_candidates=9, lr=0.01),
            lr=0.05, batch_size=16, valid_every=None, progress=False,
            **kwargs)

    whole = make_trainer(epochs=2)
    whole.fit()
    make_trainer(epochs=1, folder=tmp_path).fit()
    resumed = make_trainer(epochs=2, folder=tmp_path)
    resumed.fit(resume=True)
    for x, y in ((whole.model, resumed.model),
                 (whole.sampler_module, resumed.sampler_module)):
        theirs = y.state_dict()
        for name, value in x.state_dict().items():
            assert torch.equal(value, theirs[name]), name


@pytest.mark.parametrize('sparse', [False, True])
def test_training_lowers_the_loss(sparse: bool) -> None:
    data = FakeMMKG(num_nodes=30, num_edges=90)[0]
    model = GCOTE.from_data(data, D, margin=3.0, sparse=sparse)
    history = Trainer(
        model, data, sampler=BernoulliSampler(4), lr=0.05, epochs=6,
        batch_size=32, valid_every=None, progress=False,
        # The dummies are dense.
        optimizer=None if not sparse else lambda params: torch.optim.SGD(
            params, lr=0.5)).fit()
    losses = [epoch['loss'] for epoch in history.epochs]
    assert losses[-1] < losses[0]
