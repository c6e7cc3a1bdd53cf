"""MyGO against its equations, with attention in loops."""

import math

import pytest
import torch
from torch import Tensor

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn import MyGO
from pyg_mmkgc.nn.encoded import Encoded

N, R, D, H = 5, 2, 4, 2


def make(**kwargs: object) -> MyGO:
    """Three tokens of text, not all of them there, and one image."""
    mask = torch.ones(N, 3, dtype=torch.bool)
    mask[1, 1:], mask[2] = False, False
    model = MyGO(N, R, D, {'text': torch.randn(N, 3, 6),
                           'visual': torch.randn(N, 5)},
                 {'text': mask, 'visual': torch.arange(N) != 4}, **{
                     'num_heads': H, 'num_layers': 2, 'dropout': 0.0,
                     'structure_dropout': 0.0, **kwargs}).double()
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(std=0.7)
    return model


def norm(layer: torch.nn.LayerNorm, x: Tensor) -> Tensor:
    mean = sum(x) / len(x)
    deviation = (sum((y - mean) ** 2 for y in x) / len(x) + 1e-5) ** 0.5
    return (x - mean) / deviation * layer.weight + layer.bias


def transform(layer: torch.nn.Module, rows: list[Tensor]) -> list[Tensor]:
    """Multi-head attention, then two layers, each with a residual and LN."""
    attention, width = layer.self_attn, D // H
    parts = zip(attention.in_proj_weight.chunk(3),
                attention.in_proj_bias.chunk(3))
    query, key, value = ([w @ x + b for x in rows] for w, b in parts)
    out = []
    for i in range(len(rows)):
        heads = []
        for h in range(H):
            part = slice(h * width, (h + 1) * width)
            scores = [((query[i][part] * k[part]).sum() /
                       math.sqrt(width)).exp() for k in key]
            heads.append(sum(s * v[part] for s, v in zip(scores, value)) /
                         sum(scores))
        mixed = attention.out_proj.weight @ torch.cat(heads)
        x = norm(layer.norm1, rows[i] + mixed + attention.out_proj.bias)
        hidden = (layer.linear1.weight @ x + layer.linear1.bias).clamp(min=0)
        out.append(norm(layer.norm2, x + layer.linear2.weight @ hidden +
                        layer.linear2.bias))
    return out


def outputs(model: MyGO, n: int) -> tuple[list[Tensor], list[str]]:
    """The outputs at the tokens that are there, and what they are of."""
    rows = [model.first, norm(model.norms['structure'], model.node_emb.weight[
        n]) + model.kind['structure']]
    names = ['first', 'structure']
    for name, encoder in model.encoders.items():
        x, mask = encoder.x[n].double(), encoder.mask[n]
        for f, there in zip(x.view(-1, x.size(-1)), mask.view(-1)):
            if there:
                e = encoder.lin.weight @ f + encoder.lin.bias
                rows.append(norm(model.norms[name], e) + model.kind[name])
                names.append(name)
    for layer in model.entity_encoder.layers:
        rows = transform(layer, rows)
    return rows, names


def score(model: MyGO, h: int, r: int, t: int) -> Tensor:
    rows = [outputs(model, h)[0][0] + model.position[0],
            norm(model.rel_norm, model.rel_emb.weight[r]) + model.position[1],
            model.missing_token + model.position[2]]
    for layer in model.query_encoder.layers:
        rows = transform(layer, rows)
    x = norm(model.before, rows[2])
    product = torch.stack([sum(
        model.core[c, d, e] * rows[1][c] * x[d] for c in range(D)
        for d in range(D)) for e in range(D)])
    return norm(model.after, product) @ outputs(model, t)[0][0]


