"""NBFNet and ULTRA against the equations of their papers, written out node by
node, and what they promise as models of any graph.
"""

import threading
from typing import Any, Optional

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pyg_mmkgc import KnowledgeGraph, Trainer, evaluate, predict
from pyg_mmkgc.datasets import FakeMMKG
from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.io.pretrained import Pretrained
from pyg_mmkgc.kernels.host import to_device
from pyg_mmkgc.nn import Ensemble, RotatE
from pyg_mmkgc.nn.path import ULTRA, NBFNet, PathModel
from pyg_mmkgc.nn.path.ultra import relation_graph
from pyg_mmkgc.testing import count_waits, pretend_accelerator

# Nodes that no message reaches tie.
pytestmark = pytest.mark.filterwarnings(
    'ignore::pyg_mmkgc.evaluation.result.TieWarning')
D = 4
# A query reaches most nodes of the first graph, and few of the second.
SIZES = [{'num_nodes': 12, 'num_edges': 30},
         {'num_nodes': 60, 'num_edges': 50}]


def graph(seed: int = 0, **kwargs: Any) -> KnowledgeGraph:
    torch.manual_seed(seed)
    options: dict[str, Any] = dict(num_nodes=12, num_relations=3,
                                   num_edges=30, modalities={},
                                   val_ratio=0.2, test_ratio=0.2)
    return FakeMMKG(**{**options, **kwargs})[0]


def build(name: str, kg: KnowledgeGraph, **kwargs: Any) -> PathModel:
    torch.manual_seed(1)
    cls = {'NBFNet': NBFNet, 'ULTRA': ULTRA}[name]
    return cls.from_data(kg, **{'hidden_channels': D, 'num_layers': 3,
                                **kwargs})


def combine(w: Tensor, x: Tensor, message: str) -> Tensor:
    if message == 'product':
        return w * x
    if message == 'sum':
        return w + x
    half = x.numel() // 2
    z = torch.complex(w[:half], w[half:]) * torch.complex(x[:half], x[half:])
    return torch.cat([z.real, z.imag])


def passes(layers: Any, weights: list[Tensor], edges: list[tuple[int, ...]],
           num_nodes: int, node: int, start: Tensor, message: str = 'product',
           reduce: str = 'sum') -> list[Tensor]:
    """Eq. (4) of NBFNet, node by node; edges are (source, type, target)."""
    zero = torch.zeros_like(start)
    x = [start if v == node else zero for v in range(num_nodes)]
    first = list(x)
    for layer, weight in zip(layers, weights):
        rows = []
        for v in range(num_nodes):
            got = [combine(weight[r], x[u], message) for u, r, t in edges
                   if t == v] + [first[v]]
            stack = torch.stack(got)
            m = (stack.max(dim=0).values if reduce == 'max' else
                 getattr(stack, reduce)(dim=0))
            h = F.linear(torch.cat([x[v], m]), layer.linear.weight,
                         layer.linear.bias)
            rows.append(F.layer_norm(h, (D, ), layer.layer_norm.weight,
                                     layer.layer_norm.bias).relu() + x[v])
        x = rows
    return x


def edges_of(kg: KnowledgeGraph) -> list[tuple[int, ...]]:
    """The head hears of the tail along r, and the tail of it along r + R."""
    train = kg.split('train')
    out = []
    for h, t, r in zip(*train.edge_index.tolist(), train.edge_type.tolist()):
        out += [(t, r, h), (h, r + kg.num_relations, t)]
    return out


