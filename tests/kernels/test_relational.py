"""Relational message passing against a dense formula, on every path."""

import importlib.util
import os

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pyg_mmkgc.kernels import backend, relational
from pyg_mmkgc.kernels.relational import (
    MESSAGES,
    REDUCTIONS,
    RelationalGraph,
    relational_propagate,
)

HAS_NUMBA = importlib.util.find_spec('numba') is not None
# Triton's interpreter computes GPU kernels on the CPU.
INTERPRETED = pytest.mark.skipif(
    os.environ.get('TRITON_INTERPRET') != '1'
    or importlib.util.find_spec('triton') is None,
    reason='requires triton and TRITON_INTERPRET=1')
PATHS = ['plain', 'parts', *['numba'] * HAS_NUMBA,
         pytest.param('triton', marks=INTERPRETED)]
Q, N, R, D = 3, 7, 4, 6


@pytest.fixture(params=PATHS)
def path(request: pytest.FixtureRequest,
         monkeypatch: pytest.MonkeyPatch) -> str:
    """Loops of numba; PyTorch in one block; PyTorch in many blocks; kernels
    of Triton for sums."""
    if request.param == 'triton':
        monkeypatch.setattr(backend, 'COMPILED_DEVICES', ('cpu', ))
        monkeypatch.setattr(backend, '_compiles', lambda device: True)
    if request.param != 'numba':
        monkeypatch.setattr(relational, 'numba_loops', lambda *x: None)
    if request.param == 'parts':
        monkeypatch.setattr(relational, 'BLOCK', 2 * Q * D)
    return request.param


def edges(num_edges: int = 30) -> tuple[Tensor, Tensor, Tensor]:
    """Multi-edges, loops, and a last node without edges."""
    source, target = torch.randint(N - 1, (2, num_edges))
    edge_type = torch.randint(R, (num_edges, ))
    source[1], edge_type[1], target[1] = source[0], edge_type[0], target[0]
    target[2] = source[2]
    return source, edge_type, target


def inputs(dtype: torch.dtype = torch.double) -> tuple[Tensor, Tensor]:
    return (torch.randn(Q, N, D, dtype=dtype, requires_grad=True),
            torch.randn(Q, R, D, dtype=dtype, requires_grad=True))


def dense(x: Tensor, weight: Tensor, triples: tuple[Tensor, Tensor, Tensor],
          message: str, reduce: str) -> Tensor:
    """Every message written out, node by node, with complex numbers."""
    rows = []
    for q in range(x.size(0)):
        for v in range(N):
            got = []
            for u, r, t in zip(*(ids.tolist() for ids in triples)):
                if t != v:
                    continue
                w, y = weight[q, r], x[q, u]
                if message == 'product':
                    got.append(w * y)
                elif message == 'sum':
                    got.append(w + y)
                else:
                    half = y.numel() // 2
                    z = (torch.complex(w[:half], w[half:]) *
                         torch.complex(y[:half], y[half:]))
                    got.append(torch.cat([z.real, z.imag]))
            if not got:
                rows.append(torch.zeros_like(x[q, v]))
            elif reduce == 'max':
                rows.append(torch.stack(got).max(dim=0).values)
            else:
                rows.append(getattr(torch.stack(got), reduce)(dim=0))
    return torch.stack(rows).view_as(x)


@pytest.mark.parametrize('reduce', REDUCTIONS)
@pytest.mark.parametrize('message', MESSAGES)
def test_equals_dense_formula(path: str, message: str, reduce: str) -> None:
    """Values and both gradients, in double and in single precision."""
    triples = edges()
    graph = RelationalGraph(*triples, N, R)
    x, weight = inputs()
    out = relational_propagate(x, weight, graph, message, reduce)
    expected = dense(x, weight, triples, message, reduce)
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-12)
    grad = torch.randn_like(out)
    wanted = torch.autograd.grad(expected, (x, weight), grad)
    for got, want in zip(torch.autograd.grad(out, (x, weight), grad), wanted):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)

    a, b = (y.detach().float().requires_grad_() for y in (x, weight))
    out = relational_propagate(a, b, graph, message, reduce)
    assert out.dtype == torch.float
    torch.testing.assert_close(out.double(), expected.detach(), rtol=1e-5,
                               atol=1e-5)
    for got, want in zip(torch.autograd.grad(out, (a, b), grad.float()),
                         wanted):
        torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('reduce', REDUCTIONS)
@pytest.mark.parametrize('message', MESSAGES)
def test_gradcheck(path: str, message: str, reduce: str) -> None:
    if path == 'triton':
        pytest.skip('the interpreter takes minutes')
    graph = RelationalGraph(*edges(), N, R)
    assert torch.autograd.gradcheck(
        lambda x, w: relational_propagate(x, w, graph, message, reduce),
        inputs())


def test_by_hand(path: str) -> None:
    """Two edges meet in one node; the direction is from source to target."""
    graph = RelationalGraph(torch.tensor([0, 1]), torch.tensor([0, 1]),
                            torch.tensor([2, 2]), 3, 2)
    x = torch.tensor([[[1., 2.], [3., 4.], [100., 100.]]])
    weight = torch.tensor([[[10., 10.], [1., -1.]]])
    for message, reduce, row in [
        ('product', 'sum', [13., 16.]), ('product', 'mean', [6.5, 8.]),
        ('product', 'max', [10., 20.]), ('sum', 'sum', [15., 15.]),
        ('sum', 'max', [11., 12.]),
        # (10 + 10i)(1 + 2i) = -10 + 30i and (1 - i)(3 + 4i) = 7 + i.
        ('rotation', 'sum', [-3., 31.]), ('rotation', 'max', [7., 30.]),
    ]:
        out = relational_propagate(x, weight, graph, message, reduce)
        assert out.tolist() == [[[0., 0.], [0., 0.], row]], (message, reduce)


