"""Tests of steps that are clipped by the formula, or not taken at all."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import Embedding, Linear, Parameter

from pyg_mmkgc.errors import ModelError, NonFiniteError
from pyg_mmkgc.nn import AdaMF
from pyg_mmkgc.training.row_adam import RowAdam
from pyg_mmkgc.training.step import (
    adam,
    learning_rate_factor,
    minimize,
    multiplies_bfloat16,
)


def step(module: torch.nn.Module, loss: Tensor,
         grad_clip: float | None = None) -> None:
    params = list(module.parameters())
    minimize(loss, params, torch.optim.SGD(params, lr=1.0), grad_clip,
             'the loss at epoch 3', module)


@pytest.mark.parametrize('grad_clip', [None, 1e-3, 1.0, 1e9])
def test_clipping(grad_clip: float | None) -> None:
    """All parameters share the factor min(1, clip / norm)."""
    module = Linear(3, 2).double()
    before = [p.detach().clone() for p in module.parameters()]
    x = torch.randn(5, 3, dtype=torch.double)
    loss = module(x).pow(2).sum()
    grads = torch.autograd.grad(loss, list(module.parameters()),
                                retain_graph=True)
    norm = math.sqrt(sum(float(g) ** 2 for grad in grads
                         for g in grad.flatten()))
    factor = 1.0 if grad_clip is None else min(1.0, grad_clip / norm)
    step(module, loss, grad_clip)
    for p, old, grad in zip(module.parameters(), before, grads):
        torch.testing.assert_close(p.detach(), old - factor * grad)


def test_clipping_of_sparse_gradients() -> None:
    """A node that occurs twice counts with its summed gradient."""
    results = []
    for sparse in (False, True):
        torch.manual_seed(0)
        module = Embedding(4, 2, sparse=sparse)
        step(module, module(torch.tensor([1, 1, 3])).sum(), 0.5)
        results.append(module.weight.detach())
    torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize('value', [math.nan, math.inf, -math.inf])
def test_bad_loss(value: float) -> None:
    module = Linear(2, 1)
    before = [p.detach().clone() for p in module.parameters()]
    with pytest.raises(NonFiniteError, match='the loss at epoch 3.*got '
                       f'-?{abs(value)}'):
        step(module, module(torch.ones(2)).sum() * value)
    assert all(map(torch.equal, module.parameters(), before))


@pytest.mark.parametrize('value', [math.nan, math.inf])
def test_bad_parameter_is_named(value: float) -> None:
    module = torch.nn.Sequential(Linear(2, 2), Linear(2, 1))
    module[1].bias.data[0] = value
    with pytest.raises(NonFiniteError, match='got .*, not finite: 1.bias'):
        step(module, module(torch.ones(2)).sum())


@pytest.mark.parametrize('value', [math.nan, math.inf, -math.inf])
def test_bad_gradient_is_named(value: float) -> None:
    module = torch.nn.Sequential(Linear(2, 2), Linear(2, 1))
    before = [p.detach().clone() for p in module.parameters()]
    module[1].weight.register_hook(lambda grad: grad * value)
    with pytest.raises(NonFiniteError, match='epoch 3.*got .*1.weight.. No'):
        step(module, module(torch.ones(2)).sum())
    assert all(map(torch.equal, module.parameters(), before))


def test_other_parameters_get_no_gradient() -> None:
    module, other = Linear(2, 1), Linear(2, 2)
    params = list(module.parameters())
    minimize(module(other(torch.ones(2))).sum(), params,
             torch.optim.SGD(params, lr=1.0), None, 'a loss', module)
    assert all(p.grad is None for p in other.parameters())


def test_old_gradients_do_not_add_up() -> None:
    module = Linear(2, 1)
    for p in module.parameters():
        p.grad = torch.full_like(p, math.nan)
    step(module, module(torch.ones(2)).sum())
    assert all(p.isfinite().all() for p in module.parameters())


def test_learning_rates_by_hand() -> None:
    factor = learning_rate_factor
    assert [factor(None, i, 4) for i in range(4)] == [1.0] * 4
    assert [factor('linear', i, 4) for i in range(4)] == [1.0, .75, .5, .25]
    half = math.sqrt(0.5)
    assert [factor('cosine', i, 4) for i in range(4)] == pytest.approx(
        [1.0, (1 + half) / 2, 0.5, (1 - half) / 2])
    with pytest.raises(ModelError, match="'lr_schedule'.*'linear' or "
                       r"'cosine' \(got 'step'\)"):
        factor('step', 0, 4)


def params_of(module: torch.nn.Module) -> list[Parameter]:
    return list(module.parameters())


def test_optimizer_follows_sparsity() -> None:
    dense, sparse = Embedding(3, 2), Embedding(3, 2, sparse=True)
    assert isinstance(adam(dense, params_of(dense), 0.1), torch.optim.Adam)
    assert isinstance(adam(sparse, params_of(sparse), 0.1), RowAdam)
    both = AdaMF(3, 2, 2, {'x': torch.ones(3, 1)}, sparse=True)
    assert isinstance(adam(both, params_of(both), 0.1), RowAdam)


@pytest.mark.parametrize('has, expected', [
    ({'architecture': 'x86_64', 'avx512_bf16': True}, True),
    ({'architecture': 'x86_64', 'avx512_bf16': False, 'amx_bf16': True},
     True),
    ({'architecture': 'x86_64', 'avx512_bf16': False, 'amx_bf16': False},
     False),
    ({'architecture': 'aarch64'}, True),
])
def test_bfloat16_in_hardware(has: dict[str, Any], expected: bool,
                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, 'get_capabilities', lambda: has,
                        raising=False)
    assert multiplies_bfloat16(torch.device('cpu')) is expected
