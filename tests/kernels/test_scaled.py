"""Both paths of the scaled distance against a plain loop over pairs."""

import importlib.util
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch_geometric.testing import onlyCUDA

from pyg_mmkgc.kernels import backend
from pyg_mmkgc.kernels.candidates import candidate_scores
from pyg_mmkgc.kernels.dense import dense_scores
from pyg_mmkgc.nn.kge.query import by_relation

HAS_NUMBA = importlib.util.find_spec('numba') is not None
C = 12


def scaled_distance(query: Tensor, scale: Tensor, table: Tensor,
                    index: Tensor, side: Tensor, group: int) -> Tensor:
    return candidate_scores(query, table, index, side, group, scale)


@pytest.fixture(params=['plain', 'parts'] + ['numba'] * HAS_NUMBA)
def path(request: pytest.FixtureRequest,
         monkeypatch: pytest.MonkeyPatch) -> str:
    """Loops of numba; PyTorch in one block; PyTorch in many blocks."""
    if request.param != 'numba':
        monkeypatch.setattr(backend, '_load', lambda name: None)
    if request.param == 'parts':
        monkeypatch.setattr(backend, 'BLOCK', 5 * C * 3)
    return request.param


def make(B: int = 7, K: int = 5, U: int = 6,
         dtype: torch.dtype = torch.double) -> tuple[Tensor, ...]:
    query, scale = torch.randn(2, 2, B, C, dtype=dtype)
    table = torch.randn(U, C, dtype=dtype)
    return (query.requires_grad_(), scale.requires_grad_(),
            table.requires_grad_(), torch.randint(U, (B, K)),
            torch.rand(B, K) < 0.5)