def score(mlp: Any, rows: list[Tensor], query: Tensor) -> Tensor:
    return torch.stack([mlp(torch.cat([x, query]))[0] for x in rows])


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('dependent', [True, False])
@pytest.mark.parametrize('message', ['product', 'sum', 'rotation'])
@pytest.mark.parametrize('reduce', ['sum', 'mean', 'max'])
def test_nbfnet_equals_its_equations(message: str, reduce: str,
                                     dependent: bool,
                                     size: dict[str, int]) -> None:
    """Scores of tails and of heads, and the gradient of every weight."""
    kg = graph(**size)
    N = kg.num_nodes
    model = build('NBFNet', kg, message=message, reduce=reduce,
                  dependent=dependent).double()
    node, rel = torch.tensor([3, 0, 3, 11, 5]), torch.tensor([1, 0, 2, 1, 1])
    for side, shift in (('tail', 0), ('head', 3)):
        expected = []
        for n, r in zip(node.tolist(), (rel + shift).tolist()):
            e = model.query_emb.weight[r]
            weights = [(layer(e).view(6, D) if dependent else layer.weight)
                       for layer in model.relations]
            expected.append(score(model.mlp, passes(
                model.layers, weights, edges_of(kg), N, n, e, message,
                reduce), e))
        wanted = torch.stack(expected)
        grad = torch.randn_like(wanted)
        params = list(model.parameters())
        for enabled in (True, False):
            with torch.set_grad_enabled(enabled):
                out = model.score_all(node, rel, side)
            torch.testing.assert_close(out, wanted, rtol=1e-10, atol=1e-10)
            if enabled:
                for got, want in zip(
                        torch.autograd.grad(out, params, grad,
                                            allow_unused=True),
                        torch.autograd.grad(wanted, params, grad,
                                            allow_unused=True)):
                    torch.testing.assert_close(
                        torch.zeros(1).double() if got is None else got,
                        torch.zeros(1).double() if want is None else want,
                        rtol=1e-9, atol=1e-9)


def related(kg: KnowledgeGraph) -> list[tuple[int, ...]]:
    """Edges (source, type, target) of the relation graph, by their names."""
    train = kg.split('train')
    R = kg.num_relations
    heads: dict[int, set[int]] = {r: set() for r in range(2 * R)}
    tails: dict[int, set[int]] = {r: set() for r in range(2 * R)}
    for h, t, r in zip(*train.edge_index.tolist(), train.edge_type.tolist()):
        heads[r].add(h), tails[r].add(t)
        heads[r + R].add(t), tails[r + R].add(h)
    out = []
    for a in range(2 * R):  # The target.
        for b in range(2 * R):
            for kind, shared in enumerate((
                    heads[a] & heads[b], tails[a] & tails[b],
                    heads[a] & tails[b], tails[a] & heads[b])):
                if shared:
                    out.append((b, kind, a))
    return out


def test_relation_graph() -> None:
    kg = graph()
    model = build('ULTRA', kg)
    found = relation_graph(model.graph)
    triples = list(zip(found.source.tolist(), found.edge_type.tolist(),
                       found.target.tolist()))
    assert sorted(triples) == sorted(related(kg))
    assert len(set(triples)) == len(triples)


def test_relation_graph_by_hand() -> None:
    """The chain a -0-> b -1-> c: the tail of 0 is the head of 1."""
    kg = KnowledgeGraph(torch.tensor([[0, 1], [1, 2]]), torch.tensor([0, 1]),
                        num_nodes=3)
    found = build('ULTRA', kg).relation_graph
    triples = set(zip(found.source.tolist(), found.edge_type.tolist(),
                      found.target.tolist()))
    # Of 0 and 1 alone: each shares its ends with itself.
    assert {t for t in triples if t[0] < 2 and t[2] < 2} == {
        (0, 0, 0), (0, 1, 0), (1, 0, 1), (1, 1, 1), (0, 2, 1), (1, 3, 0)}


def test_relation_graph_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    from pyg_mmkgc.nn.path import ultra
    model = build('ULTRA', graph())
    whole = model.relation_graph
    monkeypatch.setattr(ultra, 'BLOCK', 30)
    parts = relation_graph(model.graph)
    for name in ('source', 'edge_type', 'target'):
        assert torch.equal(getattr(whole, name), getattr(parts, name))


