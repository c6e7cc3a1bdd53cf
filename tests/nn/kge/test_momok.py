"""MoMoK against its equations in loops over numbers."""

import pytest
import torch
from torch import Tensor

from pyg_mmkgc.data.index import TripleIndex
from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn import KvsAllLoss, MoMoK
from pyg_mmkgc.training import Batch
from pyg_mmkgc.training.batch import complete

N, R, D, K = 6, 2, 3, 2
NAMES = ('structure', 'visual', 'text')


def make(**kwargs: object) -> MoMoK:
    model = MoMoK(N, R, D, {'visual': torch.randn(N, 5),
                            'text': torch.randn(N, 4)},
                  {'visual': torch.arange(N) != 2}, num_experts=K,
                  **{'dropout': 0.0, **kwargs}).double().eval()
    with torch.no_grad():  # Gates, biases and norms start at constants.
        for p in model.parameters():
            p.normal_()
    return model


def dot(*vectors: Tensor) -> Tensor:
    return sum(torch.stack(terms).prod() for terms in zip(*vectors))


def softmax(values: list[Tensor]) -> list[Tensor]:
    total = sum(x.exp() for x in values)
    return [x.exp() / total for x in values]


def norm(layer: torch.nn.LayerNorm, x: Tensor) -> Tensor:
    mean = sum(x) / len(x)
    deviation = (sum((y - mean) ** 2 for y in x) / len(x) + 1e-5) ** 0.5
    return (x - mean) / deviation * layer.weight + layer.bias


def view(model: MoMoK, name: str, n: int, rel: int | None) -> Tensor:
    """The mixture of a modality's experts, with or without a relation."""
    if name == 'structure':
        e = model.node_emb.weight[n]
    elif model.missing == 'drop' and not model.encoders[name].mask[n]:
        e = torch.zeros(D).double()
    else:
        lin = model.encoders[name].lin
        x = model.encoders[name].features(torch.tensor(n)).double()
        e = torch.stack([dot(row, x) for row in lin.weight]) + lin.bias
    mixture = model.mixtures[name]
    warm = 1.0 if rel is None else 1 / (
        1 + (-model.temperature.weight[rel, 0]).exp())
    gate = softmax([dot(mixture.gate.weight[i], e) / warm for i in range(K)])
    return sum(gate[i] * torch.stack([
        dot(row, e - mixture.bias[i]) for row in mixture.weight[i]])
        for i in range(K))


def joint(fusion: torch.nn.Module, views: list[Tensor]) -> Tensor:
    out = 0
    for k in range(2):
        u = [torch.stack([dot(row, x) for row in fusion.weight[m, k]]) +
             fusion.bias[m, k] for m, x in enumerate(views)]
        u = [x.clamp(min=0) for x in u]
        out = out + sum(a * x for a, x in zip(softmax([
            dot(fusion.attention, x) for x in u]), u))
    return out


def decisions(model: MoMoK, h: int, r: int, t: int) -> list[Tensor]:
    """The scores of all views."""
    heads = [view(model, name, h, r) for name in NAMES]
    tails = [view(model, name, t, None) for name in NAMES]
    rels = list(model.rel_emb.weight[r].view(3, D))
    heads.append(joint(model.joint, heads))
    tails.append(joint(model.joint, tails))
    rels.append(joint(model.joint_rel, rels))
    out = []
    for m, (x, rel, tail) in enumerate(zip(heads, rels, tails)):
        x = norm(model.before[m], x)
        query = torch.stack([sum(
            model.core[m, c, d, e] * rel[c] * x[d]
            for c in range(D) for d in range(D)) for e in range(D)])
        out.append(dot(norm(model.after[m], query), tail))
    return out


def logit(scores: list[Tensor]) -> Tensor:
    p = sum(1 / (1 + (-s).exp()) for s in scores) / len(scores)
    return (p / (1 - p)).log()


@pytest.mark.parametrize('kwargs', [{}, {'missing': 'drop'}], ids=str)
def test_formula(kwargs: dict[str, object]) -> None:
    """Scores of triples, of all tails and of all heads, and gradients."""
    model = make(**kwargs)
    head, rel, tail = (torch.tensor(x) for x in ([0, 2, 5], [1, 0, 1],
                                                 [3, 2, 1]))
    every = range(N)
    params = dict(model.named_parameters())
    for out, triples in (
            (model(head, rel, tail), [[(h, r, t)] for h, r, t in zip(
                head.tolist(), rel.tolist(), tail.tolist())]),
            (model.score_tails(head, rel), [[(h, r, n) for n in every] for
                                            h, r in zip(head.tolist(),
                                                        rel.tolist())]),
            # Heads are tails of the reciprocal relation.
            (model.score_heads(rel, tail), [[(t, r + R, n) for n in every]
                                            for r, t in zip(rel.tolist(),
                                                            tail.tolist())])):
        wanted = torch.stack([torch.stack([
            logit(decisions(model, *triple)) for triple in row])
            for row in triples]).view_as(out)
        torch.testing.assert_close(out, wanted)
        weight = torch.randn_like(out)
        grads = [torch.autograd.grad((weight * x).sum(), params.values(),
                                     materialize_grads=True)
                 for x in (out, wanted)]
        for name, a, b in zip(params, *grads):
            torch.testing.assert_close(a, b, msg=lambda text, name=name:
                                       f'{name}: {text}')


