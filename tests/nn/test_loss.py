"""Losses by plain loops in double precision."""

import math

import pytest
import torch
from torch import Tensor

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn import (
    BCELoss,
    KvsAllLoss,
    MarginRankingLoss,
    OneVsAllLoss,
    SelfAdversarialLoss,
)

B, K = 4, 5


def log_sigmoid(x: float) -> float:
    return -math.log(1 + math.exp(-x))


@pytest.fixture
def scores() -> tuple[Tensor, Tensor]:
    pos = 3 * torch.randn(B, dtype=torch.double)
    neg = 3 * torch.randn(B, K, dtype=torch.double)
    return pos.requires_grad_(), neg.requires_grad_()


def softmax(values: list[float]) -> list[float]:
    top = [math.exp(v) for v in values]
    return [v / sum(top) for v in top]


@pytest.mark.parametrize('beta', [0.0, 0.5, 2.0])
def test_self_adversarial(beta: float, scores: tuple[Tensor, Tensor]) -> None:
    pos, neg = scores
    loss = SelfAdversarialLoss(beta)(pos, neg)
    total = 0.0
    grad_pos, grad_neg = torch.zeros(B), torch.zeros(B, K)
    for b in range(B):
        p = softmax([beta * v for v in neg[b].tolist()])  # eq. (8)
        total -= log_sigmoid(pos[b].item())  # eq. (7)
        grad_pos[b] = -1 / (1 + math.exp(float(pos[b]))) / B
        for k in range(K):
            s = float(neg[b, k])
            total -= p[k] * log_sigmoid(-s)
            # The weights p are constants.
            grad_neg[b, k] = p[k] / (1 + math.exp(-s)) / B
    assert float(loss) == pytest.approx(total / B, rel=1e-12)
    loss.backward()
    torch.testing.assert_close(pos.grad.float(), grad_pos)
    torch.testing.assert_close(neg.grad.float(), grad_neg)


def test_hard_negatives_weigh_more(scores: tuple[Tensor, Tensor]) -> None:
    """The printed sign in eq. (8) would prefer easy negatives."""
    pos, neg = torch.zeros(1), torch.tensor([[4.0, -4.0]], requires_grad=True)
    losses = [float(SelfAdversarialLoss(beta)(pos, neg).detach())
              for beta in (0.0, 1.0, 2.0)]
    assert losses == sorted(losses) and losses[0] < losses[2]


def test_weights_in_the_loss_get_no_gradient() -> None:
    neg = torch.randn(1, K, dtype=torch.double, requires_grad=True)
    pos = torch.zeros(1, dtype=torch.double)
    SelfAdversarialLoss(2.0)(pos, neg).backward()
    attached = neg.detach().clone().requires_grad_()
    weight = (2 * attached).softmax(-1)
    (-(weight * torch.nn.functional.logsigmoid(-attached)).sum()).backward()
    assert not torch.allclose(neg.grad, attached.grad)


def test_extreme_scores_stay_finite() -> None:
    pos = torch.tensor([-1e4, 1e4], requires_grad=True)
    neg = torch.tensor([[1e4, -1e4], [-1e4, -1e4]], requires_grad=True)
    loss = SelfAdversarialLoss()(pos, neg)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(1e4)
    assert pos.grad.isfinite().all() and neg.grad.isfinite().all()


@pytest.mark.parametrize('margin', [0.0, 1.0, 6.0])
def test_margin(margin: float, scores: tuple[Tensor, Tensor]) -> None:
    pos, neg = scores
    total = sum(max(0.0, margin - float(pos[b]) + float(neg[b, k]))
                for b in range(B) for k in range(K))
    loss = MarginRankingLoss(margin)(pos, neg)
    assert float(loss) == pytest.approx(total / (B * K), rel=1e-12)


def test_bce(scores: tuple[Tensor, Tensor]) -> None:
    pos, neg = scores
    total = -sum(log_sigmoid(v) for v in pos.tolist()) / B
    total -= sum(log_sigmoid(-v) for v in neg.flatten().tolist()) / (B * K)
    assert float(BCELoss()(pos, neg)) == pytest.approx(total, rel=1e-12)


def test_one_vs_all() -> None:
    scores = torch.randn(B, 7, dtype=torch.double)
    target = torch.tensor([0, 6, 3, 3])
    total = -sum(math.log(softmax(scores[b].tolist())[int(target[b])])
                 for b in range(B))
    loss = OneVsAllLoss()(scores, target)
    assert float(loss) == pytest.approx(total / B, rel=1e-12)


