"""OTE against its transforms, with Gram-Schmidt as a loop."""

import pytest
import torch
from torch import Tensor

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn import OTE

from .against_formula import check_formula, norm

N, R, D = 6, 2, 12
Rows = list[list[Tensor]]


def gram_schmidt(rows: Tensor) -> Rows:
    """Rows of length one, each at right angles to those before it."""
    out: Rows = []
    for row in rows:
        rest = list(row)
        for done in out:
            dot = sum(a * b for a, b in zip(row, done))
            rest = [a - dot * b for a, b in zip(rest, done)]
        out.append([x / norm(rest) for x in rest])
    return out


def transform(model: OTE, x: Tensor, r: int, inverse: bool = False) -> Rows:
    """T_r(x), or T'_r(x), block by block."""
    m = model.block_size
    S, scale = len(x) // m, model.rel_scale.weight[r]
    free = model.rel_emb.weight[r].view(S, m, m)
    out = []
    for i in range(S):
        turn = gram_schmidt(free[i])
        sign = -1 if inverse else 1
        row = [x[j * S + i] * (sign * scale[j * S + i]).exp()
               for j in range(m)]
        out.append([sum(row[j] * (turn[k][j] if inverse else turn[j][k])
                        for j in range(m)) for k in range(m)])
    return out


def distance(model: OTE, moved: Rows, x: Tensor) -> Tensor:
    """The sum of the norms of blocks."""
    S = len(moved)
    return sum(norm([moved[i][k] - x[k * S + i]
                     for k in range(len(moved[i]))]) for i in range(S))


def make(cls: type[OTE] = OTE, block_size: int = 3, channels: int = D) -> OTE:
    model = cls(N, R, channels, block_size=block_size, margin=4.0).double()
    with torch.no_grad():
        model.node_emb.weight.mul_(40)
        model.rel_emb.weight.normal_()
        model.rel_scale.weight.normal_(std=0.5)
    return model


@pytest.mark.parametrize('block_size, channels',
                         [(2, D), (3, D), (4, D), (6, 6)])
def test_formula(block_size: int, channels: int) -> None:
    model = make(block_size=block_size, channels=channels)
    x = model.node_emb.weight

    def score(h: int, r: int, t: int) -> Tensor:
        return 4.0 - (
            distance(model, transform(model, x[h], r), x[t]) +
            distance(model, transform(model, x[t], r, True), x[h])) / 2

    check_formula(model, score, num=4)


def test_matrices_are_orthogonal() -> None:
    model = make(block_size=4)
    (turn, which), scale = model.relation(torch.tensor([1, 0, 1]))
    assert turn.shape == (2, 3, 4, 4) and scale.shape == (3, 12)
    assert which.tolist() == [1, 0, 1]
    torch.testing.assert_close(turn @ turn.mT, torch.eye(
        4, dtype=torch.double).expand(2, 3, 4, 4))
    # An orthogonal matrix stays as it is, reflections included.
    q = torch.linalg.qr(torch.randn(3, 4, 4, dtype=torch.double))[0]
    with torch.no_grad():
        model.rel_emb.weight[0] = q.flatten()
    torch.testing.assert_close(model.relation(torch.tensor([0]))[0][0][0], q)


def test_both_transforms_undo_each_other_without_scales() -> None:
    """Then both distances are the same."""
    model = make()
    torch.nn.init.zeros_(model.rel_scale.weight)
    turn, scale = model.relation(torch.arange(R))
    x = torch.randn(R, D, dtype=torch.double)
    back = model.turn(model.turn(x * scale, turn) / scale, turn, back=True)
    torch.testing.assert_close(back, x)


def test_start_of_training() -> None:
    model = OTE(50, 20, 40, block_size=20)
    assert 0.0099 < model.node_emb.weight.abs().max().item() <= 0.01
    assert (model.rel_emb.weight >= 0).all()
    assert not model.rel_scale.weight.any()
    assert model.relation(torch.arange(20))[0][0].isfinite().all()


def test_autocast_keeps_transforms_in_full_precision() -> None:
    model = make().float()
    args = (torch.arange(4), torch.tensor([0, 1, 0, 1]), torch.arange(2, 6))
    with torch.autocast('cpu', torch.bfloat16):
        out = model(*args)
    assert torch.equal(out, model(*args))


def test_bad_input() -> None:
    with pytest.raises(ModelError, match="'hidden_channels' to be a multiple"
                       r'.*\(got 12, block_size=5 '):
        OTE(N, R, D, block_size=5)
    with pytest.raises(
            ModelError, match="'block_size' to be at least 2.* block_size=1 "):
        OTE(N, R, D, block_size=1)
    with pytest.raises(
            ModelError, match=r"'margin' to be positive.* margin=-2.0\)"):
        OTE(N, R, D, margin=-2.0)