def test_loss_is_the_sum_over_views() -> None:
    """The cross-entropy of all nodes, for each view by itself."""
    model = make()
    edges, rel = torch.tensor([[0, 0, 4], [1, 3, 2]]), torch.tensor([0, 0, 1])
    loss = complete(model, KvsAllLoss(label_smoothing=0.1), Batch(
        edges[0], rel, edges[1], torch.Generator(),
        index=TripleIndex(edges, rel, N, R))).loss
    answers = {(0, 0): [1, 3], (4, 1): [2], (1, R): [0], (3, R): [0],
               (2, 1 + R): [4]}
    total = 0
    for h, r, t in zip(edges[0].tolist(), rel.tolist(), edges[1].tolist()):
        for query in ((h, r), (t, r + R)):
            for n in range(N):
                label = 0.9 * (n in answers[query]) + 0.1 / N
                for s in decisions(model, *query, n):
                    # The cross-entropy, without probabilities of 0 and 1.
                    total += (-s).exp().log1p() + (1 - label) * s
    # Labels are in single precision.
    torch.testing.assert_close(loss, total / (3 * 2 * N), rtol=1e-6,
                               atol=1e-6)


def test_a_cold_relation_takes_one_expert() -> None:
    model = make()
    with torch.no_grad():
        model.temperature.weight[0] = -30.0
    x = model.encode(torch.tensor([1]))
    outputs = model.expert_outputs(model.embed(torch.tensor([1])))
    views = model.heads(x, torch.tensor([0]))
    for m, name in enumerate(NAMES):
        gate = model.mixtures[name].gate(model.embed(torch.tensor([1]))[name])
        torch.testing.assert_close(views[0, m],
                                   outputs[name][0, int(gate.argmax())])


def test_noise_in_training_only() -> None:
    """Gates have the noise of the paper, here of a large and known scale."""
    model = make()
    with torch.no_grad():
        for name in NAMES:
            model.mixtures[name].noise.weight.zero_()
    mixture, x = model.mixtures['text'], torch.randn(D).double()
    clean = mixture(x)[1]
    assert torch.equal(clean, mixture(x)[1])
    noise = mixture.train()(x.expand(20_000, D))[1] - clean
    scale = torch.tensor(2.0).log() + 0.01  # Softplus of zero.
    assert noise.mean().abs() < 0.05
    torch.testing.assert_close(noise.std(), scale.double(), rtol=0.05, atol=0)


def test_weights_of_modalities() -> None:
    """Of the joint view of heads, which depends on the relation."""
    model = make()
    index, rel = torch.tensor([1, 4]), torch.tensor([0, 1])
    weights = model.modality_weights(index, rel)
    assert list(weights) == list(NAMES)
    torch.testing.assert_close(sum(weights.values()), torch.ones(2).double())
    for b, (n, r) in enumerate(zip(index.tolist(), rel.tolist())):
        views = [view(model, name, n, r) for name in NAMES]
        wanted = 0
        for k in range(2):
            u = [(torch.stack([dot(row, x)
                               for row in model.joint.weight[m, k]]) +
                  model.joint.bias[m, k]).clamp(min=0)
                 for m, x in enumerate(views)]
            wanted = wanted + torch.stack(softmax([
                dot(model.joint.attention, x) for x in u])) / 2
        torch.testing.assert_close(
            torch.stack([weights[name][b] for name in NAMES]), wanted)


@pytest.mark.parametrize('kwargs, match', [
    ({'dropout': 1.0}, r"'dropout' to be in \[0, 1\) \(got 1.0\)"),
    ({'num_experts': 0}, r'num_experts.*got 0'),
    ({'missing': 'some'}, r"'missing' to be.*got 'some'"),
])
def test_bad_input(kwargs: dict[str, object], match: str) -> None:
    with pytest.raises(ModelError, match=match):
        MoMoK(N, R, D, {'text': torch.randn(N, 4)}, **kwargs)
    with pytest.raises(ModelError, match=r"'modalities' of MoMoK.*got None"):
        MoMoK(N, R, D)
