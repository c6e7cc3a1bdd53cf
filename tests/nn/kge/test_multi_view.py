"""Sums of distances over pairs of views, against loops over the pairs."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch_geometric.testing import withCUDA

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn import IKRL, MMKRL, TBKGC, VBKGC, MMKGEModel
from pyg_mmkgc.nn.kge.multi_view import MultiViewModel

N, R, D = 9, 3, 4
WIDTHS = {'visual': 6, 'text': 3}
Pairs = list[tuple[Tensor, Tensor, Tensor]]


def make(cls: type[MultiViewModel], names: str = 'visual text',
         masked: bool = False, **kwargs: Any) -> MultiViewModel:
    x = {name: torch.randn(N, WIDTHS[name]) for name in names.split()}
    masks = {name: torch.arange(N) % (i + 2) != 0
             for i, name in enumerate(x)} if masked else None
    return cls(N, R, D, modalities=x, masks=masks, **kwargs).double()


def modality(model: MultiViewModel, name: str, n: int) -> Tensor:
    encoder: Any = model.encoders[name]
    if model.missing == 'drop' and not encoder.mask[n]:
        return torch.zeros(model.node_emb.embedding_dim, dtype=torch.double)
    x = encoder.features(torch.tensor(n)).double()
    return encoder.lin.weight @ x + encoder.lin.bias


def unit(x: Tensor) -> Tensor:
    return x / x.square().sum().sqrt()


def either(x: Tensor, structure: Tensor) -> Tensor:
    """The structure replaces a missing view with missing='drop'."""
    return structure if not x.any() else x


def views(model: MultiViewModel, n: int) -> tuple[Tensor, dict[str, Tensor]]:
    structure = model.node_emb.weight[n]
    return structure, {name: modality(model, name, n)
                       for name in model.modalities}


def ikrl(model: MultiViewModel, h: int, r: int, t: int) -> Pairs:
    (s, m), (s2, m2) = views(model, h), views(model, t)
    rel = model.rel_emb.weight[r]
    return [(x, rel, y) for x in [s, *(either(v, s) for v in m.values())]
            for y in [s2, *(either(v, s2) for v in m2.values())]]


def summed(model: MultiViewModel, n: int) -> tuple[Tensor, Tensor]:
    s, m = views(model, n)
    return s, either(sum(m.values(), torch.zeros(())), s)


def tbkgc(model: MultiViewModel, h: int, r: int, t: int) -> Pairs:
    (s, m), (s2, m2) = summed(model, h), summed(model, t)
    _, real = views(model, h)
    _, real2 = views(model, t)
    rel = model.rel_emb.weight[r]
    return [(s, rel, s2), (m, rel, m2), (m, rel, s2), (s, rel, m2),
            (sum(real.values(), s), rel, sum(real2.values(), s2))]


def vbkgc(model: MultiViewModel, h: int, r: int, t: int) -> Pairs:
    rel = model.rel_emb.weight[r]
    return [(x, rel, y) for x in summed(model, h) for y in summed(model, t)]


def mmkrl(model: MultiViewModel, h: int, r: int, t: int) -> Pairs:
    assert isinstance(model, MMKRL)
    (s, m), (s2, m2) = summed(model, h), summed(model, t)
    h2, t2, rel = (model.lin.weight @ x + b for x, b in zip(
        (s, s2, model.rel_emb.weight[r]), model.bias))
    return [(h2, rel, t2), (m, rel, m2), (m, rel, s2), (s, rel, m2)]


def distance(model: MultiViewModel, head: Tensor, rel: Tensor,
             tail: Tensor) -> Tensor:
    if getattr(model, 'distance', '') != 'rotation':
        return (unit(head) + unit(rel) - unit(tail)).abs().sum()
    h, t = (torch.complex(*x.view(2, D)) for x in (head, tail))
    turn = torch.polar(torch.ones_like(rel),
                       rel / (model.margin + 2) * D * math.pi)
    return (h * turn - t).abs().sum()


REFERENCES: dict[type[MultiViewModel], Callable[..., Pairs]] = {
    IKRL: ikrl, TBKGC: tbkgc, VBKGC: vbkgc, MMKRL: mmkrl}


def score(model: MultiViewModel, head: Tensor, rel: Tensor,
          tail: Tensor) -> Tensor:
    out = []
    for h, r, t in zip(head.tolist(), rel.tolist(), tail.tolist()):
        energy = [distance(model, *pair)
                  for pair in REFERENCES[type(model)](model, h, r, t)]
        weight = 0.25 if isinstance(model, MMKRL) else 1.0
        out.append(model.margin - weight * sum(energy))
    return torch.stack(out)


def triples(num: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    return (torch.randint(N, (num, )), torch.randint(R, (num, )),
            torch.randint(N, (num, )))


def check(model: MultiViewModel) -> None:
    """Scores and all gradients."""
    args, params = triples(), [p for p in model.parameters()]
    weight = torch.randn(7, dtype=torch.double)
    results = []
    for out in (model(*args), score(model, *args)):
        grads = torch.autograd.grad((out * weight).sum(), params,
                                    materialize_grads=True)
        results.append([out, *grads])
    for x, y in zip(*results, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-9, atol=1e-11)


ALL = [(IKRL, {}), (TBKGC, {}), (VBKGC, {}), (VBKGC, {'distance': 'rotation'}),
       (MMKRL, {})]


@pytest.mark.parametrize('cls, kwargs', ALL)
@pytest.mark.parametrize('names', ['visual text', 'text'])
def test_score(cls: type[MultiViewModel], kwargs: dict[str, Any],
               names: str) -> None:
    check(make(cls, names, **kwargs))
    check(make(cls, names, margin=3.0, trainable_features=True, **kwargs))


@pytest.mark.parametrize('cls, kwargs', ALL)
@pytest.mark.parametrize('missing', ['random', 'drop'])
def test_missing(cls: type[MultiViewModel], kwargs: dict[str, Any],
                 missing: str) -> None:
    check(make(cls, masked=True, missing=missing, **kwargs))


@pytest.mark.parametrize('cls, kwargs', ALL)
@withCUDA
def test_fast_paths(cls: type[MultiViewModel], kwargs: dict[str, Any],
                    device: torch.device) -> None:
    """They equal the reference, and the general form in gradients."""
    model = make(cls, **kwargs).to(device)
    head, rel, tail = (x.to(device) for x in triples())
    every = torch.arange(N, device=device)
    tails, heads = model.score_tails(head, rel), model.score_heads(rel, tail)
    for n in every:
        node = n.expand_as(head)
        torch.testing.assert_close(tails[:, n], score(model, head, rel, node))
        torch.testing.assert_close(heads[:, n], score(model, node, rel, tail))
    index = torch.randint(N, (7, 5), device=device)
    side = torch.rand(7, 5, device=device) < 0.5
    weight = torch.randn(7, 5, device=device).double()
    results = []
    for method in (cls.score_candidates, MMKGEModel.score_candidates):
        table = model.encode()
        out = method(model, table, table[head], rel, table[tail], index, side)
        results.append([out, *torch.autograd.grad(
            (out * weight).sum(), list(model.parameters()),
            materialize_grads=True)])
    for x, y in zip(*results, strict=True):
        torch.testing.assert_close(x, y)


@pytest.mark.parametrize('cls, kwargs', ALL)
def test_synthetic_views(cls: type[MultiViewModel],
                         kwargs: dict[str, Any]) -> None:
    """Views of shape [L, B, C] broadcast against views of shape [B, C]."""
    model = make(cls, **kwargs)
    head, rel, tail = triples()
    real = model.embed(head)
    fake = {name: torch.randn(2, 7, x.size(-1), dtype=torch.double)
            for name, x in real.items() if name != 'structure'}
    out = model.score(model.fuse({**real, **fake}), rel, model.encode(tail))
    assert out.shape == (2, 7)
    for i in range(2):
        one = model.fuse({**real, **{k: x[i] for k, x in fake.items()}})
        torch.testing.assert_close(
            out[i], model.score(one, rel, model.encode(tail)))


def test_kinds_of_pairs() -> None:
    """For one modality, models have as many distances as their papers."""
    count = {cls: len(make(cls, 'text').pairs) for cls in REFERENCES}
    assert count == {IKRL: 4, TBKGC: 5, VBKGC: 4, MMKRL: 4}
    assert len(make(IKRL).pairs) == 9


@pytest.mark.parametrize('cls', REFERENCES)
def test_errors(cls: type[MultiViewModel]) -> None:
    x = {'text': torch.randn(N, 3)}
    with pytest.raises(ModelError, match=rf"'modalities' of {cls.__name__} .*"
                       r'\(got None\)'):
        cls(N, R, D)
    with pytest.raises(ModelError, match="'hidden_channels' .*>= 1 .got"):
        cls(N, R, 0, modalities=x)
    with pytest.raises(
            ModelError, match=r"'margin' to be positive \(got -1.0\)"):
        cls(N, R, D, modalities=x, margin=-1.0)
    with pytest.raises(
            ModelError, match=r"'masks'.*\['text'\] \(got \['audio'"):
        cls(N, R, D, modalities=x, masks={'audio': torch.ones(N).bool()})


def test_unknown_distance() -> None:
    with pytest.raises(
            ModelError, match=r"'distance'.*translation.*\(got 'cosine'"):
        make(VBKGC, distance='cosine')
