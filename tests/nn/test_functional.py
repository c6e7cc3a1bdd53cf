"""Scores against complex numbers and plain loops in double precision."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from pyg_mmkgc.kernels.dense import blocks
from pyg_mmkgc.nn.functional import (
    complex_score,
    diagonal_score,
    moduli_distance,
    rotate,
    rotation_distance,
    translation_distance,
)

D = 5


def rand(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.double)


def as_complex(x: Tensor) -> np.ndarray:
    """Rows [re | im] as complex numbers."""
    a = x.detach().numpy()
    width = a.shape[-1] // 2
    return a[..., :width] + 1j * a[..., width:]


def test_rotation_is_a_product_of_complex_numbers() -> None:
    x, phase = rand(7, 2 * D), 4 * rand(7, D)
    turn = np.exp(1j * phase.numpy())
    np.testing.assert_allclose(as_complex(rotate(x, phase)),
                               as_complex(x) * turn, rtol=1e-13)
    np.testing.assert_allclose(as_complex(rotate(x, phase, inverse=True)),
                               as_complex(x) * turn.conj(), rtol=1e-13)
    back = rotate(rotate(x, phase), phase, inverse=True)
    torch.testing.assert_close(back, x, rtol=1e-13, atol=1e-13)


def test_rotation_by_hand() -> None:
    """1 and i, turned by a quarter: i and -1."""
    x = torch.tensor([1.0, 0.0, 0.0, 1.0], dtype=torch.double)
    phase = torch.full((2, ), math.pi / 2, dtype=torch.double)
    expected = torch.tensor([0.0, -1.0, 1.0, 0.0], dtype=torch.double)
    torch.testing.assert_close(rotate(x, phase), expected)


def test_rotation_distance_is_a_sum_of_moduli() -> None:
    head, phase, tail = rand(9, 2 * D), 4 * rand(9, D), rand(9, 2 * D)
    out = rotation_distance(head, phase, tail)
    h, t = as_complex(head), as_complex(tail)
    for b in range(9):
        total = sum(abs(h[b, i] * np.exp(1j * float(phase[b, i])) - t[b, i])
                    for i in range(D))
        assert float(out[b]) == pytest.approx(total, rel=1e-13)
    # 3-4-5 triangles: neither the L1 nor the L2 norm of the coordinates.
    zero = torch.zeros(4, dtype=torch.double)
    x = torch.tensor([3.0, 0.0, 4.0, 2.0], dtype=torch.double)
    assert float(moduli_distance(x, zero)) == pytest.approx(7.0)


def test_rotating_the_tail_back_keeps_the_distance() -> None:
    head, phase, tail = rand(9, 2 * D), 4 * rand(9, D), rand(9, 2 * D)
    torch.testing.assert_close(
        rotation_distance(head, phase, tail),
        moduli_distance(head, rotate(tail, phase, inverse=True)))


@pytest.mark.parametrize('dtype', [torch.float, torch.double])
def test_zero_distance_has_zero_gradient(dtype: torch.dtype) -> None:
    x = torch.randn(3, 2 * D, dtype=dtype, requires_grad=True)
    y = x.detach().clone()
    y[1, 0] += 1  # One modulus of row 1 is not zero.
    out = moduli_distance(x, y)
    assert float(out.detach()[0]) < 1e-15
    out.sum().backward()
    assert x.grad is not None
    expected = torch.zeros(3, 2 * D, dtype=dtype)
    expected[1, 0] = -1
    torch.testing.assert_close(x.grad, expected)


def test_gradients() -> None:
    args = [x.requires_grad_() for x in
            (rand(3, 2 * D), rand(3, D), rand(3, 2 * D))]
    assert gradcheck(rotation_distance, args)


@pytest.mark.parametrize('p', [1.0, 2.0])
def test_translation(p: float) -> None:
    head, rel, tail = rand(6, D), rand(6, D), rand(6, D)
    out = translation_distance(head, rel, tail, p)
    for b in range(6):
        total = sum(abs(float(head[b, i] + rel[b, i] - tail[b, i])) ** p
                    for i in range(D))
        assert float(out[b]) == pytest.approx(total ** (1 / p), rel=1e-13)


def test_diagonal() -> None:
    head, rel, tail = rand(6, D), rand(6, D), rand(6, D)
    out = diagonal_score(head, rel, tail)
    for b in range(6):
        total = sum(float(head[b, i]) * float(rel[b, i]) * float(tail[b, i])
                    for i in range(D))
        assert float(out[b]) == pytest.approx(total, rel=1e-12)


def test_complex_bilinear() -> None:
    head, rel, tail = rand(6, 2 * D), rand(6, 2 * D), rand(6, 2 * D)
    form = as_complex(head) * as_complex(rel) * as_complex(tail).conj()
    np.testing.assert_allclose(complex_score(head, rel, tail).numpy(),
                               form.sum(-1).real, rtol=1e-12)


@pytest.mark.parametrize('score, widths', [
    (translation_distance, (D, D, D)),
    (rotation_distance, (2 * D, D, 2 * D)),
    (diagonal_score, (D, D, D)),
    (complex_score, (2 * D, 2 * D, 2 * D)),
])
def test_broadcasting_equals_pairs(score, widths) -> None:  # noqa: ANN001
    head, rel, tail = (rand(n, w) for n, w in zip((4, 4, 7), widths))
    out = score(head[:, None], rel[:, None], tail)
    assert out.shape == (4, 7)
    for b in range(4):
        for n in range(7):
            torch.testing.assert_close(out[b, n],
                                       score(head[b], rel[b], tail[n]))
    group = torch.stack([head, 2 * head])  # [L, B, C] against [B, C]
    both = score(group, rel, tail[:4])
    assert both.shape == (2, 4)
    torch.testing.assert_close(both[1], score(2 * head, rel, tail[:4]))


def test_blocks_cover_the_table_once() -> None:
    table = torch.arange(30.0).view(10, 3)
    torch.testing.assert_close(torch.cat(blocks(table, 1 << 22)), table)
    assert [len(x) for x in blocks(table, 1 << 22)] == [1] * 10
    assert [len(x) for x in blocks(table, 4)] == [10]
    assert [len(x) for x in blocks(table, 0)] == [10]