@pytest.mark.parametrize('size', SIZES)
def test_ultra_equals_its_equations(size: dict[str, int]) -> None:
    kg = graph(**size)
    N = kg.num_nodes
    model = build('ULTRA', kg).double()
    node, rel = torch.tensor([3, 0, 3, 11, 5]), torch.tensor([1, 0, 2, 1, 1])
    for side, shift in (('tail', 0), ('head', 3)):
        expected = []
        for n, r in zip(node.tolist(), (rel + shift).tolist()):
            part = model.relation_model
            ones = torch.ones(D, dtype=torch.double)
            rows = torch.stack(passes(
                part.layers, [layer.relation.weight for layer in part.layers],
                related(kg), 6, r, ones))
            part = model.entity_model
            x = passes(part.layers, [layer.relation_projection(rows)
                                     for layer in part.layers],
                       edges_of(kg), N, n, rows[r])
            expected.append(score(part.mlp, x, rows[r]))
        wanted = torch.stack(expected)
        grad = torch.randn_like(wanted)
        params = list(model.parameters())
        for enabled in (True, False):
            with torch.set_grad_enabled(enabled):
                out = model.score_all(node, rel, side)
            torch.testing.assert_close(out, wanted, rtol=1e-10, atol=1e-10)
            if enabled:
                for got, want in zip(torch.autograd.grad(out, params, grad),
                                     torch.autograd.grad(wanted, params,
                                                         grad)):
                    torch.testing.assert_close(got, want, rtol=1e-9,
                                               atol=1e-9)


@pytest.mark.parametrize('name', ['NBFNet', 'ULTRA'])
def test_every_form_is_the_same_score(name: str) -> None:
    model = build(name, graph()).eval()
    with torch.no_grad():
        head, rel = torch.arange(12).view(3, 4), torch.tensor([[0], [1], [2]])
        tail = head.flip(0)
        out = model(head, rel, tail)
        assert out.shape == (3, 4)
        flat = head.reshape(-1), rel.expand(3, 4).reshape(-1)
        scores = model.score_tails(*flat)
        assert scores.shape == (12, 12)
        assert torch.equal(out.view(-1), scores[range(12), tail.reshape(-1)])
        assert torch.equal(model.score_all(flat[0], flat[1], 'head'),
                           model.score_heads(flat[1], flat[0]))
        # A query alone has the scores that it has among others, bit for bit.
        for i in range(12):
            assert torch.equal(scores[i:i + 1], model.score_tails(
                flat[0][i:i + 1], flat[1][i:i + 1]))
        assert model.score_tails(flat[0][:0], flat[1][:0]).shape == (0, 12)
    for side in ('head', 'tail'):
        for wrong in ((12, 0), (0, 3), (-1, 0), (0, -1)):
            with pytest.raises(IndexError, match=str(sum(wrong))):
                model.score_all(*(torch.tensor([i]) for i in wrong), side)


@pytest.mark.parametrize('size', [*SIZES, None])
@pytest.mark.parametrize('name', ['NBFNet', 'ULTRA'])
def test_scores_do_not_depend_on_the_batch(
        name: str, size: Optional[dict[str, int]]) -> None:
    """Bit for bit, as ranks among nearly equal scores require."""
    if size is None:  # Every other query reaches most nodes.
        kg = graph(num_nodes=30, num_edges=90)
        head, tail = kg.edge_index * 2
        island = torch.arange(1, 60, 4)
        kg = KnowledgeGraph(
            torch.stack([torch.cat([head, island]),
                         torch.cat([tail, island + 2])]),
            torch.cat([kg.edge_type, island % 3]), num_nodes=60,
            num_relations=3, x_text=torch.randn(60, 8))
    else:
        kg = graph(**size, modalities={'text': 8})
    model = build(name, kg, hidden_channels=16).eval()
    node = torch.arange(12).repeat(3)
    rel = torch.arange(3).repeat_interleave(12)
    with torch.no_grad():
        together = model.score_tails(node, rel)
        alone = torch.cat([model.score_tails(n, r) for n, r in zip(
            node.split(1), rel.split(1))])
    assert torch.equal(together, alone)


