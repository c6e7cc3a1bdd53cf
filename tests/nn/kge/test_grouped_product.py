"""Grouped products against one product for each row."""

import pytest
import torch

from pyg_mmkgc.nn.kge.ote import TILE, grouped_product

S, M = 3, 4


def expected(x: torch.Tensor, group: torch.Tensor,
             matrix: torch.Tensor) -> torch.Tensor:
    out = torch.empty_like(x)
    for n in range(x.size(0)):
        for i in range(S):
            out[n, i::S] = x[n, i::S] @ matrix[group[n], i]
    return out


@pytest.mark.parametrize('sizes', [
    [1], [TILE], [TILE + 1], [0, 2, 0], [3, TILE, 1, 0, 2 * TILE + 3, TILE]])
def test_products(sizes: list[int]) -> None:
    """Groups that fill their tiles and that do not, in any order."""
    group = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    group = group[torch.randperm(group.numel())]
    x = torch.randn(group.numel(), S * M, dtype=torch.double)
    matrix = torch.randn(len(sizes), S, M, M, dtype=torch.double)
    torch.testing.assert_close(grouped_product(x, group, matrix),
                               expected(x, group, matrix))


def test_one_row_without_a_dimension() -> None:
    x, matrix = torch.randn(S * M), torch.randn(2, S, M, M)
    out = grouped_product(x, torch.tensor(1), matrix)
    torch.testing.assert_close(
        out, expected(x[None], torch.tensor([1]), matrix)[0])


def test_gradients() -> None:
    """A group without rows has a gradient of zero."""
    group = torch.tensor([2, 0, 2, 2])
    x = torch.randn(4, S * M, dtype=torch.double, requires_grad=True)
    matrix = torch.randn(3, S, M, M, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x, m: grouped_product(x, group, m), [x, matrix])
    grad, = torch.autograd.grad(grouped_product(x, group, matrix).sum(),
                                matrix)
    assert grad[0].any() and grad[2].any() and not grad[1].any()


def test_shapes() -> None:
    """Groups of size one broadcast, and empty inputs are allowed."""
    matrix = torch.randn(2, S, M, M)
    x, group = torch.randn(2, 5, S * M), torch.tensor([[1], [0]])
    out = grouped_product(x, group, matrix)
    assert out.shape == x.shape
    for n in range(2):
        torch.testing.assert_close(
            out[n], expected(x[n], group[n].expand(5), matrix))
    empty = grouped_product(x[:0], group[:0], matrix[:0])
    assert empty.shape == (0, 5, S * M)
