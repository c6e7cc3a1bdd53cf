"""NativE against its equations, written with complex numbers."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn import MMKGEModel, NativE

N, R, D = 9, 3, 4


def make(masked: bool = False, **kwargs: Any) -> NativE:
    x = {'visual': torch.randn(N, 6), 'text': torch.randn(N, 3)}
    masks = {name: torch.arange(N) % (i + 2) != 0
             for i, name in enumerate(x)} if masked else None
    model = NativE(N, R, D, modalities=x, masks=masks, **kwargs).double()
    torch.nn.init.normal_(model.temperature.weight, std=2.0)
    return model


def views(model: NativE, n: int) -> list[Tensor | None]:
    """Two layers with a ReLU; none where a modality is left out."""
    out: list[Tensor | None] = []
    if model.structure:
        out.append(model.node_emb.weight[n])
    for name, encoder in model.encoders.items():
        if model.missing == 'drop' and not encoder.mask[n]:
            out.append(None)
            continue
        x = encoder.features(torch.tensor(n)).double()
        hidden = encoder.lin.weight @ x + encoder.lin.bias
        lin = model.lins[name]
        out.append(lin.weight @ hidden.clamp(min=0) + lin.bias)
    return out


def joint(model: NativE, n: int, r: int) -> Tensor:
    tau = 1 / (1 + (-model.temperature.weight[r, 0]).exp())
    top, total = 0, 0
    for m, e in enumerate(views(model, n)):
        if e is not None:
            w = model.fuser.weight[m if model.fusion == 'adaptive' else 0]
            one = (sum(a * b for a, b in zip(w, e.tanh())) / tau).exp()
            top, total = top + one * e, total + one
    return torch.complex(*(top / total).view(2, D))


def score(model: NativE, head: Tensor, rel: Tensor, tail: Tensor) -> Tensor:
    out = []
    for h, r, t in zip(head.tolist(), rel.tolist(), tail.tolist()):
        theta = model.rel_emb.weight[r] * math.pi * D / (model.margin + 2)
        turn = torch.polar(torch.ones_like(theta), theta)
        diff = joint(model, h, r) * turn - joint(model, t, r)
        out.append(model.margin - diff.abs().sum())
    return torch.stack(out)


def triples(num: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    return (torch.randint(N, (num, )), torch.randint(R, (num, )),
            torch.randint(N, (num, )))


OPTIONS = [{}, {'fusion': 'adaptive'}, {'structure': False, 'margin': 3.0},
           {'masked': True}, {'masked': True, 'missing': 'drop'}]


@pytest.mark.parametrize('kwargs', OPTIONS, ids=str)
def test_score(kwargs: dict[str, Any]) -> None:
    model = make(**kwargs)
    args, weight = triples(), torch.randn(7, dtype=torch.double)
    params = [p for p in model.parameters() if p.numel() > 0]
    results = [[out, *torch.autograd.grad((out * weight).sum(), params)]
               for out in (model(*args), score(model, *args))]
    for x, y in zip(*results, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize('kwargs', OPTIONS, ids=str)
def test_fast_paths(kwargs: dict[str, Any]) -> None:
    model = make(**kwargs)
    head, rel, tail = triples()
    tails, heads = model.score_tails(head, rel), model.score_heads(rel, tail)
    for n in range(N):
        node = torch.full_like(head, n)
        torch.testing.assert_close(tails[:, n], score(model, head, rel, node))
        torch.testing.assert_close(heads[:, n], score(model, node, rel, tail))
    index, side = torch.randint(N, (7, 20)), torch.rand(7, 20) < 0.5
    weight = torch.randn(7, 20).double()
    params = [p for p in model.parameters() if p.numel() > 0]
    results = []
    for method in (NativE.score_candidates, MMKGEModel.candidate_scores):
        table = model.encode()
        out = method(model, table, table[head], rel, table[tail], index, side)
        results.append([out, *torch.autograd.grad((out * weight).sum(),
                                                  params)])
    for x, y in zip(*results, strict=True):
        torch.testing.assert_close(x, y)


def test_the_relation_guides_the_fusion() -> None:
    """A cold relation takes one view, a warm one mixes."""
    model = make()
    torch.nn.init.constant_(model.temperature.weight[0], -20.0)
    logit = torch.tensor([[0.3, 0.1, -0.2]]).double().expand(2, 3)
    alpha = model.weights(logit, torch.tensor([0, 1]))
    torch.testing.assert_close(alpha.sum(dim=-1), torch.ones(2).double())
    torch.testing.assert_close(alpha[0], torch.eye(3).double()[0])
    assert alpha[1].max() < 0.9


@pytest.mark.parametrize('missing', ['random', 'drop'])
def test_nodes_without_a_training_triple(missing: str) -> None:
    """Their modalities share all of the weight."""
    model = make(missing=missing, drop_unseen=True)
    model.prepare(torch.tensor([[1, 4], [2, 5]]), torch.zeros(2).long())
    for r in range(R):
        tau = model.temperature.weight[r, 0].sigmoid()
        for n in range(N):
            x = torch.stack(views(model, n)[n not in (1, 2, 4, 5):])
            alpha = ((x.tanh() @ model.fuser.weight[0]) / tau).softmax(0)
            for side in ('head', 'tail'):
                torch.testing.assert_close(
                    model.key(model.encode(torch.tensor([n])),
                              torch.tensor([r]), side)[0], alpha @ x)


def test_mean_is_no_fusion_of_native() -> None:
    with pytest.raises(
            ModelError, match=r"'shared' or 'adaptive' \(got 'mean'\)"):
        make(fusion='mean')