def in_full(model: PathModel, kg: KnowledgeGraph, node: int,
            rel: int) -> Tensor:
    """The scores of a query, from all edges at once."""
    start, weights = (x[0] if isinstance(x, Tensor) else [w[0] for w in x]
                      for x in model.condition(torch.tensor([rel])))
    source, kind, target = torch.tensor(edges_of(kg)).t()
    first = torch.zeros(kg.num_nodes, start.numel(), dtype=start.dtype)
    first = x = first.index_put((torch.tensor(node), ), start)
    for layer, weight in zip(model.layers, weights, strict=True):
        message = first.index_add(0, target, weight[kind] * x[source])
        x = layer.layer_norm(layer.linear(
            torch.cat([x, message], dim=1))).relu() + x
    return model.mlp(torch.cat([x, start.expand_as(x)], dim=1)).view(-1)


@pytest.mark.parametrize('name', ['NBFNet', 'ULTRA'])
def test_gradients_of_queries_that_share_messages(name: str) -> None:
    """On a graph of this size, queries are not stacked in a training."""
    kg = graph(num_nodes=2500, num_edges=2600)
    model = build(name, kg, hidden_channels=64).double()
    node, rel = torch.tensor([3, 40, 40, 11]), torch.tensor([1, 1, 2, 1])
    out = model.score_all(node, rel, 'tail')
    wanted = torch.stack([in_full(model, kg, n, r) for n, r in zip(
        node.tolist(), rel.tolist(), strict=True)])
    torch.testing.assert_close(out, wanted, rtol=1e-10, atol=1e-10)
    grad, params = torch.randn_like(out), list(model.parameters())
    for got, want in zip(
            torch.autograd.grad(out, params, grad, materialize_grads=True,
                                allow_unused=True),
            torch.autograd.grad(wanted, params, grad, materialize_grads=True,
                                allow_unused=True), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-8)


def test_a_training_step_does_not_wait_for_the_device() -> None:
    kg = graph(modalities={'text': 8, 'visual': 8})
    train, device = kg.split('train'), pretend_accelerator()
    triples = [to_device(x, device) for x in (
        train.edge_index[0], train.edge_type, train.edge_index[1])]
    for name in ('NBFNet', 'ULTRA'):
        model = build(name, kg).to(device)
        model.loss(*triples)  # Moves the graph.
        with count_waits() as waits:
            model.loss(*triples).backward()
        assert waits.total == 0, waits


@pytest.mark.parametrize('name', ['NBFNet', 'ULTRA'])
def test_renaming_nodes_changes_nothing(name: str) -> None:
    """No score hangs on an id: a model of one graph serves another."""
    kg = graph()
    model = build(name, kg).double().eval()
    perm = torch.randperm(12)
    other = kg.clone()
    other.edge_index = perm[kg.edge_index]
    node, rel = torch.tensor([2, 5]), torch.tensor([0, 2])
    with torch.no_grad():
        scores = model.score_all(node, rel, 'tail')
        again = model.attached(other).score_all(perm[node], rel, 'tail')
        torch.testing.assert_close(again[:, perm], scores)
        # The model itself is still on its own graph.
        assert torch.equal(model.score_all(node, rel, 'tail'), scores)


def test_renaming_relations_changes_nothing_for_ultra() -> None:
    kg = graph()
    model = build('ULTRA', kg).double().eval()
    perm = torch.tensor([2, 0, 1])
    other = kg.clone()
    other.edge_type = perm[kg.edge_type]
    node, rel = torch.tensor([2, 5]), torch.tensor([0, 2])
    with torch.no_grad():
        again = model.attached(other).score_all(node, perm[rel], 'head')
        torch.testing.assert_close(again, model.score_all(node, rel, 'head'))