@pytest.mark.parametrize('training', [True, False])
def test_formula(training: bool) -> None:
    model = make().train(training)
    head, rel, tail = (torch.tensor(x) for x in ([0, 1, 2], [1, 0, 1],
                                                 [4, 2, 1]))
    params = {name: p for name, p in model.named_parameters()}
    rows = list(zip(head.tolist(), rel.tolist(), tail.tolist()))
    for out, triples in (
            (model(head, rel, tail), [[row] for row in rows]),
            (model.score_tails(head, rel), [[(h, r, n) for n in range(N)]
                                            for h, r, _ in rows]),
            # Heads are tails of the reciprocal relation.
            (model.score_heads(rel, tail), [[(t, r + R, n) for n in range(N)]
                                            for _, r, t in rows])):
        wanted = torch.stack([torch.stack([score(model, *x) for x in row])
                              for row in triples]).view_as(out)
        torch.testing.assert_close(out, wanted)
        weight = torch.randn_like(out)
        grads = [torch.autograd.grad((weight * x).sum(), params.values(),
                                     materialize_grads=True)
                 for x in (out, wanted)]
        for name, a, b in zip(params, *grads):
            torch.testing.assert_close(a, b, msg=lambda text, name=name:
                                       f'{name}: {text}')


def test_contrastive_loss() -> None:
    """Without dropout, the second pass repeats the first."""
    model = make(contrast=0.3, temperature=0.7)
    node = torch.tensor([0, 1, 2, 4])
    views = model.embed(node)
    encoded = Encoded(node, views, model.fuse(views), torch.tensor([0, 2]),
                      torch.tensor([3, 2]))
    used = [0, 2, 4]  # Of the rows 0, 2 and 3.
    total = 0
    for kind in ('first', 'all', 'text', 'visual'):
        x, target = [], []
        for n in used:
            rows, names = outputs(model, n)
            picked = [row for row, name in zip(rows, names)
                      if kind in ('all', name)]
            if picked:
                x.append(rows[0])
                target.append(sum(picked) / len(picked))
        assert len(x) == {'text': 2, 'visual': 2}.get(kind, 3)
        loss = 0
        for i in range(len(x)):
            cos = [(x[i] @ y) / (x[i] @ x[i]).sqrt() / (y @ y).sqrt() / 0.7
                   for y in target]
            loss = loss - cos[i] + sum(c.exp() for c in cos).log()
        total = total + loss / len(x)
    out = model.regularization(encoded, torch.tensor([0, 0]))
    torch.testing.assert_close(out, 0.3 * total / 4)
    assert make(contrast=0.0).regularization(encoded, torch.tensor(0)) is None


def test_dropout_differs_between_passes() -> None:
    model = make(dropout=0.5, structure_dropout=0.5)
    index = torch.arange(N)
    assert not torch.equal(model.encode(index), model.encode(index))
    model.eval()
    assert torch.equal(model.encode(index), model.encode(index))


def test_the_order_of_tokens_does_not_matter() -> None:
    model = make().eval()
    before = model.encode(torch.tensor([0]))
    model.encoders['text'].x[0] = model.encoders['text'].x[0].flip(0)
    torch.testing.assert_close(model.encode(torch.tensor([0])), before)
    model.encoders['text'].x[0, 0] += 1.0
    assert not torch.allclose(model.encode(torch.tensor([0])), before)


@pytest.mark.parametrize('kwargs, match', [
    ({'num_heads': 3}, r"divisible by 'num_heads' \(got 4 and 3\)"),
    ({'dropout': 1.0}, r"'dropout' to be in \[0, 1\) \(got 1.0\)"),
    ({'structure_dropout': -0.1}, r"'structure_dropout' to be.*got -0.1"),
    ({'contrast': -1.0}, r"'contrast' to be non-negative \(got -1.0\)"),
    ({'temperature': 0.0}, r"'temperature' to be positive \(got 0.0\)"),
    ({'num_layers': 0}, r'num_layers.*got 0'),
])
def test_bad_input(kwargs: dict[str, object], match: str) -> None:
    with pytest.raises(ModelError, match=match):
        MyGO(N, R, D, {'text': torch.randn(N, 4)}, **kwargs)
    with pytest.raises(ModelError, match=r"'modalities' of MyGO.*got None"):
        MyGO(N, R, D)
