"""Transport plans against Sinkhorn's own iteration and linear programs."""

import numpy as np
import pytest
import scipy.optimize
import torch

from pyg_mmkgc.nn.kge.otkge import transport_plan

P, Q = 4, 6


def scalings(cost: np.ndarray, strength: float) -> np.ndarray:
    """The iteration on plain scalings, one plan."""
    kernel = np.exp(-cost / strength)
    u, v = np.ones(P), np.ones(Q)
    for _ in range(2000):
        u = 1 / P / (kernel @ v)
        v = 1 / Q / (kernel.T @ u)
    return u[:, None] * kernel * v


@pytest.mark.parametrize('strength', [0.3, 1.0, 10.0])
def test_by_scalings(strength: float) -> None:
    cost = torch.rand(2, 3, P, Q, dtype=torch.double)
    out = transport_plan(cost, strength, tolerance=1e-14)
    for i in range(2):
        for j in range(3):
            np.testing.assert_allclose(
                out[i, j], scalings(cost[i, j].numpy(), strength), rtol=1e-9)


def test_marginals_are_uniform() -> None:
    plan = transport_plan(10 * torch.rand(3, P, Q), 1.0)
    torch.testing.assert_close(plan.sum(-1), torch.full((3, P), 1 / P),
                               rtol=1e-4, atol=0)
    torch.testing.assert_close(plan.sum(-2), torch.full((3, Q), 1 / Q),
                               rtol=1e-4, atol=0)


def test_large_costs() -> None:
    """If exp(-C) underflows in double precision, the plan still equals the
    solution of a linear program.
    """
    cost = 1e5 * torch.rand(P, Q, dtype=torch.double)
    assert not (-cost / 100).exp().all()
    out = transport_plan(cost, 100.0, max_iterations=50000, tolerance=1e-10)
    rows = np.kron(np.eye(P), np.ones(Q))
    columns = np.kron(np.ones(P), np.eye(Q))
    best = scipy.optimize.linprog(
        cost.flatten().numpy(), A_eq=np.concatenate([rows, columns]),
        b_eq=np.concatenate([np.full(P, 1 / P), np.full(Q, 1 / Q)]))
    assert float((out * cost).sum()) == pytest.approx(best.fun, rel=1e-2)
    assert out.isfinite().all()


def test_stops_early_and_has_no_gradient() -> None:
    cost = torch.rand(P, Q, dtype=torch.double, requires_grad=True)
    rough = transport_plan(cost, 0.05, max_iterations=1)
    fine = transport_plan(cost, 0.05)
    assert not fine.requires_grad and not torch.allclose(rough, fine)
    # If costs depend on the row alone, one iteration is enough.
    flat = transport_plan(torch.rand(P, 1).expand(P, Q), 0.1,
                          max_iterations=1)
    torch.testing.assert_close(flat, torch.full((P, Q), 1 / (P * Q)))