def loss_by_hand(model: PathModel, kg: KnowledgeGraph, batch: Tensor,
                 one_hop: bool) -> Tensor:
    """Cross-entropy on a graph without the batch, known answers left out."""
    train = kg.split('train')
    triples = list(zip(train.edge_index[0].tolist(),
                       train.edge_type.tolist(),
                       train.edge_index[1].tolist()))
    mine = [triples[i] for i in batch.tolist()]
    pairs = {(h, t) for h, _, t in mine} | {(t, h) for h, _, t in mine}
    kept = [t for t in triples if (
        (t[0], t[2]) not in pairs if one_hop else t not in mine)]
    h, r, t = torch.tensor(kept).t()
    smaller = KnowledgeGraph(torch.stack([h, t]), r, num_nodes=kg.num_nodes,
                             num_relations=3)
    losses = []
    for side in ('tail', 'head'):
        for head, rel, tail in mine:
            given, target = (head, tail) if side == 'tail' else (tail, head)
            other = model.attached(smaller)
            if isinstance(other, ULTRA):  # Its relation graph is whole.
                other._relations_of = other.graph
                other._relation_graph = relation_graph(
                    model.attached(kg).graph)
            scores = other.score_all(torch.tensor([given]),
                                     torch.tensor([rel]), side)[0]
            known = {(b if side == 'tail' else a) for a, c, b in triples
                     if c == rel and (a if side == 'tail' else b) == given}
            others = [i for i in range(kg.num_nodes)
                      if i not in known - {target}]
            losses.append(-(scores[target]
                            - scores[others].logsumexp(dim=0)))
    return torch.stack(losses).mean()