@pytest.mark.parametrize('smoothing', [0.0, 0.1])
def test_k_vs_all(smoothing: float) -> None:
    scores = torch.randn(B, 7, dtype=torch.double, requires_grad=True)
    labels = (torch.rand(B, 7) < 0.3).float()
    total, grad = 0.0, torch.zeros(B, 7, dtype=torch.double)
    for b in range(B):
        for n in range(7):
            s = scores[b, n].item()
            y = (1 - smoothing) * labels[b, n].item() + smoothing / 7
            total -= y * log_sigmoid(s) + (1 - y) * log_sigmoid(-s)
            grad[b, n] = (1 / (1 + math.exp(-s)) - y) / (7 * B)
    loss = KvsAllLoss(smoothing)(scores, torch.zeros(B).long(), labels)
    assert float(loss.detach()) == pytest.approx(total / (7 * B), rel=1e-6)
    loss.backward()
    torch.testing.assert_close(scores.grad, grad, rtol=1e-6, atol=1e-8)


def test_losses_on_all_nodes_stay_finite() -> None:
    scores = torch.tensor([[-1e4, 1e4, 0.0]], requires_grad=True)
    for loss in (OneVsAllLoss(), KvsAllLoss(0.1)):
        scores.grad = None
        out = loss(scores, torch.tensor([0]), torch.tensor([[1., 0., 0.]]))
        out.backward()
        assert out.isfinite() and scores.grad.isfinite().all()


def test_k_vs_all_needs_labels() -> None:
    assert KvsAllLoss.needs_labels and not OneVsAllLoss.needs_labels
    with pytest.raises(ModelError, match=r"'labels'.*KvsAllLoss \(got None\)"):
        KvsAllLoss()(torch.zeros(1, 3), torch.tensor([0]))
    for smoothing in (-0.1, 1.0):
        with pytest.raises(ModelError, match="'label_smoothing' to be in "
                           rf'\[0, 1\) \(got {smoothing}\)'):
            KvsAllLoss(smoothing)


def test_options_are_printed() -> None:
    """Checkpoints identify a loss by this text."""
    assert 'temperature=2.0' in repr(SelfAdversarialLoss(2.0))
    assert 'margin=3.0' in repr(MarginRankingLoss(3.0))
    assert 'label_smoothing=0.1' in repr(KvsAllLoss(0.1))


@pytest.mark.parametrize('loss', [
    SelfAdversarialLoss(0.7), MarginRankingLoss(0.5), BCELoss()])
def test_weights_of_positives(loss) -> None:
    """An integer weight repeats a positive."""
    pos, neg = torch.randn(3).double(), torch.randn(3, 4).double()
    weight = torch.tensor([2, 1, 3])
    again = torch.arange(3).repeat_interleave(weight)
    torch.testing.assert_close(loss(pos, neg, weight.double()),
                               loss(pos[again], neg[again]))
    torch.testing.assert_close(loss(pos, neg, torch.full((3, ), 0.2)),
                               loss(pos, neg), check_dtype=False)


@pytest.mark.parametrize('loss', [OneVsAllLoss(), KvsAllLoss(0.1)])
@pytest.mark.parametrize('sizes', [(4, 3), (1, 5, 1), (7, 0)])
def test_parts_of_nodes_add_up(loss, sizes) -> None:
    """Processes score some of the nodes each."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(5, 7, generator=generator, dtype=torch.double)
    labels = (torch.rand(5, 7, generator=generator) < 0.3).double()
    target = torch.randint(7, (5, ), generator=generator)
    whole = scores.clone().requires_grad_()
    expected = loss(whole, target, labels)
    expected.backward()

    own = torch.stack([x.logsumexp(dim=1) for x in scores.split(
        list(sizes), dim=1)])
    total, start = torch.zeros((), dtype=torch.double), 0
    for size in sizes:
        part = scores[:, start:start + size].clone().requires_grad_()
        place = target - start
        place[(place < 0) | (place >= size)] = -1
        out = loss.part(part, place, labels[:, start:start + size], 7,
                        lambda x: own)
        out.backward()
        torch.testing.assert_close(part.grad,
                                   whole.grad[:, start:start + size])
        total, start = total + out.detach(), start + size
    torch.testing.assert_close(total, expected.detach())
