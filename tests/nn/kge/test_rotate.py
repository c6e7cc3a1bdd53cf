"""RotatE against complex numbers, AdaMF and PyG's model."""

import inspect
import math

import pytest
import torch
import torch_geometric.nn.kge as pyg
from torch import Tensor

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn import AdaMF, RotatE

from .against_formula import check_formula, triples

N, R, D = 7, 3, 4


def make(**kwargs: float) -> RotatE:
    return RotatE(N, R, D, **{'margin': 3.0, **kwargs}).double()


def test_formula() -> None:
    model = make()
    x, theta = model.node_emb.weight, model.rel_emb.weight

    def score(h: int, r: int, t: int) -> Tensor:
        total = 0
        for i in range(D):
            # Radians: the range (gamma + 2) / D is half a circle.
            phase = theta[r, i] / ((3.0 + 2.0) / D) * math.pi
            turn = torch.complex(phase.cos(), phase.sin())
            total += (torch.complex(x[h, i], x[h, D + i]) * turn -
                      torch.complex(x[t, i], x[t, D + i])).abs()
        return 3.0 - total

    check_formula(model, score)


def test_a_quarter_turn() -> None:
    """By hand: i times 3 + 4i is -4 + 3i."""
    model = RotatE(2, 1, 1, margin=2.0)
    with torch.no_grad():
        model.node_emb.weight.copy_(torch.tensor([[3., 4.], [-4., 3.]]))
        model.rel_emb.weight.fill_(2.0)  # Of the range of 4 for pi.
    zero, one = torch.tensor([0]), torch.tensor([1])
    assert model(zero, zero, one).item() == pytest.approx(2.0, abs=1e-5)
    # Back, it is off by 2 (3 + 4i), which is of length 10.
    assert model(one, zero, zero).item() == pytest.approx(-8.0, abs=1e-5)


def test_it_is_adamf_without_modalities() -> None:
    model, other = make(), AdaMF(N, R, D, margin=3.0).double()
    other.load_state_dict(model.state_dict(), strict=False)
    args = triples(model, 9)
    assert torch.equal(model(*args), other(*args))
    assert RotatE.score_tails is AdaMF.score_tails


def test_constructor_is_that_of_pyg() -> None:
    ours, theirs = (list(inspect.signature(cls).parameters.items())
                    for cls in (RotatE, pyg.RotatE))
    for (name, mine), (other, pygs) in zip(ours, theirs):
        assert (name, mine.default) == (other, pygs.default)


def test_start_of_training() -> None:
    model = RotatE(2000, 500, 20, margin=12.0)
    assert 0.99 * 0.35 < model.node_emb.weight.abs().max().item() <= 0.35
    phase = model.phase(torch.arange(500))
    assert 0.99 * math.pi < phase.abs().max().item() <= math.pi + 1e-5


def test_bad_input() -> None:
    with pytest.raises(
            ModelError, match=r"'margin' to be positive \(got -1.0\)"):
        RotatE(N, R, D, margin=-1.0)
    with pytest.raises(ModelError, match="'hidden_channels' .*>= 1 .got"):
        RotatE(N, R, 0)
