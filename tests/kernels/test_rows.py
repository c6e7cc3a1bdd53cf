"""Fused loops of pairs against the pure functions in double precision."""

import importlib.util

import pytest
import torch
from torch import Tensor

from pyg_mmkgc.kernels import backend
from pyg_mmkgc.kernels.candidates import pair_scores
from pyg_mmkgc.kernels.rows import rotate_by
from pyg_mmkgc.nn.functional import moduli_distance, rotate

HAS_NUMBA = importlib.util.find_spec('numba') is not None
D, R = 6, 4


@pytest.fixture(params=['plain'] + ['numba'] * HAS_NUMBA, autouse=True)
def path(request: pytest.FixtureRequest,
         monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == 'plain':
        monkeypatch.setattr(backend, '_load', lambda name: None)
    return request.param


def same(got: Tensor, expected: Tensor, inputs: list[Tensor]) -> None:
    """Equal values, and equal gradients of all inputs."""
    tol = 1e-12 if got.dtype == torch.double else 2e-5
    torch.testing.assert_close(got.double(), expected, rtol=tol, atol=tol)
    grad = torch.randn(got.shape, dtype=torch.double)
    for x, y in zip(
            torch.autograd.grad(got, inputs, grad.to(got.dtype)),
            torch.autograd.grad(expected, inputs, grad), strict=True):
        torch.testing.assert_close(x.double(), y.double(), rtol=tol, atol=tol)


@pytest.mark.parametrize('dtype', [torch.float, torch.double])
@pytest.mark.parametrize('inverse', [False, True])
@pytest.mark.parametrize('shape', [(9, ), (1, ), (2, 9), (0, )])
def test_rotate(shape: tuple[int, ...], inverse: bool,
                dtype: torch.dtype) -> None:
    x = torch.randn(*shape, 2 * D, dtype=dtype, requires_grad=True)
    phase = (4 * torch.randn(R, D, dtype=dtype)).requires_grad_()
    rel = torch.randint(R, shape[-1:])
    re, im = x.double().chunk(2, dim=-1)
    turn = torch.polar(torch.ones(R, D, dtype=torch.double),
                       -phase.double() if inverse else phase.double())[rel]
    z = torch.complex(re, im) * turn
    same(rotate_by(x, phase, rel, inverse),
         torch.cat([z.real, z.imag], dim=-1), [x, phase])


def test_rotate_broadcasts() -> None:
    x, phase = torch.randn(5, 1, 2 * D), torch.randn(R, D)
    rel = torch.randint(R, (1, 7))
    out = rotate_by(x, phase, rel)
    assert out.shape == (5, 7, 2 * D)
    torch.testing.assert_close(out, rotate(x, phase[rel]))


@pytest.mark.parametrize('wrong', [-1, R, 10 ** 6])
def test_rotate_by_no_relation(wrong: int) -> None:
    """Loops would access memory out of bounds."""
    rel = torch.tensor([0, wrong, 1])
    with pytest.raises(IndexError):
        rotate_by(torch.randn(3, 2 * D), torch.randn(R, D), rel)


@pytest.mark.parametrize('dtype', [torch.float, torch.double])
@pytest.mark.parametrize('group', [1, 2, 3])
@pytest.mark.parametrize('shape', [(9, ), (2, 9), (0, )])
def test_pair_distance(shape: tuple[int, ...], group: int,
                       dtype: torch.dtype) -> None:
    x, y = torch.randn(2, *shape, 2 * D, dtype=dtype)
    if x.numel():
        y.view(-1, 2 * D)[0] = x.view(-1, 2 * D)[0]  # A zero distance.
        y.view(-1, 2 * D)[1, :3] = x.view(-1, 2 * D)[1, :3]
    inputs = [x.requires_grad_(), y.requires_grad_()]
    parts = (x.double() - y.double()).unflatten(-1, (group, -1))
    same(pair_scores(x, y, group),
         torch.linalg.vector_norm(parts, dim=-2).sum(-1), inputs)


def test_pair_distance_broadcasts() -> None:
    x, y = torch.randn(5, 1, 2 * D), torch.randn(7, 2 * D)
    torch.testing.assert_close(pair_scores(x, y, 2), moduli_distance(x, y))


def test_the_loops_are_used(path: str,
                            monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong loop is seen by the comparison above."""
    if path == 'plain':
        return
    loops = backend._load('rows')
    assert loops is not None
    right = loops.rotate_backward
    monkeypatch.setattr(loops, 'rotate_backward', lambda *args: right(
        *args[:3], args[4], args[3]))
    with pytest.raises(AssertionError):
        test_rotate((9, ), False, torch.double)
    loops = backend._load('candidates')
    monkeypatch.setattr(loops, '_backward_runs', lambda *args: None)
    with pytest.raises(AssertionError):
        test_pair_distance((9, ), 2, torch.double)
