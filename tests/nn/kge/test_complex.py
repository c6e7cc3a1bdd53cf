"""ComplEx against complex numbers in loops and against PyG's model."""

import inspect

import pytest
import torch
import torch_geometric.nn.kge as pyg
from torch import Tensor

from pyg_mmkgc.nn import ComplEx

from .against_formula import check_formula, triples

N, R, D = 7, 3, 4


def number(row: Tensor, i: int) -> Tensor:
    return torch.complex(row[i], row[D + i])


def formula(model: ComplEx, h: int, r: int, t: int) -> Tensor:
    x, rel = model.node_emb.weight, model.rel_emb.weight
    return sum(number(x[h], i) * number(rel[r], i) * number(x[t], i).conj()
               for i in range(D)).real


def test_formula() -> None:
    model = ComplEx(N, R, D).double()
    check_formula(model, lambda h, r, t: formula(model, h, r, t))


def test_reciprocal_relations() -> None:
    """Heads of relation r are the tails of relation r + R, and back."""
    model = ComplEx(N, R, D, reciprocal=True).double()
    assert model.rel_emb.weight.shape == (2 * R, 2 * D)
    assert model.num_relations == R
    rel, node = torch.arange(2 * R), torch.randint(N, (2 * R, ))
    heads, tails = model.score_heads(rel, node), model.score_tails(node, rel)
    for q in range(2 * R):
        for n in range(N):
            assert tails[q, n].item() == pytest.approx(
                formula(model, int(node[q]), q, n).item())
            assert heads[q, n].item() == pytest.approx(
                formula(model, int(node[q]), (q + R) % (2 * R), n).item())


def test_by_hand() -> None:
    """The real part of i * (1 + i) * conj(2 - i) is -3."""
    model = ComplEx(2, 1, 1)
    with torch.no_grad():
        model.node_emb.weight.copy_(torch.tensor([[0., 1.], [2., -1.]]))
        model.rel_emb.weight.fill_(1.0)
    zero, one = torch.tensor([0]), torch.tensor([1])
    assert model(zero, zero, one).item() == -3.0
    # (2 - i)(1 + i)(-i) = (3 + i)(-i) = 1 - 3i.
    assert model(one, zero, zero).item() == 1.0


def test_scores_are_those_of_pyg() -> None:
    ours, theirs = ComplEx(N, R, D), pyg.ComplEx(N, R, D)
    with torch.no_grad():
        for mine, name in ((ours.node_emb, 'node_emb'),
                           (ours.rel_emb, 'rel_emb')):
            mine.weight.copy_(torch.cat([
                getattr(theirs, name).weight,
                getattr(theirs, f'{name}_im').weight], dim=-1))
    args = triples(ours, 9)
    torch.testing.assert_close(ours(*args), theirs(*args))


def test_constructor_is_that_of_pyg() -> None:
    ours, theirs = (list(inspect.signature(cls).parameters.items())
                    for cls in (ComplEx, pyg.ComplEx))
    for (name, mine), (other, pygs) in zip(ours, theirs):
        assert (name, mine.default) == (other, pygs.default)
