"""PairRE against its formula."""

import pytest
import torch
from torch import Tensor

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn import PairRE

from .against_formula import check_formula, norm

N, R, D = 7, 3, 5


def test_formula() -> None:
    model = PairRE(N, R, D, margin=4.0).double()
    x, rel = model.node_emb.weight, model.rel_emb.weight

    def score(h: int, r: int, t: int) -> Tensor:
        return 4.0 - sum(
            abs(x[h, i] / norm(x[h]) * rel[r, i] -
                x[t, i] / norm(x[t]) * rel[r, D + i]) for i in range(D))

    check_formula(model, score)


def test_by_hand() -> None:
    model = PairRE(2, 1, 2, margin=10.0)
    with torch.no_grad():
        model.node_emb.weight.copy_(torch.tensor([[3., 4.], [0., -2.]]))
        model.rel_emb.weight.copy_(torch.tensor([[5., 10., 7., 3.]]))
    zero, one = torch.tensor([0]), torch.tensor([1])
    # (0.6, 0.8) * (5, 10) - (0, -1) * (7, 3) = (3, 8 + 3)
    assert model(zero, zero, one).item() == pytest.approx(10 - 14)
    # (0, -1) * (5, 10) - (0.6, 0.8) * (7, 3) = (-4.2, -12.4)
    assert model(one, zero, zero).item() == pytest.approx(10 - 16.6)


def test_start_of_training() -> None:
    model = PairRE(500, 100, 20, margin=6.0)
    for weight in (model.node_emb.weight, model.rel_emb.weight):
        assert 0.98 * 0.4 < weight.abs().max().item() <= 0.4
    torch.testing.assert_close(model.encode().norm(dim=-1), torch.ones(500))


def test_bad_input() -> None:
    with pytest.raises(ModelError, match=r"'margin' to be positive \(got 0\)"):
        PairRE(N, R, D, margin=0)
