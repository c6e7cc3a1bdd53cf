"""Tests of the straight-through estimator against dense one-hot rows."""

import torch

from pyg_mmkgc.sampler.straight_through import straight_through

B, K, M, C = 3, 4, 7, 5


def test_values_and_gradients_by_loops() -> None:
    """Computes (hard - soft.detach() + soft) @ table, draw by draw."""
    table = torch.randn(M, C, dtype=torch.double, requires_grad=True)
    logits = torch.randn(B, M, dtype=torch.double, requires_grad=True)
    picks = logits.detach().topk(K).indices
    weight = torch.randn(B, K, C, dtype=torch.double)
    got = straight_through(table[picks], logits, picks, table)
    assert torch.equal(got, table[picks])
    ours = torch.autograd.grad((got.sin() * weight).sum(), [logits, table])

    total = torch.zeros((), dtype=torch.double)
    for b in range(B):
        left = list(range(M))
        for k in range(K):
            soft = torch.zeros(M, dtype=torch.double)
            top = sum(logits[b, m].exp() for m in left)
            for m in left:
                soft = soft + torch.eye(M, dtype=torch.double)[m] * (
                    logits[b, m].exp() / top)
            pick = max(left, key=lambda m: float(logits.detach()[b, m]))
            assert pick == int(picks[b, k])
            left.remove(pick)
            hard = torch.eye(M, dtype=torch.double)[pick]
            one_hot = hard - soft.detach() + soft
            row = sum(one_hot[m] * table[m].detach() for m in range(M))
            # The gradient of the table equals the sum over chosen rows.
            row = row + (hard[:, None] * (table - table.detach())).sum(0)
            total = total + (row.sin() * weight[b, k]).sum()
    theirs = torch.autograd.grad(total, [logits, table])
    for x, y in zip(ours, theirs):
        torch.testing.assert_close(x, y, rtol=1e-9, atol=1e-9)
    assert float(ours[0].abs().max()) > 0.01


def test_all_candidates_may_be_picked() -> None:
    logits = torch.randn(2, 3, requires_grad=True)
    table = torch.randn(3, C)
    picks = logits.detach().topk(3).indices
    straight_through(table[picks], logits, picks, table).sum().backward()
    assert bool(logits.grad.isfinite().all())


def test_a_pick_that_has_nearly_all_probability() -> None:
    """The odds of other candidates underflow in single precision."""
    logits = torch.tensor([[200.0, 3.0, 2.0, 1.0]], requires_grad=True)
    table = torch.randn(4, C)
    picks = torch.tensor([[0, 1]])
    weight = torch.randn(1, 2, C)
    got, = torch.autograd.grad(
        (straight_through(table[picks], logits, picks, table) *
         weight).sum(), logits)
    # The first draw is certain; the second is one of the other three.
    soft = torch.softmax(torch.tensor([3.0, 2.0, 1.0]), dim=0)
    value = table[1:] @ weight[0, 1]
    expected = soft * (value - soft @ value)
    torch.testing.assert_close(got[0, 1:], expected)
    assert abs(float(got[0, 0])) < 1e-5
