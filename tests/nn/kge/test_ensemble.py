"""The score of several experts."""

import pytest
import torch

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn.kge import mose as ensemble
from pyg_mmkgc.nn.kge.mose import ENSEMBLES, Ensemble

R, M = 4, 3


@pytest.mark.parametrize('mode', ENSEMBLES)
def test_starts_as_the_mean(mode: str) -> None:
    scores = torch.randn(2, 5, M)
    out = Ensemble(mode, R, M)(scores, torch.randint(R, (2, 1)))
    torch.testing.assert_close(out, scores.mean(dim=-1))


def test_weights_of_relations() -> None:
    model = Ensemble('boosted', R, M)
    model.weight.copy_(torch.rand(R, M))
    scores, rel = torch.randn(2, 5, M), torch.tensor([[3], [1 + R]])
    out = model(scores, rel)
    for q, r in enumerate((3, 1)):
        for n in range(5):
            wanted = sum(float(model.weight[r, m] * scores[q, n, m])
                         for m in range(M))
            assert out[q, n].item() == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize('block', [1 << 19, 3])
def test_perceptron(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ensemble, 'BLOCK', block)
    model = Ensemble('learned', R, M, hidden_channels=4).double()
    for p in model.parameters():
        p.normal_()
    first, _, last = model.mlp
    scores = torch.randn(2, 5, M, dtype=torch.double)
    out = model(scores, torch.zeros(2, 1, dtype=torch.long))
    for q in range(2):
        for n in range(5):
            hidden = [max(0.0, float(first.weight[c] @ scores[q, n] +
                                     first.bias[c])) for c in range(4)]
            wanted = float(scores[q, n].mean() + last.bias[0]) + sum(
                float(last.weight[0, c]) * hidden[c] for c in range(4))
            assert out[q, n].item() == pytest.approx(wanted)


def test_bad_input() -> None:
    with pytest.raises(ModelError, match=r"'ensemble' to be.*\(got 'best'\)"):
        Ensemble('best', R, M)
