"""MoSE against complex numbers in loops, and its separate experts."""

import math

import pytest
import torch
from torch import Tensor

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn import MoSE, OneVsAllLoss
from pyg_mmkgc.nn.encoded import Encoded
from pyg_mmkgc.training import Batch
from pyg_mmkgc.training.batch import complete

from .against_formula import check_formula, triples

N, R, D = 7, 3, 4
NAMES = ('structure', 'visual', 'text')


def make(**kwargs: object) -> MoSE:
    model = MoSE(N, R, D, {'visual': torch.randn(N, 5),
                           'text': torch.randn(N, 3)},
                 {'visual': torch.arange(N) != 2},
                 **{'scale': 0.6, **kwargs}).double()
    with torch.no_grad():
        for p in (model.node_emb.weight, model.rel_emb.weight):
            p.normal_()
    return model


def number(row: Tensor, i: int) -> Tensor:
    return torch.complex(row[i], row[D + i])


def view(model: MoSE, m: int, n: int) -> Tensor:
    if m == 0:
        return model.node_emb.weight[n]
    encoder = model.encoders[NAMES[m]]
    x = encoder.features(torch.tensor(n))
    return torch.stack([sum(w * f for w, f in zip(
        encoder.lin.weight[c], x)) for c in range(2 * D)]) / 0.6


def expert(model: MoSE, m: int, h: int, r: int, t: int) -> Tensor:
    x, y = view(model, m, h), view(model, m, t)
    rel = model.rel_emb.weight[r, 2 * D * m:2 * D * (m + 1)]
    return sum(number(x, i) * number(rel, i) * number(y, i).conj()
               for i in range(D)).real


def test_formula() -> None:
    model = make()
    # Weights of one third are only exact in single precision.
    check_formula(model, lambda h, r, t: sum(
        expert(model, m, h, r, t) for m in range(3)) / 3, rtol=1e-6)


def test_weights_of_relations() -> None:
    model = make(ensemble='boosted')
    weight = torch.rand(R, 3, dtype=torch.double)
    model.combine.weight.copy_(weight)
    check_formula(model, lambda h, r, t: sum(
        weight[r, m] * expert(model, m, h, r, t) for m in range(3)))


def test_reciprocal_relations_have_the_weights_of_the_relation() -> None:
    model = make(ensemble='boosted', reciprocal=True)
    weight = torch.rand(R, 3, dtype=torch.double)
    model.combine.weight.copy_(weight)
    _, rel, tail = triples(model, 4)
    out = model.score_heads(rel, tail)
    for q, (r, t) in enumerate(zip(rel.tolist(), tail.tolist())):
        for n in range(N):
            wanted = sum(weight[r, m] * expert(model, m, t, r + R, n)
                         for m in range(3))
            torch.testing.assert_close(out[q, n], wanted)


def test_loss_is_the_sum_of_those_of_the_experts() -> None:
    """Cross-entropy of each modality by itself, whatever the weights."""
    model = make(ensemble='boosted', reciprocal=True)
    model.combine.weight.copy_(torch.rand(R, 3))
    head, rel, tail = triples(model, 4)
    loss = complete(model, OneVsAllLoss(), Batch(
        head, rel, tail, torch.Generator())).loss
    total = 0
    for h, r, t in zip(head.tolist(), rel.tolist(), tail.tolist()):
        for m in range(3):
            for query, answer in (((h, r), t), ((t, r + R), h)):
                scores = [expert(model, m, *query, n) for n in range(N)]
                total += (sum(s.exp() for s in scores).log() -
                          scores[answer]) / 2
    params = [p for p in model.parameters() if p.requires_grad]
    wanted = total / 4
    for x, y in zip([loss, *torch.autograd.grad(loss, params)],
                    [wanted, *torch.autograd.grad(wanted, params)]):
        torch.testing.assert_close(x, y)


def test_n3_is_added_up() -> None:
    model = make(n3=0.5)
    head, rel, tail = triples(model, 4)
    nodes = torch.arange(N)
    views = model.embed(nodes)
    out = model.regularization(
        Encoded(nodes, views, model.fuse(views), head, tail), rel)
    total = 0
    for h, r, t in zip(head.tolist(), rel.tolist(), tail.tolist()):
        for m in range(3):
            for row in (view(model, m, h), view(model, m, t),
                        model.rel_emb.weight[r].chunk(3)[m]):
                total += sum(number(row, i).abs() ** 3 for i in range(D))
    torch.testing.assert_close(out, 0.5 * total / 4)


def test_learned_ensemble_is_no_part_of_training() -> None:
    model = make(ensemble='learned')
    model.loss(*triples(model, 4)).backward()
    assert all(p.grad is None for p in model.combine.parameters())
    assert math.isfinite(model.node_emb.weight.grad.sum())


def test_bad_input() -> None:
    with pytest.raises(
            ModelError, match=r"'ensemble' to be.*\(got 'median'\)"):
        make(ensemble='median')
    with pytest.raises(
            ModelError, match=r"'scale' to be positive \(got 0.0\)"):
        make(scale=0.0)
    with pytest.raises(
            ModelError, match=r"'modalities' of MoSE.*\(got None\)"):
        MoSE(N, R, D)