def pooled(dtype: torch.dtype = torch.double, B: int = 40, K: int = 5,
           chunk: int = 16) -> tuple[Tensor, ...]:
    """Chunks of positives share their candidates, some twice in a row."""
    *inputs, _, side = make(B, K, dtype=dtype)
    index = torch.randint(6, (-(-B // chunk), K))
    return (*inputs, index.repeat_interleave(chunk, dim=0)[:B].contiguous(),
            side)


def loop(query: Tensor, scale: Tensor, row: Tensor, group: int) -> float:
    S = C // group
    q, w, t = query.tolist(), scale.tolist(), row.tolist()
    return sum(math.hypot(*(q[j * S + i] - w[j * S + i] * t[j * S + i]
                            for j in range(group))) for i in range(S))


@pytest.mark.parametrize('group', [1, 2, 3, 4, 12])
def test_candidates(group: int, path: str) -> None:
    query, scale, table, index, side = args = make()
    out = scaled_distance(*args, group)
    assert out.shape == index.shape
    for b in range(7):
        for k in range(5):
            s = int(side[b, k])
            expected = loop(query[s, b], scale[s, b], table[index[b, k]],
                            group)
            assert out[b, k].item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize('group', [1, 2, 3, 12])
@pytest.mark.parametrize('dtype', [torch.float, torch.double])
def test_pooled_candidates(group: int, dtype: torch.dtype,
                           path: str) -> None:
    """Values and gradients equal PyTorch's for the gathered rows."""
    query, scale, table, index, side = args = pooled(dtype)
    head = side[..., None]
    q, w = (torch.where(head, x[1][:, None], x[0][:, None])
            for x in (query, scale))
    diff = q - w * table[index]
    expected = diff.unflatten(-1, (group, -1)).norm(dim=2).sum(dim=-1)
    out = scaled_distance(*args, group)
    torch.testing.assert_close(out, expected)
    grad = torch.randn(out.shape, dtype=dtype)
    for x, y in zip(torch.autograd.grad(out, args[:3], grad),
                    torch.autograd.grad(expected, args[:3], grad),
                    strict=True):
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(not HAS_NUMBA, reason='needs numba')
def test_loops_for_pools_are_those_that_run(
        monkeypatch: pytest.MonkeyPatch) -> None:
    loops = backend._load('candidates')
    for name in ('_forward', '_backward_table', '_backward_runs'):
        monkeypatch.setattr(loops, name, None)
    scaled_distance(*pooled(), 3).sum().backward()
    with pytest.raises(TypeError):
        scaled_distance(*pooled(chunk=1), 3)


@pytest.mark.parametrize('group', [1, 2, 4, 12])
def test_gradients(group: int, path: str) -> None:
    """Against finite differences of the forward pass."""
    *inputs, index, side = make(B=3, K=4)
    assert torch.autograd.gradcheck(
        lambda *x: scaled_distance(*x, index, side, group), inputs)


@pytest.mark.parametrize('maker', [make, pooled])
@pytest.mark.parametrize('group', [1, 2, 4, 12])
def test_no_gradient_at_distance_zero(
        group: int, maker: Callable[[], tuple[Tensor, ...]],
        path: str) -> None:
    query, scale, table, index, side = maker()
    with torch.no_grad():
        scale.mul_(4).round_()  # Whole numbers: the difference is exact.
        table.copy_(table[0].mul(4).round().expand_as(table))
        query.copy_(scale * table[0])
    out = scaled_distance(query, scale, table, index, side, group)
    grads = torch.autograd.grad(out.sum(), [query, scale, table])
    assert out.abs().max() < 1e-100
    for grad in grads:
        assert not grad.any()


@pytest.mark.parametrize('maker', [make, pooled])
@pytest.mark.parametrize('group', [1, 2, 4])
def test_diverged_values_are_seen(
        group: int, maker: Callable[[], tuple[Tensor, ...]],
        path: str) -> None:
    query, scale, table, index, side = maker()
    with torch.no_grad():
        query[:, 2, 3] = math.nan
    out = scaled_distance(query, scale, table, index, side, group)
    assert out[2].isnan().all() and out[3:].isfinite().all()
    grad, = torch.autograd.grad(out.sum(), query)
    assert grad[:, 2].isnan().any() and grad[:, 3:].isfinite().all()


@pytest.mark.parametrize('shape', [(0, 5), (4, 0), (1, 1)])
def test_small_shapes(shape: tuple[int, int], path: str) -> None:
    *inputs, index, side = make(*shape)
    out = scaled_distance(*inputs, index, side, 2)
    assert out.shape == shape
    for x, grad in zip(inputs, torch.autograd.grad(out.sum(), inputs)):
        assert grad.shape == x.shape and grad.isfinite().all()


def test_single_precision_and_strides(path: str) -> None:
    query, scale, table, index, side = make(dtype=torch.float)
    out = scaled_distance(query, scale, table, index, side, 3)
    assert out.dtype == torch.float
    turned = scaled_distance(
        query.transpose(0, 1).contiguous().transpose(0, 1), scale,
        table.t().contiguous().t(), index.t().contiguous().t(), side, 3)
    assert torch.equal(out, turned)
    wide = scaled_distance(query.double(), scale.double(),
                                     table.double(), index, side, 3)
    torch.testing.assert_close(out.double(), wide, rtol=1e-5, atol=1e-5)


@onlyCUDA
def test_same_on_a_gpu() -> None:
    *inputs, index, side = make(50, 40, 30)
    results = []
    for device in ('cpu', 'cuda'):
        x = [y.detach().to(device).requires_grad_() for y in inputs]
        out = scaled_distance(*x, index.to(device), side.to(device),
                                        4)
        grads = torch.autograd.grad(out.sin().sum(), x)
        results.append([y.cpu() for y in (out, *grads)])
    for a, b in zip(*results):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize('group', [1, 3])
def test_all_rows(group: int) -> None:
    """The table of each relation is made once, in any order of queries."""
    query = torch.randn(6, C, dtype=torch.double, requires_grad=True)
    table = torch.randn(5, C, dtype=torch.double, requires_grad=True)
    scale = torch.randn(4, C, dtype=torch.double)
    rel, seen = torch.tensor([3, 0, 3, 1, 0, 3]), []

    def transform(x: Tensor, r: Tensor) -> Tensor:
        seen.append(int(r))
        return x * scale[r]

    def distances(query: Tensor, table: Tensor, rel: Tensor,
                  transform: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        return by_relation(query, rel, table, lambda query, r: dense_scores(
            query, transform(table, r), group))

    out = distances(query, table, rel, transform)
    assert sorted(seen) == [0, 1, 3]  # Each table is made once.
    for i in range(6):
        for n in range(5):
            assert out[i, n].item() == pytest.approx(
                loop(query[i], scale[rel[i]], table[n], group))
    assert torch.autograd.gradcheck(
        lambda q, t: distances(q, t, rel, lambda x, r: x * scale[r]),
        [query, table])
    empty = distances(query[:0], table, rel[:0], transform)
    assert empty.shape == (0, 5) and len(seen) == 3


@pytest.mark.parametrize('wrong', [-1, 6])
def test_no_such_row(path: str, wrong: int) -> None:
    """Loops would access memory out of bounds."""
    query, scale, table, index, side = make()
    index[3, 2] = wrong
    with pytest.raises(IndexError, match=rf'in \[0, 6\) \(got {wrong}'):
        scaled_distance(query, scale, table, index, side, 2)
    with pytest.raises(IndexError, match=rf'in \[0, 6\) \(got {wrong}'):
        candidate_scores(query, table, index, side, 2)


@pytest.mark.parametrize('group', [1, 2, 3, C])
def test_gradients_of_nan(path: str, group: int) -> None:
    """Only the query with NaN has a gradient of NaN, and a distance of zero
    has a gradient of zero.
    """
    query = torch.randn(3, C)
    query[1, 0] = float('nan')
    query[2] = 0.0
    query.requires_grad_()
    index = torch.zeros(3, 1, dtype=torch.long)
    candidate_scores(query.unsqueeze(0), torch.zeros(1, C), index,
                     index.bool(), group).sum().backward()
    nan = query.grad.isnan()
    assert nan[1, 0] and not nan[[0, 2]].any() and not query.grad[2].any()
