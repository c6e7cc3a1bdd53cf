"""Both paths of the kernel against a plain loop over pairs."""

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch_geometric.testing import onlyCUDA, withPackage

from pyg_mmkgc.kernels import backend, candidates
from pyg_mmkgc.kernels.candidates import candidate_scores
from pyg_mmkgc.kernels.dense import dense_scores
from pyg_mmkgc.nn.functional import moduli_distance

from .kernel_reference import loop_distance, loops

HAS_NUMBA = importlib.util.find_spec('numba') is not None
PATHS = ['plain', 'parts'] + ['numba'] * HAS_NUMBA
D = 6

Args = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def candidate_distance(tail_query: Tensor, head_query: Tensor, table: Tensor,
                       index: Tensor, side: Tensor, group: int = 2) -> Tensor:
    return candidate_scores(torch.stack([tail_query, head_query]),
                            table, index, side, group)



@pytest.fixture(params=PATHS)
def path(request: pytest.FixtureRequest,
         monkeypatch: pytest.MonkeyPatch) -> str:
    """Loops of numba; PyTorch in one block; PyTorch in many blocks."""
    if request.param != 'numba':
        monkeypatch.setattr(backend, '_load', lambda name: None)
    if request.param == 'parts':
        monkeypatch.setattr(backend, 'BLOCK', 3 * 2 * D)
    return request.param


def make(B: int = 7, K: int = 5, U: int = 6,
         dtype: torch.dtype = torch.double) -> Args:
    tail_query, head_query = torch.randn(2, B, 2 * D, dtype=dtype)
    table = torch.randn(U, 2 * D, dtype=dtype)
    index = torch.randint(U, (B, K))  # K > U / B: rows repeat.
    side = torch.rand(B, K) < 0.5
    return (tail_query.requires_grad_(), head_query.requires_grad_(),
            table.requires_grad_(), index, side)


def run(args: Args, grad: Tensor, group: int = 2) -> list[Tensor]:
    for x in args[:3]:
        x.grad = None
    out = candidate_distance(*args, group)
    out.backward(grad.to(out.dtype))
    return [out.detach(), *(x.grad for x in args[:3])]


def check(args: Args, group: int = 2) -> None:
    grad = torch.randn(args[3].shape, dtype=torch.double)
    tol = 1e-12 if args[0].dtype == torch.double else 2e-5
    for got, expected in zip(run(args, grad, group),
                             loops(*args, grad, group)):
        assert got.dtype == args[0].dtype
        torch.testing.assert_close(got.double(), expected, rtol=tol, atol=tol)


@pytest.mark.parametrize('dtype', [torch.float, torch.double])
def test_equals_loops(path: str, dtype: torch.dtype) -> None:
    check(make(dtype=dtype))
    check(make(B=3, K=1, U=9, dtype=dtype))  # Some rows are in no pair.
    check(make(B=1, K=40, U=2, dtype=dtype))  # Rows repeat in a query.


@pytest.mark.parametrize('dtype', [torch.float, torch.double])
@pytest.mark.parametrize('group', [1, 3, 6, 12])
def test_groups_of_channels(path: str, group: int,
                            dtype: torch.dtype) -> None:
    """L1, blocks, and one Euclidean norm; with a distance of zero."""
    args = make(dtype=dtype)
    with torch.no_grad():
        args[2][2] = args[0][0]
        args[2][3] = args[1][1]
        args[2][3, 0] += 1
    args[3][0], args[4][0] = 2, False
    args[3][1], args[4][1] = 3, True
    check(args, group)
    query, table = args[0].detach(), args[2].detach()
    dense = dense_scores(query, table, group)
    # Computed from squares, |a - a| is the root of a rounding error.
    squares = group == 12 and dtype == torch.float and path != 'numba'
    zero = 1e-6 if squares else 1e-15
    for q in range(query.size(0)):
        for n in range(table.size(0)):
            assert float(dense[q, n]) == pytest.approx(
                loop_distance(query[q].tolist(), table[n].tolist(), group),
                rel=1e-12 if dtype == torch.double else 1e-6, abs=zero)