@pytest.mark.parametrize('size', [12, 100])
@pytest.mark.parametrize('one_hop', [False, True])
@pytest.mark.parametrize('name', ['NBFNet', 'ULTRA'])
def test_loss_takes_the_edges_of_the_batch_out(name: str, one_hop: bool,
                                               size: int) -> None:
    kg = graph(num_nodes=size, num_edges=60)
    model = build(name, kg, remove_one_hop=one_hop).double()
    train = kg.split('train')
    batch = torch.tensor([0, 3, 7])
    out = model.loss(train.edge_index[0, batch], train.edge_type[batch],
                     train.edge_index[1, batch])
    wanted = loss_by_hand(model, kg, batch, one_hop)
    torch.testing.assert_close(out, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('num_negatives', [None, 2000])
def test_known_answers_are_no_negatives(
        num_negatives: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss pulls every node down but the target and what is known."""
    kg = graph(num_edges=60)
    model = build('NBFNet', kg, num_negatives=num_negatives)
    train = kg.split('train')
    head, rel = train.edge_index[0, :1], train.edge_type[:1]
    tail = train.edge_index[1, :1]
    scores = torch.randn(2, 12, requires_grad=True)
    monkeypatch.setattr(model, 'score_queries', lambda *args: scores + 0)
    model.loss(head, rel, tail).backward()
    same = train.edge_type == rel
    for row, given, target, end in ((0, head, tail, 0), (1, tail, head, 1)):
        known = train.edge_index[1 - end][
            same & (train.edge_index[end] == given)]
        sign = torch.ones(12)
        sign[known] = 0
        sign[target] = -1
        assert torch.equal(scores.grad[row].sign(), sign)


@pytest.mark.parametrize('kwargs', [{}, {'num_negatives': 8}])
@pytest.mark.parametrize('name', ['NBFNet', 'ULTRA'])
def test_trains_and_resumes_bit_for_bit(name: str, kwargs: dict[str, Any],
                                        tmp_path) -> None:
    kg = graph(num_edges=60)

    def train(epochs: int, folder: str, resume: bool = False) -> PathModel:
        model = build(name, kg, **kwargs)
        Trainer(model, kg, lr=1e-2, batch_size=8, epochs=epochs,
                valid_every=1, folder=tmp_path / folder,
                progress=False).fit(resume=resume)
        return model

    before = build(name, kg).state_dict()
    whole = train(3, 'whole').state_dict()
    train(1, 'parts')
    parts = train(3, 'parts', resume=True).state_dict()
    assert any(not torch.equal(before[key], x) for key, x in whole.items())
    for key, x in whole.items():
        assert torch.equal(x, parts[key]), key


@pytest.mark.parametrize('name', ['NBFNet', 'ULTRA'])
def test_every_weight_learns(name: str) -> None:
    kg = graph(num_edges=60)
    # Cross-entropy does not see a bias that all nodes share.
    model = build(name, kg, num_negatives=8)
    train = kg.split('train')
    few = slice(0, 5)  # Whose edges are out of the graph.
    model.loss(train.edge_index[0, few], train.edge_type[few],
               train.edge_index[1, few]).backward()
    for key, p in model.named_parameters():
        assert p.grad is not None and p.grad.any(), key


@pytest.mark.parametrize('kwargs', [
    {}, {'num_negatives': 8}, {'reduce': 'max', 'message': 'rotation'},
    {'num_active': 40}])
@pytest.mark.parametrize('name', ['NBFNet', 'ULTRA'])
def test_autocast_rounds_products_only(name: str,
                                       kwargs: dict[str, Any]) -> None:
    if name == 'ULTRA' and kwargs.keys() - {'num_negatives'}:
        pytest.skip('ULTRA has products and sums only')
    # Features enter a model without pruning. On the larger graph, queries
    # share messages.
    features = {} if 'num_active' in kwargs else {'text': 16}
    size = ({'num_nodes': 2500, 'num_edges': 2600} if not kwargs else
            {'num_nodes': 40, 'num_edges': 150})
    kg = graph(modalities=features, **size)
    model = build(name, kg, hidden_channels=64, **kwargs)
    train = kg.split('train')
    triples = (train.edge_index[0, :10], train.edge_type[:10],
               train.edge_index[1, :10])
    grads = []
    for enabled in (False, True):
        with torch.autocast('cpu', torch.bfloat16, enabled=enabled):
            torch.manual_seed(2)
            loss = model.loss(*triples)
            scores = model.score_all(triples[0], triples[1], 'tail')
        assert loss.dtype == scores.dtype == torch.float32
        grad = torch.autograd.grad(loss, list(model.parameters()),
                                   materialize_grads=True)
        grads.append((loss, scores, torch.cat([x.view(-1) for x in grad])))
    for full, half in zip(*grads, strict=True):
        assert not torch.equal(full, half)
        assert float((full - half).norm() / full.norm()) < 0.06


@pytest.mark.parametrize('name', ['NBFNet', 'ULTRA'])
def test_reset_parameters(name: str) -> None:
    model = build(name, graph(modalities={'text': 8}))
    with torch.no_grad():
        for p in model.parameters():
            p.fill_(0.12345)
    model.reset_parameters()
    for key, p in model.named_parameters():
        assert not (p == 0.12345).any(), key
    # The scale and the shift of features are close to one and zero.
    scale, shift = model.features.query['text'].bias.chunk(2)
    assert bool((scale == 1).all()) and bool((shift == 0).all())
    assert float(model.features.gate.weight.detach().abs().max()) < 0.1


@pytest.mark.parametrize('name', ['NBFNet', 'ULTRA'])
def test_saved_and_loaded(name: str, tmp_path) -> None:
    """The graph is not saved: a loaded model takes one that it is given."""
    kg = graph()
    kg.node_names = [f'n{i}' for i in range(12)]
    kg.relation_names = ['a', 'b', 'c']
    model = build(name, kg).eval()
    model.save_pretrained(tmp_path, kg)
    for cls in (type(model), PathModel, Pretrained):
        other = cls.from_pretrained(tmp_path)
        assert type(other) is type(model) and not other.training
        assert other.config() == model.config()
        with pytest.raises(ModelError, match='attach'):
            other.score_all(torch.tensor([0]), torch.tensor([0]), 'tail')
        assert torch.equal(evaluate(other, kg).ranks.realistic,
                           evaluate(model, kg).ranks.realistic)
        # Of more nodes, with other names, and for ULTRA other relations.
        new = graph(1, num_nodes=20)
        new.node_names = [f'm{i}' for i in range(20)]
        new.relation_names = (['x', 'y', 'z'] if name == 'ULTRA' else
                              ['a', 'b', 'c'])
        found = predict(other, new, head='m3', rel_type=1, k=20,
                        self_loops=True)
        assert sorted(found.labels[0]) == sorted(new.node_names)


def test_nbfnet_refuses_other_relations() -> None:
    model = build('NBFNet', graph())
    with pytest.raises(ModelError, match=r'at most 3 relations \(got 5\)'):
        evaluate(model, graph(num_relations=5, num_edges=60))
    kg = graph()
    kg.relation_names = ['a', 'b', 'c']
    model = build('NBFNet', kg)
    kg = graph()
    kg.relation_names = ['b', 'a', 'c']
    with pytest.raises(ModelError, match='renumber'):
        evaluate(model, kg)


@pytest.mark.parametrize('name, kwargs, match', [
    ('NBFNet', {'num_layers': 0}, 'num_layers'),
    ('NBFNet', {'message': 'dot'}, 'message'),
    ('NBFNet', {'reduce': 'min'}, 'reduce'),
    ('NBFNet', {'message': 'rotation', 'hidden_channels': 5},
     r"'hidden_channels' to be even for message='rotation' \(got 5\)"),
    ('NBFNet', {'num_negatives': 0}, 'num_negatives'),
    ('ULTRA', {'num_layers': 1.5}, 'num_layers'),
])
def test_bad_arguments(name: str, kwargs: dict[str, Any],
                       match: str) -> None:
    with pytest.raises(ModelError, match=match):
        build(name, graph(), **kwargs)


def test_a_side_that_is_none() -> None:
    with pytest.raises(ModelError, match="'side' .*got 'Head'"):
        build('NBFNet', graph()).score_all(torch.tensor([0]),
                                           torch.tensor([0]), 'Head')


def test_answers_need_the_graph() -> None:
    kg = graph()
    for model in (build('NBFNet', kg), Ensemble(
            [RotatE.from_data(kg, 4), build('NBFNet', kg)], 3)):
        with pytest.raises(ModelError, match=f"'kg'.*'{type(model).__name__}'"
                           r' needs \(got none\)'):
            predict(model, head=0, rel_type=0)
    found = predict(Ensemble([RotatE.from_data(kg, 4)], 3), head=0,
                    rel_type=0, k=2)
    assert found.answer.shape == (1, 2)


def test_threads_that_evaluate_on_another_graph() -> None:
    """A thread keeps the graph that it asked for when another one ends."""
    both, done = threading.Barrier(2, timeout=60), threading.Event()
    waited: set[str] = set()

    class Slow(NBFNet):
        def score_all(self, *args: Any) -> Tensor:
            name = threading.current_thread().name
            if name in ('first', 'last') and name not in waited:
                waited.add(name)
                both.wait()
                if name == 'last':
                    done.wait(60)
            return super().score_all(*args)

    other = graph(1, num_edges=40)
    model = Slow.from_data(graph(), D, num_layers=2)
    wanted, found = evaluate(model, other).ranks.realistic, {}

    def run() -> None:
        name = threading.current_thread().name
        found[name] = evaluate(model, other).ranks.realistic
        if name == 'first':
            done.set()

    threads = [threading.Thread(target=run, name=name)
               for name in ('first', 'last')]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert torch.equal(found['first'], wanted)
    assert torch.equal(found['last'], wanted)


def test_what_is_not_a_graph() -> None:
    with pytest.raises(ModelError, match='KnowledgeGraph.*got list'):
        NBFNet.from_data([1])
    with pytest.raises(ModelError, match='attach'):
        ULTRA().prepare(torch.tensor([[0], [1]]), torch.tensor([0]))


@pytest.mark.parametrize('fault', ['sampler', 'loss'])
def test_a_path_model_has_its_own_loss(fault: str) -> None:
    from pyg_mmkgc.nn import OneVsAllLoss
    from pyg_mmkgc.sampler import UniformSampler
    kg = graph()
    value = UniformSampler(4) if fault == 'sampler' else OneVsAllLoss()
    with pytest.raises(ModelError, match='num_negatives'):
        Trainer(build('NBFNet', kg), kg, **{fault: value})
