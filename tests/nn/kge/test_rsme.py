"""RSME against complex numbers and cosines in loops."""

import math

import pytest
import torch
from torch import Tensor

from pyg_mmkgc.datasets import FakeMMKG
from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn import RSME, OneVsAllLoss
from pyg_mmkgc.nn.encoded import Encoded
from pyg_mmkgc.nn.kge.rsme import mean_rank_percentage
from pyg_mmkgc.training import Trainer

from .against_formula import check_formula, triples

N, R, D = 7, 3, 4
WIDTH = {'visual': 5, 'text': 3}


def make(names: str = 'visual', **kwargs: object) -> RSME:
    x = {name: torch.randn(N, WIDTH[name]) for name in names.split()}
    mask = {name: torch.arange(N) != 2 for name in x}
    model = RSME(N, R, D, x, mask, **kwargs).double()
    with torch.no_grad():
        for p in (model.node_emb.weight, model.rel_emb.weight):
            p.normal_()
    return model


def number(row: Tensor, i: int) -> Tensor:
    return torch.complex(row[i], row[D + i])


def bilinear(h: Tensor, r: Tensor, t: Tensor) -> Tensor:
    return sum(number(h, i) * number(r, i) * number(t, i).conj()
               for i in range(D)).real


def image(model: RSME, name: str, n: int) -> Tensor:
    encoder = model.encoders[name]
    x = encoder.features(torch.as_tensor(n))
    return torch.stack([sum(w * f for w, f in zip(encoder.lin.weight[c], x))
                        for c in range(2 * D)])


def cosine(x: Tensor, y: Tensor) -> Tensor:
    dot = sum(a * b for a, b in zip(x, y))
    size = (sum(a * a for a in x) * sum(b * b for b in y)) ** 0.5
    return dot / size if size > 0 else dot


def features(model: RSME, h: int, t: int) -> Tensor:
    both = torch.tensor([h, t])
    return sum(cosine(*encoder.features(both)) for encoder in
               model.encoders.values()) / len(model.modalities)


def joint(model: RSME, n: int, a: float) -> Tensor:
    images = sum(image(model, name, n) for name in model.modalities)
    return (1 - a) * model.node_emb.weight[n] + (
        a * images / len(model.modalities))


@pytest.mark.parametrize('names', ['visual', 'visual text'])
@pytest.mark.parametrize('training', [True, False])
def test_constant_gate(names: str, training: bool) -> None:
    """The cosine takes part in evaluation only."""
    model = make(names, alpha=0.3, beta=0.8).train(training)

    def score(h: int, r: int, t: int) -> Tensor:
        out = bilinear(joint(model, h, 0.3), model.rel_emb.weight[r],
                       joint(model, t, 0.3))
        return out if training else 0.8 * out + 0.2 * features(model, h, t)

    check_formula(model, score)


@pytest.mark.parametrize('training', [True, False])
def test_gates_of_relations(training: bool) -> None:
    model = make('visual text', alpha=None, beta=0.8, forget=0.45)
    mrp = [0.4, 0.5, 0.2]
    model.mrp.copy_(torch.tensor(mrp, dtype=torch.double))
    model.train(training)

    def score(h: int, r: int, t: int) -> Tensor:
        a = 1 / (1 + math.exp(mrp[r]))
        out = bilinear(joint(model, h, a), model.rel_emb.weight[r],
                       joint(model, t, a))
        g = mrp[r] < 0.45
        return out if training else 0.8 * out + 0.2 * g * features(model, h,
                                                                   t)

    check_formula(model, score)


def test_nothing_is_forgotten_at_one() -> None:
    """The threshold's default keeps also relations of the largest MRP."""
    model = make('visual').eval()
    assert model.forget == 1.0
    model.mrp.fill_(1.0)
    check_formula(model, lambda h, r, t: 0.95 * bilinear(
        joint(model, h, 0.7), model.rel_emb.weight[r],
        joint(model, t, 0.7)) + 0.05 * features(model, h, t))


@pytest.mark.parametrize('training', [True, False])
def test_port(training: bool) -> None:
    """Structure and projections have relations of their own; the cosine of
    the projections takes part in training.
    """
    model = make('visual text', form='port').train(training)
    names = ['structure', 'visual', 'text']
    assert model.rel_emb.weight.shape == (R, 3 * 2 * D)

    def score(h: int, r: int, t: int) -> Tensor:
        total = angle = 0
        for m, name in enumerate(names):
            x, y = (model.node_emb.weight[n] if m == 0 else
                    image(model, name, n) for n in (h, t))
            rel = model.rel_emb.weight[r, 2 * D * m:2 * D * (m + 1)]
            total += bilinear(x, rel, y)
            if m > 0:
                angle += cosine(x, y) / 2
        return 0.95 * total + 0.05 * angle

    check_formula(model, score)