def pooled(chunk: int, B: int = 40, K: int = 5,
           dtype: torch.dtype = torch.double) -> Args:
    """Chunks of positives share their candidates, some twice in a row."""
    tail_query, head_query, table, _, side = make(B, K, 6, dtype)
    pool = torch.randint(6, (-(-B // chunk), K))
    return (tail_query, head_query, table,
            pool.repeat_interleave(chunk, dim=0)[:B].contiguous(), side)


@pytest.mark.parametrize('dtype', [torch.float, torch.double])
@pytest.mark.parametrize('chunk', [1, 3, 16, 40])
def test_pooled_candidates(path: str, chunk: int,
                           dtype: torch.dtype) -> None:
    check(pooled(chunk, dtype=dtype))
    args = pooled(chunk, dtype=dtype)
    with torch.no_grad():  # A distance of zero.
        args[2][int(args[3][0, 0])] = args[0][0]
    args[4][0, 0] = False
    check(args)


@pytest.mark.skipif(not HAS_NUMBA, reason='needs numba')
def test_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    loops = backend._load('candidates')
    assert loops is not None
    for chunk, starts in ((16, [0, 16, 32, 40]), (40, [0, 40])):
        index = (torch.arange(40) // chunk)[:, None].repeat(1, 3)
        assert loops.find_runs(index.numpy()).tolist() == starts
    long = loops.find_runs(torch.zeros(300, 2, dtype=torch.long).numpy())
    assert long.tolist() == [0, 128, 256, 300]
    # The loops for pools run.
    monkeypatch.setattr(loops, '_backward_table', None)
    check(pooled(16))
    with pytest.raises(TypeError):
        check(pooled(1))


def test_inner_products(path: str) -> None:
    """Equal to PyTorch's own gradients of the gathered rows."""
    for args in (make(), pooled(16), make(B=1, K=40, U=2)):
        tail_query, head_query, table, index, side = args
        query = torch.where(side[..., None], head_query[:, None],
                            tail_query[:, None])
        expected = torch.einsum('bkc,bkc->bk', query, table[index])
        out = candidate_distance(*args, 0)
        torch.testing.assert_close(out, expected)
        grad = torch.randn(out.shape, dtype=out.dtype)
        for x, y in zip(torch.autograd.grad(out, args[:3], grad),
                        torch.autograd.grad(expected, args[:3], grad),
                        strict=True):
            torch.testing.assert_close(x, y)


def test_one_side_only(path: str) -> None:
    *rest, side = make()
    for value in (True, False):
        args = (*rest, torch.full_like(side, value))
        check(args)
        unused = args[0] if value else args[1]
        assert not unused.grad.any()


@pytest.mark.parametrize('dtype', [torch.float, torch.double])
def test_candidate_equal_to_the_query(path: str, dtype: torch.dtype) -> None:
    """A zero distance, and one zero modulus among others."""
    args = make(dtype=dtype)
    with torch.no_grad():
        args[2][2] = args[0][0]
        args[2][3] = args[1][1]
        args[2][3, 0] += 1
    args[3][0], args[4][0] = 2, False
    args[3][1], args[4][1] = 3, True
    check(args)
    assert candidate_distance(*args)[0, 0] < 1e-15


def test_gradcheck(path: str) -> None:
    args = make(B=3, K=4, U=3)
    assert torch.autograd.gradcheck(candidate_distance, args)


def test_not_contiguous(path: str) -> None:
    args = make()
    with torch.no_grad():
        turned = [x.t().contiguous().t().requires_grad_() for x in args[:3]]
    index = args[3].t().contiguous().t()
    assert not turned[0].is_contiguous() and not index.is_contiguous()
    check((*turned, index, args[4]))
    # The gradient may come expanded, from a sum.
    candidate_distance(*args).sum().backward()
    expected = loops(*args, torch.ones(args[3].shape))
    torch.testing.assert_close(args[2].grad, expected[3])


@pytest.mark.parametrize('shape', [(0, 4, 3), (4, 0, 3), (0, 0, 3)])
def test_empty(path: str, shape: tuple[int, int, int]) -> None:
    args = make(*shape)
    out = candidate_distance(*args)
    assert out.shape == shape[:2]
    out.sum().backward()
    for x in args[:3]:
        assert x.grad is not None and not x.grad.any()


def test_nan_stays_nan(path: str) -> None:
    args = make()
    with torch.no_grad():
        args[2][int(args[3][0, 0]), 1] = float('nan')
    out, *grads = run(args, torch.ones(args[3].shape))
    expected = (args[3] == args[3][0, 0])
    assert torch.equal(out.isnan(), expected)
    assert grads[2].isnan().any()
    dense = dense_scores(args[0].detach(), args[2].detach(), 2)
    assert torch.equal(dense.isnan().all(0), args[2].isnan().any(1))


@pytest.mark.parametrize('dtype', [torch.float, torch.double])
@pytest.mark.parametrize('Q, N', [(1, 1), (4, 7), (7, 13), (0, 5), (5, 0)])
def test_dense_equals_loops(path: str, Q: int, N: int,
                            dtype: torch.dtype) -> None:
    query = torch.randn(Q, 2 * D, dtype=dtype)
    table = torch.randn(N, 2 * D, dtype=dtype)
    if Q and N:
        table[-1] = query[-1]
    out = dense_scores(query, table, 2)
    assert out.shape == (Q, N) and out.dtype == dtype
    tol = 1e-12 if dtype == torch.double else 2e-6
    for q in range(Q):
        for n in range(N):
            expected = loop_distance(query[q].tolist(), table[n].tolist())
            assert float(out[q, n]) == pytest.approx(expected, rel=tol,
                                                     abs=1e-15)


@pytest.mark.parametrize('group', [1, 2, 4, 12])
def test_dense_over_tiles(path: str, group: int) -> None:
    """The bits of an element do not depend on the other elements."""
    query, table = torch.randn(131, 12), torch.randn(133, 12)
    out = dense_scores(query, table, group)
    diff = (query[:, None] - table).double()
    norms = torch.stack(diff.chunk(group, dim=-1)).norm(dim=0)
    torch.testing.assert_close(out.double(), norms.sum(-1), rtol=2e-6, atol=0)
    for part in (slice(1), slice(6), slice(61, 131)):
        rows = dense_scores(query[part], table, group)
        columns = dense_scores(query, table[part], group)
        same = torch.equal(rows, out[part]), torch.equal(columns, out[:, part])
        assert path != 'numba' or all(same)


def test_dense_has_the_gradient_of_the_formula(path: str) -> None:
    query, _, table, _, _ = make()
    out = dense_scores(query, table, 2)
    grad = torch.randn_like(out)
    grads = torch.autograd.grad(out, (query, table), grad)
    expected = moduli_distance(query[:, None], table)
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(
        grads, torch.autograd.grad(expected, (query, table), grad))


def test_dense_gradients(path: str) -> None:
    """Equal to a row of candidates for each query."""
    query = torch.randn(3, 2 * D, dtype=torch.double, requires_grad=True)
    table = torch.randn(4, 2 * D, dtype=torch.double, requires_grad=True)
    grad = torch.randn(3, 4, dtype=torch.double)
    dense_scores(query, table, 2).backward(grad)
    index = torch.arange(4).expand(3, -1)
    expected = loops(query, query, table, index, torch.zeros(3, 4), grad)
    torch.testing.assert_close(query.grad, expected[1])
    torch.testing.assert_close(table.grad, expected[3])
    with torch.no_grad():
        assert not dense_scores(query, table, 2).requires_grad


def test_mixed_dtypes_are_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, '_load', lambda name: 1 / 0)
    query, table = torch.randn(3, 2 * D), torch.randn(4, 2 * D).double()
    out = dense_scores(query, table, 2)
    torch.testing.assert_close(out, dense_distance_by_cdist(query, table))
    half = dense_scores(query.bfloat16(), table.bfloat16(), 2)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.double(), out, rtol=0.05, atol=0.05)


def dense_distance_by_cdist(query: Tensor, table: Tensor) -> Tensor:
    """A third formula: cdist in every complex dimension."""
    query, table = query.double(), table.double()
    return torch.stack([torch.cdist(query[:, i::D], table[:, i::D])
                        for i in range(D)]).sum(0)


@pytest.mark.skipif(not HAS_NUMBA, reason='needs numba')
def test_paths_agree_and_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    args = make(B=32, K=16, U=20, dtype=torch.float)
    grad = torch.randn(32, 16)
    fast, again = run(args, grad), run(args, grad)
    monkeypatch.setattr(backend, '_load', lambda name: None)
    for x, y, z in zip(fast, again, run(args, grad)):
        assert torch.equal(x, y)
        torch.testing.assert_close(x, z, rtol=1e-4, atol=1e-5)


def test_without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    """A single warning with advice, then the plain path."""
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, 'find_spec',
        lambda name: None if name == 'numba' else find_spec(name))
    backend._max_threads.cache_clear()
    backend._load.cache_clear()
    try:
        with pytest.warns(UserWarning, match='pip install numba'):
            check(make())
        check(make())  # Warnings are errors: there is no second one.
    finally:
        backend._max_threads.cache_clear()
        backend._load.cache_clear()


# Planted faults: the comparison above must be able to fail.


def _wrong_sign(pairs: Any, group: int, grad: Tensor) -> Any:
    """Forgets the sign of the table's gradient."""
    *rest, to_table = ORIGINAL(pairs, group, grad)
    return *rest, -to_table


def _swap_sides(pairs: Any, group: int, grad: Tensor) -> Any:
    return ORIGINAL((*pairs[:4], 1 - pairs[4]), group, grad)


def _overwrite_repeats(pairs: Any, group: int, grad: Tensor) -> Any:
    """Assigns where it must add."""
    *rest, to_table = ORIGINAL(pairs, group, grad)
    query, _, table, index, side = pairs
    for b in range(index.size(0)):
        for k in range(index.size(1)):
            diff = query[int(side[b, k]), b] - table[index[b, k]]
            modulus = diff.view(2, D).norm(dim=0).repeat(2)
            to_table[index[b, k]] = -grad[b, k] * diff / modulus
    return *rest, to_table


ORIGINAL = candidates._gradients
FAULTS = [_wrong_sign, _swap_sides, _overwrite_repeats]


@pytest.mark.parametrize('fault', FAULTS)
def test_a_wrong_backward_is_caught(fault: Callable[..., Any],
                                    monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, '_load', lambda name: None)
    check(make())
    monkeypatch.setattr(candidates, '_gradients', fault)
    with pytest.raises(AssertionError):
        check(make())


@withPackage('numba')
def test_a_wrong_loop_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    loops = backend._load('candidates')
    assert loops is not None
    right = loops._backward_table
    check(make())

    def fault(*args) -> None:  # noqa: ANN002
        right(*args)
        args[-1][0] = 0  # The first row of the table gets nothing.

    monkeypatch.setattr(loops, '_backward_table', fault)
    with pytest.raises(AssertionError):
        check(make())
    check(pooled(16))
    monkeypatch.setattr(loops, '_add_rows', lambda *_: None)
    with pytest.raises(AssertionError):
        check(pooled(16))


@onlyCUDA
@pytest.mark.parametrize('dtype', [torch.float, torch.double])
def test_cuda_equals_cpu(dtype: torch.dtype) -> None:
    args = make(B=32, K=16, U=20, dtype=dtype)
    grad = torch.randn(32, 16, dtype=dtype)
    moved = tuple(x.detach().cuda().requires_grad_(x.requires_grad)
                  for x in args)
    tol = 1e-12 if dtype == torch.double else 1e-4
    for x, y in zip(run(args, grad), run(moved, grad.cuda())):
        torch.testing.assert_close(x, y.cpu(), rtol=tol, atol=tol)
    dense, on_gpu = (dense_scores(x[0].detach(), x[2].detach(), 2)
                     for x in (args, moved))
    torch.testing.assert_close(dense, on_gpu.cpu(), rtol=tol, atol=tol)


@withPackage('numba')
def test_loops_leave_threads_of_torch() -> None:
    code = ('import torch; torch.set_num_threads(1); '
            'from pyg_mmkgc.kernels.dense import dense_scores; '
            'dense_scores(torch.ones(2, 4), torch.ones(3, 4), 2); '
            'print(torch.get_num_threads())')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True,
                          text=True, check=True)
    assert done.stdout.strip() == '1'
