"""The fused step against PyTorch's own functions, on every path."""

import importlib.util

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pyg_mmkgc.kernels import norm
from pyg_mmkgc.kernels.norm import norm_relu_add

PATHS = ['plain'] + ['numba'] * (
    importlib.util.find_spec('numba') is not None)


@pytest.fixture(params=PATHS)
def path(request: pytest.FixtureRequest,
         monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param != 'numba':
        monkeypatch.setattr(norm, 'numba_loops', lambda *x: None)
    return request.param


def inputs(M: int = 70, D: int = 6) -> list[Tensor]:
    """Rows of any length; one is constant, and one is zero."""
    y, x = 3 * torch.randn(2, M, D, dtype=torch.double) + 1
    y[1], y[2] = 2.0, 0.0
    return [a.requires_grad_() for a in (
        y, x, torch.randn(D, dtype=torch.double),
        torch.randn(D, dtype=torch.double))]


def formula(y: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    mean = y.mean(dim=-1, keepdim=True)
    var = (y - mean).square().mean(dim=-1, keepdim=True)
    return x + ((y - mean) / (var + 1e-5).sqrt() * weight + bias).clamp(min=0)


@pytest.mark.parametrize('M', [1, 5, 70])
def test_equals_the_formula(path: str, M: int) -> None:
    args = [a.detach()[:M].requires_grad_() if a.dim() == 2 else a
            for a in inputs()]
    out, wanted = norm_relu_add(*args), formula(*args)
    torch.testing.assert_close(out, wanted, rtol=1e-12, atol=1e-12)
    grad = torch.randn_like(out)
    for got, want in zip(torch.autograd.grad(out, args, grad),
                         torch.autograd.grad(wanted, args, grad)):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(
        out, args[1] + F.layer_norm(args[0], (6, ), *args[2:]).relu())
    single = norm_relu_add(*(a.detach().float() for a in args))
    assert single.dtype == torch.float
    torch.testing.assert_close(single.double(), wanted, rtol=1e-4, atol=1e-4)


def test_gradcheck(path: str) -> None:
    y, x, weight, bias = inputs(5)
    y = torch.randn_like(y).requires_grad_()  # A constant row has no slope.
    assert torch.autograd.gradcheck(norm_relu_add, (y, x, weight, bias))


def test_a_diverged_model_is_seen(path: str) -> None:
    y, x, weight, bias = (a.detach() for a in inputs(4))
    y[3, 2] = float('nan')
    out = norm_relu_add(y, x, weight, bias)
    assert out[3].isnan().all() and not out[:3].isnan().any()


def test_any_number_of_threads_gives_the_same(path: str) -> None:
    args = [a.detach().float().requires_grad_() for a in inputs(500)]
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            out = norm_relu_add(*args)
            found.append([out, *torch.autograd.grad(
                (out * out.detach()).sum(), args)])
    finally:
        torch.set_num_threads(before)
    if path == 'numba':
        assert all(torch.equal(a, b) for a, b in zip(*found))