def test_reciprocal_relations_share_the_gates() -> None:
    model = make(alpha=None, forget=0.45, reciprocal=True).eval()
    model.mrp.copy_(torch.tensor([0.4, 0.5, 0.2]))
    _, rel, tail = triples(model, 5)
    out = model.score_heads(rel, tail)
    for q in range(5):
        wanted = model(tail[q].expand(N), rel[q].expand(N) + R,
                       torch.arange(N))
        torch.testing.assert_close(out[q], wanted)


@pytest.mark.parametrize('alpha', [0.3, None])
def test_n3_is_that_of_the_fused_embeddings(alpha: float | None) -> None:
    model = make('visual text', alpha=alpha, n3=0.5)
    model.mrp.fill_(0.4)
    head, rel, tail = triples(model, 4)
    nodes = torch.arange(N)
    views = model.embed(nodes)
    out = model.regularization(
        Encoded(nodes, views, model.fuse(views), head, tail), rel)
    a, total = alpha or 1 / (1 + math.exp(0.4)), 0
    for h, r, t in zip(head, rel, tail):
        for row in (joint(model, h, a), model.rel_emb.weight[r],
                    joint(model, t, a)):
            total += sum(number(row, i).abs() ** 3 for i in range(D))
    torch.testing.assert_close(out, 0.5 * total / 4)


def test_n3_of_the_port() -> None:
    model = make('visual', form='port', n3=0.5)
    head, rel, tail = triples(model, 4)
    nodes = torch.arange(N)
    views = model.embed(nodes)
    out = model.regularization(
        Encoded(nodes, views, model.fuse(views), head, tail), rel)
    total = 0
    for h, r, t in zip(head, rel, tail):
        for row in (model.node_emb.weight[h], image(model, 'visual', h),
                    *model.rel_emb.weight[r].chunk(2),
                    model.node_emb.weight[t], image(model, 'visual', t)):
            total += sum(number(row, i).abs() ** 3 for i in range(D))
    torch.testing.assert_close(out, 0.5 * total / 4)


def test_the_trainer_prepares_the_gates() -> None:
    kg = FakeMMKG(num_nodes=40, num_edges=160, coverage=1.0)[0]
    model = RSME.from_data(kg, D, alpha=None)
    assert not model.mrp.any()
    Trainer(model, kg, loss=OneVsAllLoss(), epochs=1, progress=False).fit()
    train = kg.split('train')
    x = torch.cat([torch.nn.functional.normalize(f, dim=-1)
                   for f in kg.features().values()], dim=-1)
    wanted = mean_rank_percentage(x, train.edge_index, train.edge_type,
                                  kg.num_relations)
    torch.testing.assert_close(model.mrp, wanted)
    assert model.mrp.unique().numel() > 1


def test_missing_features_are_zero() -> None:
    """A node without an image has no cosine, and no projection."""
    model = make('visual').eval()
    assert not model.embed(torch.tensor([2]))['visual'].any()
    assert not model.embed(torch.tensor([2]))['cosine'].any()


@pytest.mark.parametrize('kwargs', [
    {'form': 'other'}, {'alpha': 1.5}, {'beta': -0.1}, {'forget': 2.0}])
def test_bad_input(kwargs: dict) -> None:
    with pytest.raises(
            ModelError, match=rf"^Expected .*'{next(iter(kwargs))}'.*\(got "):
        make(**kwargs)


def test_needs_one_feature_row_per_node() -> None:
    with pytest.raises(
            ModelError, match=r"'modalities' of RSME.*\(got None\)"):
        RSME(N, R, D)
    with pytest.raises(
            ModelError, match=r"'visual'.*\[7, F\].*RSME \(got \[7, 2"):
        RSME(N, R, D, {'visual': torch.randn(N, 2, 3)})
    with pytest.raises(
            ModelError, match=r"'masks'.*\['visual'\] \(got \['text'"):
        RSME(N, R, D, {'visual': torch.randn(N, 3)},
             {'text': torch.arange(N) > 1})