def test_equal_maxima_have_one_gradient(path: str) -> None:
    """Only the first edge with the largest message receives a gradient."""
    graph = RelationalGraph(torch.tensor([1, 0]), torch.tensor([0, 0]),
                            torch.tensor([2, 2]), 3, 1)
    x = torch.ones(1, 3, 2, requires_grad=True)
    weight = torch.ones(1, 1, 2, requires_grad=True)
    relational_propagate(x, weight, graph, reduce='max').sum().backward()
    assert x.grad.tolist() == [[[0., 0.], [1., 1.], [0., 0.]]]
    assert weight.grad.tolist() == [[[1., 1.]]]


@pytest.mark.parametrize('reduce', REDUCTIONS)
def test_a_diverged_model_is_seen(path: str, reduce: str) -> None:
    triples = torch.tensor([0, 1, 2]), torch.zeros(3).long(), torch.full(
        (3, ), 3)
    for i in range(3):  # Whatever the place of the message.
        x = torch.ones(1, 4, 2)
        x[0, i, 0] = float('nan')
        out = relational_propagate(x, torch.ones(1, 1, 2), RelationalGraph(
            *triples, 4, 1), reduce=reduce)
        assert out[0, 3].isnan().tolist() == [True, False]


@pytest.mark.parametrize('reduce', REDUCTIONS)
def test_without_some_edges(path: str, reduce: str) -> None:
    """Edges that are taken out pass nothing, in either direction."""
    source, edge_type, target = triples = edges()
    graph = RelationalGraph(*triples, N, R)
    drop = torch.rand(source.numel()) < 0.4
    fewer = graph.without(drop)
    assert fewer.num_edges == int((~drop).sum())
    x, weight = inputs()
    kept = source[~drop], edge_type[~drop], target[~drop]
    expected = dense(x, weight, kept, 'product', reduce)
    out = relational_propagate(x, weight, fewer, reduce=reduce)
    torch.testing.assert_close(out, expected)
    grad = torch.randn_like(out)
    for got, want in zip(torch.autograd.grad(out, (x, weight), grad),
                         torch.autograd.grad(expected, (x, weight), grad)):
        torch.testing.assert_close(got, want)
    # Once more: places of edges are those of the smaller graph.
    again = fewer.without(torch.arange(fewer.num_edges) < 3)
    kept = tuple(ids[3:] for ids in kept)
    torch.testing.assert_close(
        relational_propagate(x, weight, again, reduce=reduce),
        dense(x, weight, kept, 'product', reduce))


def test_no_edges_and_no_queries(path: str) -> None:
    none = torch.empty(0, dtype=torch.long)
    graph = RelationalGraph(none, none, none, N, R)
    x, weight = inputs()
    for reduce in REDUCTIONS:
        out = relational_propagate(x, weight, graph, reduce=reduce)
        assert not out.any()
        out.sum().backward()
        assert not x.grad.any() and not weight.grad.any()
    graph = RelationalGraph(*edges(), N, R)
    for reduce in REDUCTIONS:
        assert relational_propagate(x[:0], weight[:0], graph,
                                    reduce=reduce).shape == (0, N, D)


@pytest.mark.skipif(not HAS_NUMBA, reason='needs numba')
def test_any_number_of_threads_gives_the_same(path: str) -> None:
    triples = edges(200)
    graph = RelationalGraph(*triples, N, R)
    x, weight = inputs(torch.float)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            out = relational_propagate(x, weight, graph)
            found.append([out, *torch.autograd.grad(out.square().sum(),
                                                    (x, weight))])
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*found))


@pytest.mark.parametrize('message, reduce, shapes, match', [
    ('dot', 'sum', ((Q, N, D), (Q, R, D)), "'message'.*got 'dot'"),
    ('sum', 'min', ((Q, N, D), (Q, R, D)), "'reduce'.*'min'"),
    ('sum', 'sum', ((Q, N + 1, D), (Q, R, D)), r'got \[3, 8, 6\]'),
    ('sum', 'sum', ((Q, N, D), (1, R, D)), r'\[Q, 7, D\]'),
    ('sum', 'sum', ((N, D), (R, D)), 'shapes'),
    ('rotation', 'sum', ((Q, N, 3), (Q, R, 3)), 'even.*got 3'),
])
def test_bad_input(message: str, reduce: str, shapes, match: str) -> None:
    graph = RelationalGraph(*edges(), N, R)
    with pytest.raises(ValueError, match=match):
        relational_propagate(*map(torch.randn, shapes), graph, message,
                             reduce)


@pytest.mark.parametrize('i', range(3))
def test_edges_out_of_range(i: int) -> None:
    """Compiled loops would read other memory."""
    for wrong in (-1, 50):
        triples = [ids.clone() for ids in edges()]
        triples[i][3] = wrong
        with pytest.raises(IndexError, match=f'{wrong}'):
            RelationalGraph(*triples, N, R)


@pytest.mark.skipif(not HAS_NUMBA, reason='needs numba')
@pytest.mark.parametrize('reduce', REDUCTIONS)
def test_no_row_per_edge(reduce: str) -> None:
    """On the CPU, no tensor has as many elements as there are edges."""
    largest = [0]

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if isinstance(out, Tensor) and out.is_floating_point():
                largest[0] = max(largest[0], out.numel())
            return out

    triples = edges(1000)
    graph = RelationalGraph(*triples, N, R)
    x, weight = inputs()
    # The edges are sorted once, before any query.
    assert graph.by_target.node.numel() == graph.by_source.node.numel()
    with Watch():
        relational_propagate(x, weight, graph,
                             reduce=reduce).sum().backward()
    assert 0 < largest[0] <= Q * N * D < 1000
