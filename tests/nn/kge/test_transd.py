"""TransD against its projection matrices."""

import pytest
import torch
from torch import Tensor

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.kernels import backend
from pyg_mmkgc.nn import MarginRankingLoss, TransD
from pyg_mmkgc.typing import Side

from .against_formula import check_formula, norm

N, R, D = 7, 3, 4


def reference(model: TransD, h: int, r: int, t: int) -> Tensor:
    """The score by the full matrix r_p e_p^T + I."""
    rel, rel_p = model.rel_emb.weight[r, :D], model.rel_emb.weight[r, D:]

    def project(node: int) -> list[Tensor]:
        x = model.node_emb.weight[node, :D]
        x_p = model.node_emb.weight[node, D:]
        out = [sum((rel_p[i] * x_p[j] + float(i == j)) * x[j]
                   for j in range(D)) for i in range(D)]
        return [y / norm(out) for y in out]

    diff = [a + b / norm(rel) - c
            for a, b, c in zip(project(h), rel, project(t))]
    return model.margin - (norm(diff) if model.p_norm == 2 else
                           sum(abs(x) for x in diff))


@pytest.mark.parametrize('p', [1, 2])
@pytest.mark.parametrize('block', [1 << 24, 50])
def test_formula(p: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, 'BLOCK', block)
    model = TransD(N, R, D, margin=4.0, p_norm=p).double()
    check_formula(model, lambda *triple: reference(model, *triple))


def test_by_hand() -> None:
    model = TransD(2, 1, 2, margin=10.0)
    with torch.no_grad():
        # e = (1, 2), e_p = (3, 1): e_p e = 5; with r_p = (0, -1) it
        # projects to (1, -3). The other to (0, 4 - 4 2) = (0, -4).
        model.node_emb.weight.copy_(torch.tensor([[1., 2., 3., 1.],
                                                  [0., 4., 1., 2.]]))
        model.rel_emb.weight.copy_(torch.tensor([[0., 7., 0., -1.]]))
    zero, one = torch.tensor([0]), torch.tensor([1])
    expected = 10 - 1 / 10**0.5 - abs(-3 / 10**0.5 + 1 + 1)
    assert model(zero, zero, one).item() == pytest.approx(expected)


def test_candidates_are_projected_in_blocks(
        monkeypatch: pytest.MonkeyPatch) -> None:
    """No tensor of a block has more than BLOCK elements."""
    sizes = []

    class Spied(TransD):
        def key(self, x: Tensor, rel_type: Tensor, side: Side) -> Tensor:
            out = super().key(x, rel_type, side)
            sizes.append(out.numel())
            return out

    monkeypatch.setattr(backend, 'BLOCK', 4 * 6 * (D + 1))
    model = Spied(N, R, D)
    table, index = model.encode(), torch.randint(N, (11, 6))
    rel, rows = torch.randint(R, (11, )), table[torch.randint(N, (11, ))]
    out = model.score_candidates(table, rows, rel, rows, index, index > 3)
    out.sum().backward()
    assert out.shape == (11, 6)
    assert 11 * D < max(sizes) <= 4 * 6 * D


def test_start_of_training() -> None:
    """All four tables as Xavier, each by its own width."""
    model = TransD(500, 50, 40)
    assert isinstance(model.criterion, MarginRankingLoss)
    for weight, rows in ((model.node_emb.weight, 500),
                         (model.rel_emb.weight, 50)):
        bound = (6 / (rows + 40)) ** 0.5
        for part in weight.chunk(2, dim=-1):
            assert 0.98 * bound < part.abs().max().item() <= bound


def test_bad_input() -> None:
    with pytest.raises(ModelError, match=r"'p_norm' to be 1 or 2 \(got 0.5\)"):
        TransD(N, R, D, p_norm=0.5)
    with pytest.raises(ModelError, match="'hidden_channels' .*>= 1 .got"):
        TransD(N, R, 0)
