"""TransH against projections onto hyperplanes, in loops."""

import pytest
import torch
from torch import Tensor

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn import MarginRankingLoss, TransH

from .against_formula import check_formula, norm

N, R, D = 7, 3, 4


def reference(model: TransH, h: int, r: int, t: int) -> Tensor:
    """The score by the full matrix I - w w^T."""
    d, w = model.rel_emb.weight[r, :D], model.rel_emb.weight[r, D:]
    w = [x / norm(w) for x in w]

    def project(node: int) -> list[Tensor]:
        x = model.node_emb.weight[node]
        return [sum((float(i == j) - w[i] * w[j]) * x[j] for j in range(D))
                for i in range(D)]

    diff = [a + b - c for a, b, c in zip(project(h), d, project(t))]
    return model.margin - (norm(diff) if model.p_norm == 2 else
                           sum(abs(x) for x in diff))


@pytest.mark.parametrize('p', [1, 2])
def test_formula(p: int) -> None:
    model = TransH(N, R, D, margin=4.0, p_norm=p).double()
    check_formula(model, lambda *triple: reference(model, *triple))


def test_by_hand() -> None:
    model = TransH(2, 1, 2, margin=10.0)
    with torch.no_grad():
        # w = (3, 4) / 5. The first entity, (5, 0), has w e = 3 and projects
        # to (5, 0) - 3 (0.6, 0.8) = (3.2, -2.4); the second, a multiple of w,
        # to zero.
        model.node_emb.weight.copy_(torch.tensor([[5., 0.], [-6., -8.]]))
        model.rel_emb.weight.copy_(torch.tensor([[1., 2., 3., 4.]]))
    zero, one = torch.tensor([0]), torch.tensor([1])
    assert model(zero, zero, one).item() == pytest.approx(10 - 4.2 - 0.4)
    assert model(one, zero, zero).item() == pytest.approx(10 - 2.2 - 4.4)


def test_what_is_normal_to_the_hyperplane_does_not_count() -> None:
    model = TransH(N, R, D).double()
    head, rel, tail = torch.arange(6), torch.tensor([0, 1, 2] * 2), 6
    before = model(head, rel, torch.full_like(head, tail))
    with torch.no_grad():
        model.node_emb.weight[tail] += 7 * model.rel_emb.weight[1, D:]
        model.rel_emb.weight[:, D:] *= -3  # Its length and sign, neither.
    after = model(head, rel, torch.full_like(head, tail))
    torch.testing.assert_close(after[rel == 1], before[rel == 1])
    assert not torch.isclose(after[rel != 1], before[rel != 1]).any()


def test_start_of_training() -> None:
    """All three tables as Xavier, each by its own width."""
    model = TransH(500, 50, 40)
    assert isinstance(model.criterion, MarginRankingLoss)
    for part, rows in ((model.node_emb.weight, 500),
                       *((x, 50) for x in model.rel_emb.weight.chunk(2, -1))):
        bound = (6 / (rows + 40)) ** 0.5
        assert part.shape == (rows, 40)
        assert 0.98 * bound < part.abs().max().item() <= bound


def test_bad_input() -> None:
    with pytest.raises(ModelError,
                       match=r"'p_norm' to be 1 or 2 \(got 0.5\)"):
        TransH(N, R, D, p_norm=0.5)
    with pytest.raises(ModelError,
                       match=r"'margin' to be positive \(got -1.0\)"):
        TransH(N, R, D, margin=-1.0)
    with pytest.raises(ModelError, match='hidden_channels'):
        TransH(N, R, 0)
