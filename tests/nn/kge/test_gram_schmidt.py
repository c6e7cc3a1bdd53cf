"""Gram-Schmidt row by row, and its gradient at dependent rows."""

import pytest
import torch
from torch import Tensor

from pyg_mmkgc.nn.kge.ote import gram_schmidt

M = 4


def by_rows(rows: Tensor) -> Tensor:
    out: list[Tensor] = []
    for row in rows:
        for unit in out:
            row = row - (row @ unit) * unit
        out.append(row / row.norm())
    return torch.stack(out)


def test_equals_gram_schmidt() -> None:
    rows = torch.randn(2, 3, M, M, dtype=torch.double, requires_grad=True)
    out = gram_schmidt(rows)
    wanted = torch.stack([torch.stack([by_rows(x) for x in some])
                          for some in rows])
    torch.testing.assert_close(out, wanted)
    weight = torch.randn_like(out)
    for x, y in zip(torch.autograd.grad((weight * out).sum(), rows),
                    torch.autograd.grad((weight * wanted).sum(), rows),
                    strict=True):
        torch.testing.assert_close(x, y)
    assert torch.autograd.gradcheck(gram_schmidt, rows)


@pytest.mark.parametrize('dtype', [torch.float, torch.double])
@pytest.mark.parametrize('which', [0, 1, M - 1, slice(None)])
def test_finite_where_rows_depend(which: int | slice,
                                  dtype: torch.dtype) -> None:
    """The gradient stays finite for a row of zeros, unlike in torch's QR."""
    rows = torch.randn(5, M, M, dtype=dtype)
    rows[2, which] = 0.0
    rows.requires_grad_()
    out = gram_schmidt(rows)
    torch.testing.assert_close(out @ out.mT, torch.eye(M, dtype=dtype).expand(
        5, M, M), rtol=1e-5, atol=1e-5)
    grad, = torch.autograd.grad((torch.randn_like(out) * out).sum(), rows)
    assert grad.isfinite().all() and grad[[0, 1, 3, 4]].any(-1).all()


def test_the_last_row_decides_only_a_sign() -> None:
    """The last row has a gradient of zero, even if it depends on the other
    rows. Their gradients are the same as next to such a dependency.
    """
    rows = torch.randn(M, M, dtype=torch.double)
    rows[-1] = rows[:-1].sum(dim=0)
    near = rows.clone()
    near[-1] += 1e-7 * torch.randn(M, dtype=torch.double)
    weight = torch.randn_like(rows)
    weight[-1] = 0.0  # Whose sign may differ.
    grads = [torch.autograd.grad((weight * gram_schmidt(x)).sum(), x)[0]
             for x in (rows.requires_grad_(), near.requires_grad_())]
    assert grads[0][-1].abs().max() < 1e-9
    torch.testing.assert_close(grads[0][:-1], grads[1][:-1], rtol=1e-6,
                               atol=1e-6)


def test_none() -> None:
    assert gram_schmidt(torch.empty(0, 3, M, M)).shape == (0, 3, M, M)
