"""The functions that a GPU compiles, compiled for the CPU."""

import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._inductor.utils import run_and_get_code

from pyg_mmkgc.kernels import backend, candidates
from pyg_mmkgc.kernels.candidates import candidate_scores
from pyg_mmkgc.kernels.dense import dense_scores
from pyg_mmkgc.nn.functional import moduli, moduli_distance

B, K, U, C = 9, 7, 11, 12
# Without a compiler, and with a C++ compiler, which is slow.
BOTH = pytest.mark.parametrize(
    'calls', ['plain', pytest.param('compiled', marks=[
        pytest.mark.slow, pytest.mark.nightly])],
    indirect=True)


def candidate_distance(tail_query: Tensor, head_query: Tensor, table: Tensor,
                       index: Tensor, side: Tensor, group: int = 2) -> Tensor:
    return candidate_scores(torch.stack([tail_query, head_query]),
                            table, index, side, group)


@pytest.fixture
def calls(request: pytest.FixtureRequest,
          monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The functions that were compiled, and called."""
    found = []
    compiled = backend._compile
    if getattr(request, 'param', 'compiled') == 'plain':
        monkeypatch.setattr(backend, '_compiles', lambda device: True)

        def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
            return function

    def record(function: Callable[..., Any]) -> Callable[..., Any]:
        found.append(function.__name__)
        return compiled(function)

    monkeypatch.setattr(backend, 'COMPILED_DEVICES', ('cpu',))
    monkeypatch.setattr(backend, '_compile', record)
    monkeypatch.setattr(backend, '_load', lambda name: None)
    with warnings.catch_warnings():
        # PyTorch's own, about the modules that its compiler imports.
        warnings.simplefilter('ignore', DeprecationWarning)
        yield found


def make(dtype: torch.dtype = torch.double) -> tuple[Tensor, ...]:
    queries = torch.randn(2, B, C, dtype=dtype)
    table = torch.randn(U, C, dtype=dtype)
    index, side = torch.randint(U, (B, K)), torch.rand(B, K) < 0.5
    with torch.no_grad():
        table[2] = queries[0, 0]  # A distance of zero.
    index[0, 0], side[0, 0] = 2, False
    return (queries[0].requires_grad_(), queries[1].requires_grad_(),
            table.requires_grad_(), index, side)


def make_scaled() -> tuple[Tensor, ...]:
    query, other, table, index, side = make()
    scale = torch.randn(2, B, C, dtype=table.dtype)
    both = torch.stack([query, other]).detach()
    with torch.no_grad():
        scale[0, 0] = 1.0
    return (both.requires_grad_(), scale.requires_grad_(), table, index, side)


def expect(out: Tensor, formula: Tensor, inputs: tuple[Tensor, ...]) -> None:
    """Values and gradients, against autograd's of a formula."""
    torch.testing.assert_close(out, formula)
    grad = torch.randn_like(formula)
    for x, y in zip(torch.autograd.grad(out, inputs, grad),
                    torch.autograd.grad(formula, inputs, grad), strict=True):
        torch.testing.assert_close(x, y)


def gathered(args: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    tail_query, head_query, table, index, side = args
    both = torch.stack([tail_query, head_query])
    return both[side.long(), torch.arange(B)[:, None]], table[index]


@BOTH
@pytest.mark.parametrize('group', [2, 6])
def test_distances(calls: list[str], group: int) -> None:
    args = make()
    expect(candidate_distance(*args, group),
           moduli_distance(*gathered(args), group), args[:3])
    assert calls == ['_scores', '_gradients']


@BOTH
def test_products(calls: list[str]) -> None:
    args = make()
    query, rows = gathered(args)
    expect(candidate_distance(*args, 0),
           torch.einsum('bkc,bkc->bk', query, rows), args[:3])
    assert calls == ['_scores', '_gradients']


@BOTH
@pytest.mark.parametrize('group', [1, 2])
def test_scaled_distances(calls: list[str], group: int) -> None:
    args = query, scale, table, index, side = make_scaled()
    row = side.long(), torch.arange(B)[:, None]
    expect(candidate_scores(query, table, index, side, group, scale),
           moduli_distance(query[row], scale[row] * table[index], group),
           args[:3])
    assert calls == ['_scores', '_gradients']


@BOTH
@pytest.mark.parametrize('group', [1, 2, 6])
def test_dense(calls: list[str], group: int) -> None:
    """Bits do not depend on sizes, so that ranks do not either."""
    query, table = torch.randn(40, C), torch.randn(50, C)
    out = dense_scores(query, table, group)
    assert calls == ['_dense'] and out.dtype == torch.float
    diff = (query[:, None] - table).double()
    torch.testing.assert_close(out.double(),
                               moduli(diff, group).sum(-1), rtol=2e-6, atol=0)
    for rows, nodes in ((slice(2), slice(50)), (slice(7, 40), slice(3, 9))):
        again = dense_scores(query[rows], table[nodes], group)
        assert torch.equal(again, out[rows, nodes])
    assert set(calls) == {'_dense'}


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize('scaled', [False, True])
def test_no_pair_of_rows_is_kept_in_memory(calls: list[str],
                                           scaled: bool) -> None:
    """The generated code allocates nothing larger than the results."""
    query, scale, table, index, side = (x.detach() for x in make_scaled())
    pairs = (query, scale if scaled else None, table, index,
             side.view(torch.uint8))
    grad = torch.randn(B, K, dtype=query.dtype)
    for function, rest in ((candidates._scores, (2, )),
                           (candidates._gradients, (2, grad))):
        torch._dynamo.reset()
        compiled = torch.compile(function, options=backend.OPTIONS)
        _, code = run_and_get_code(compiled, pairs, *rest)
        sizes = [math.prod(int(n) for n in line.split('((')[1].split(')')[0]
                           .split(',') if n.strip())
                 for line in '\n'.join(code).splitlines()
                 if '= empty_strided_cpu((' in line]
        assert sizes and max(sizes) <= max(B * K, 2 * B * C, U * C)


def test_small_inputs_are_not_compiled(calls: list[str]) -> None:
    args = make()
    few = (*(x[:1] for x in args[:2]), args[2], args[3][:1], args[4][:1])
    candidate_distance(*few).sum().backward()
    none = (*(x[:0] for x in args[:2]), args[2], args[3][:0], args[4][:0])
    assert candidate_distance(*none).shape == (0, K)
    assert calls == []


@BOTH
def test_a_wrong_backward_is_caught(calls: list[str],
                                    monkeypatch: pytest.MonkeyPatch) -> None:
    right = candidates._gradients

    def _gradients(*args: Any) -> tuple[Tensor | None, ...]:
        to_query, *rest = right(*args)
        return to_query.flip(1), *rest

    monkeypatch.setattr(candidates, '_gradients', _gradients)
    args = make()
    with pytest.raises(AssertionError):
        expect(candidate_distance(*args), moduli_distance(*gathered(args)),
               args[:3])
    assert calls == ['_scores', '_gradients']


def test_without_a_compiler(calls: list[str],
                            monkeypatch: pytest.MonkeyPatch) -> None:
    """One warning with the reason, then blocks."""
    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError('no compiler was found\nmore about it')

    monkeypatch.setattr(torch, 'compile', fail)
    backend._compiles.cache_clear()
    args = make()
    try:
        with pytest.warns(UserWarning, match='work here: no compiler was '
                                             'found$'):
            expect(candidate_distance(*args),
                   moduli_distance(*gathered(args)), args[:3])
        candidate_distance(*args)  # Warnings are errors: no second one.
    finally:
        backend._compiles.cache_clear()
    assert calls == []
