"""The fused loops against eqs. (4) and (5) written out."""

import importlib.util
import math

import pytest
import torch
from torch import Tensor

from pyg_mmkgc.kernels import backend, rows
from pyg_mmkgc.nn import AdaptiveFusion

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec('numba') is None, reason='needs numba')
C = 37


def formula(fusion: AdaptiveFusion, views: dict[str, Tensor],
            absent: Tensor) -> Tensor:
    """In double precision, by PyTorch alone."""
    parts = torch.broadcast_tensors(*(views[name].double()
                                      for name in fusion.names))
    weight = fusion.weight.double().expand(len(parts), -1)
    logit = torch.stack([(x.tanh() * w).sum(-1)
                         for x, w in zip(parts, weight, strict=True)], -1)
    alpha = logit.masked_fill(absent, -math.inf).exp()
    alpha = alpha / alpha.sum(-1, keepdim=True)
    return sum(a.unsqueeze(-1) * x
               for a, x in zip(alpha.unbind(-1), parts, strict=True))


def make(names: str, num_rows: int, mode: str = 'adaptive',
         **kwargs: bool) -> tuple[AdaptiveFusion, dict[str, Tensor]]:
    fusion = AdaptiveFusion(list(names), C, mode, **kwargs)
    torch.nn.init.normal_(fusion.weight)
    views = {name: 3 * torch.randn(num_rows, C) for name in names}
    return fusion, views


def compare(fusion: AdaptiveFusion, views: dict[str, Tensor],
            absent: Tensor) -> None:
    tensors = [*views.values(), fusion.weight]
    for x in views.values():
        x.requires_grad_()
    out, expected = fusion(views), formula(fusion, views, absent)
    assert out.dtype == torch.float
    torch.testing.assert_close(out.double(), expected, rtol=1e-5, atol=1e-5)
    grad = torch.randn(out.shape)
    for got, wanted in zip(
            torch.autograd.grad(out, tensors, grad),
            torch.autograd.grad(expected, tensors, grad.double()),
            strict=True):
        # A sum over rows is as exact as its largest terms.
        scale = 1 + float(wanted.abs().max()) if wanted.numel() else 1.0
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=2e-6 * scale)


@pytest.fixture(autouse=True)
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of rows in each call of the loops."""
    found: list[int] = []
    fuse = rows._Fuse.apply

    def count(weight: Tensor, present: Tensor, *views: Tensor) -> Tensor:
        found.append(present.size(0))
        return fuse(weight, present, *views)

    monkeypatch.setattr(rows._Fuse, 'apply', count)
    return found


@pytest.mark.parametrize('mode', ['adaptive', 'shared'])
@pytest.mark.parametrize('num_rows', [0, 1, 5, 600])
@pytest.mark.parametrize('names', ['ab', 'abc'])
def test_equals_the_formula(names: str, num_rows: int, mode: str,
                            calls: list[int]) -> None:
    fusion, views = make(names, num_rows, mode)
    compare(fusion, views, torch.zeros(num_rows, len(names),
                                       dtype=torch.bool))
    assert calls == [num_rows]


def test_absent_views(calls: list[int]) -> None:
    fusion, views = make('abc', 5, skip_absent=True)
    absent = torch.zeros(5, 3, dtype=torch.bool)
    for row, view in ((0, 1), (2, 0), (2, 2)):
        list(views.values())[view][row] = 0.0
        absent[row, view] = True
    compare(fusion, views, absent)
    assert calls == [5]


def test_views_broadcast(calls: list[int]) -> None:
    fusion, views = make('ab', 5)
    views['b'] = torch.randn(2, 5, C)
    compare(fusion, views, torch.zeros(2, 5, 2, dtype=torch.bool))
    assert calls == [10]


def test_tanh_over_its_range(calls: list[int]) -> None:
    """One view decides the weight of the other by tanh alone."""
    fusion = AdaptiveFusion(['a', 'b'], 1)
    x = torch.cat([torch.linspace(-20, 20, 4001),
                   torch.logspace(-6, 1, 500), torch.tensor([1e30])])
    views = {'a': x[:, None], 'b': torch.zeros(x.numel(), 1)}
    with torch.no_grad():
        fusion.weight.copy_(torch.tensor([[1.0], [0.0]]))
        alpha = fusion(views)[:, 0].double() / x.double()
    keep = x != 0
    logit = (alpha / (1 - alpha)).log()[keep]
    torch.testing.assert_close(logit, x.double().tanh()[keep], rtol=1e-6,
                               atol=5e-7)
    assert calls == [x.numel()]


def test_nan_is_seen(calls: list[int]) -> None:
    fusion, views = make('ab', 3)
    views['b'][1, 4] = float('nan')
    out = fusion(views)
    assert out[1].isnan().any() and not out[[0, 2]].isnan().any()
    assert calls == [3]


def test_repeats(calls: list[int]) -> None:
    fusion, views = make('ab', 600)
    assert torch.equal(fusion(views), fusion(views))
    grads = [torch.autograd.grad(fusion(views).sum(), fusion.weight)[0]
             for _ in range(2)]
    assert torch.equal(*grads)


@pytest.mark.parametrize('name', ['fusion_forward', 'fusion_backward'])
def test_a_wrong_loop_is_caught(name: str,
                                monkeypatch: pytest.MonkeyPatch) -> None:
    fusion, views = make('ab', 5)
    loops = backend._load('rows')
    assert loops is not None
    right = getattr(loops, name)

    def fault(views: tuple[object, ...], *args: object) -> None:
        right(views[::-1], *args)

    monkeypatch.setattr(loops, name, fault)
    with pytest.raises(AssertionError):
        compare(fusion, views, torch.zeros(5, 2, dtype=torch.bool))
