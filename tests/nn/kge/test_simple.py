"""SimplE against its two products in loops."""

import pytest
import torch
from torch import Tensor

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn import BCELoss, DistMult, SimplE
from pyg_mmkgc.nn.encoded import encode

from .against_formula import check_formula, triples

N, R, D = 7, 3, 4


def formula(model: SimplE, h: int, r: int, t: int) -> Tensor:
    """Entities are [e | e'], as a head and as a tail; relations [r | r^-1]."""
    x, rel = model.node_emb.weight, model.rel_emb.weight
    forth = sum(x[h, i] * rel[r, i] * x[t, D + i] for i in range(D))
    back = sum(x[t, i] * rel[r, D + i] * x[h, D + i] for i in range(D))
    return (forth + back) / 2


def test_formula() -> None:
    model = SimplE(N, R, D).double()
    assert model.node_emb.weight.shape == (N, 2 * D)
    assert model.rel_emb.weight.shape == (R, 2 * D)
    check_formula(model, lambda h, r, t: formula(model, h, r, t))


def test_by_hand() -> None:
    model = SimplE(2, 1, 1)
    with torch.no_grad():
        model.node_emb.weight.copy_(torch.tensor([[2., 3.], [5., 7.]]))
        model.rel_emb.weight.copy_(torch.tensor([[11., 13.]]))
    zero, one = torch.tensor([0]), torch.tensor([1])
    # (2 * 11 * 7 + 5 * 13 * 3) / 2 and (5 * 11 * 3 + 2 * 13 * 7) / 2.
    assert model(zero, zero, one).item() == 174.5
    assert model(one, zero, zero).item() == 173.5


def test_with_equal_halves_it_is_distmult() -> None:
    ours, theirs = SimplE(N, R, D).double(), DistMult(N, R, D).double()
    with torch.no_grad():
        for name in ('node_emb', 'rel_emb'):
            getattr(ours, name).weight.copy_(
                getattr(theirs, name).weight.repeat(1, 2))
    args = triples(ours, 9)
    torch.testing.assert_close(ours(*args), theirs(*args))


def test_regularization() -> None:
    """N3 is the mean over positives, L3 the sum over both tables."""
    model = SimplE(N, R, D, n3=0.3, l3=0.2).double()
    head, rel, tail = triples(model, 5)
    x, y = model.node_emb.weight, model.rel_emb.weight
    n3 = sum(abs(v) ** 3 for h, r, t in zip(head, rel, tail)
             for v in (*x[h], *y[r], *x[t])) / 5
    l3 = sum(abs(v) ** 3 for v in (*x.flatten(), *y.flatten()))
    out = model.regularization(encode(model, head, tail), rel)
    for a, b in zip(*([value, *torch.autograd.grad(value, [x, y])]
                      for value in (out, 0.3 * n3 + 0.2 * l3))):
        torch.testing.assert_close(a, b)
    assert SimplE(N, R, D).regularization(
        encode(model, head, tail), rel) is None
    assert isinstance(model.criterion, BCELoss)


def test_bad_input() -> None:
    for kwargs in ({'n3': -1.0}, {'l3': float('nan')},
                   {'l3': 1.0, 'sparse': True}):
        with pytest.raises(ModelError, match="'[ln]3'.*got "):
            SimplE(N, R, D, **kwargs)
    with pytest.raises(ModelError, match='hidden_channels'):
        SimplE(N, R, 0)
