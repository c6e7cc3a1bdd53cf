"""Synthetic triples and their losses, by plain loops and complex numbers."""

import math

import pytest
import torch
from torch import Tensor

from pyg_mmkgc.nn import AdaMF, ModalityGenerator
from pyg_mmkgc.nn.adversarial import (
    Entities,
    call_reversed,
    discriminator_term,
    generator_term,
    synthesize,
    synthetic_scores,
)

N, R, D, B, L = 9, 2, 3, 4, 2
KINDS = ('head', 'tail', 'both')


@pytest.fixture
def model() -> AdaMF:
    return AdaMF(N, R, D, {'visual': torch.randn(N, 5),
                           'text': torch.randn(N, 2)}).double()


@pytest.fixture
def triples() -> tuple[Tensor, Tensor, Tensor]:
    return (torch.randint(N, (B, )), torch.randint(R, (B, )),
            torch.randint(N, (B, )))


def entities(model: AdaMF, index: Tensor) -> Entities:
    views = model.embed(index)
    return Entities(views, model.fuse(views))


def fakes() -> dict[str, Tensor]:
    """Made-up embeddings [L, B, C]; heads and tails ask in turn."""
    return {name: torch.randn(2, L, B, 2 * D, dtype=torch.double)
            for name in ('visual', 'text')}


def joint(model: AdaMF, views: dict[str, Tensor]) -> list[complex]:
    """Eqs. (4) and (5) for one node, as complex numbers."""
    names = ['structure', 'visual', 'text']
    w = model.fuser.weight.tolist()
    rows = [views[name].tolist() for name in names]
    top = [math.exp(sum(w[m][i] * math.tanh(rows[m][i])
                        for i in range(2 * D))) for m in range(3)]
    out = [sum(top[m] / sum(top) * rows[m][i] for m in range(3))
           for i in range(2 * D)]
    return [complex(out[i], out[D + i]) for i in range(D)]


def test_synthetic_scores(model: AdaMF, triples: tuple[Tensor, ...]) -> None:
    head, rel, tail = triples
    fake = fakes()
    calls: list[str] = []

    def generate(name: str, structure: Tensor) -> Tensor:
        calls.append(name)
        asked = head if calls.count(name) == 1 else tail
        assert torch.equal(structure, model.node_emb.weight[asked])
        return fake[name][calls.count(name) - 1]

    out = synthetic_scores(model, entities(model, head), rel,
                           entities(model, tail), ['visual', 'text'],
                           generate)
    assert set(out) == set(KINDS) and len(calls) == 4
    scale = math.pi / ((model.margin + 2) / D)
    for group in range(L):
        for b in range(B):
            real, star = [], []
            for end, index in enumerate((head, tail)):
                views = {name: x[b] for name, x in
                         model.embed(index).items()}
                real.append(joint(model, views))
                star.append(joint(model, views | {
                    name: x[end, group, b] for name, x in fake.items()}))
            turn = [complex(math.cos(x * scale), math.sin(x * scale))
                    for x in model.rel_emb.weight[rel[b]].tolist()]
            for kind, h, t in (('head', star[0], real[1]),
                               ('tail', real[0], star[1]),
                               ('both', star[0], star[1])):
                distance = sum(abs(h[i] * turn[i] - t[i]) for i in range(D))
                assert out[kind][group, b].item() == pytest.approx(
                    model.margin - distance, rel=1e-12)


@pytest.mark.parametrize('kinds', [('head', ), ('tail', ), ('both', ),
                                   ('head', 'both')])
def test_kinds_can_be_switched_off(
        kinds: tuple[str, ...], model: AdaMF,
        triples: tuple[Tensor, ...]) -> None:
    head, rel, tail = triples

    def generate(name: str, structure: Tensor) -> Tensor:
        return structure[None] * (2.0 if name == 'text' else -1.0)

    args = (model, entities(model, head), rel, entities(model, tail),
            ['visual', 'text'], generate)
    every, some = synthetic_scores(*args), synthetic_scores(*args, kinds)
    assert set(some) == set(kinds)
    assert all(torch.equal(some[kind], every[kind]) for kind in kinds)


def test_a_perfect_generator_gives_the_score_of_the_positive(
        model: AdaMF, triples: tuple[Tensor, ...]) -> None:
    head, rel, tail = triples
    calls: list[str] = []

    def generate(name: str, structure: Tensor) -> Tensor:
        calls.append(name)
        index = head if calls.count(name) == 1 else tail
        return model.embed(index)[name][None]

    out = synthetic_scores(model, entities(model, head), rel,
                           entities(model, tail), ['visual', 'text'],
                           generate)
    for kind in KINDS:
        assert torch.equal(out[kind][0], model(head, rel, tail))


def test_real_views_stay(model: AdaMF) -> None:
    """A modality without a generator keeps its real embedding."""
    views = model.embed(torch.arange(B))
    fake = torch.randn(1, B, 2 * D, dtype=torch.double)
    out = synthesize(model, views, ['text'], lambda *_: fake)
    torch.testing.assert_close(out, model.fuse(views | {'text': fake}))
    assert set(views) == {'structure', 'visual', 'text'}
    assert views['text'] is not fake


def log_sigmoid(x: float) -> float:
    return -math.log(1 + math.exp(-x))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def make_scores(kinds: tuple[str, ...] = KINDS) -> tuple[Tensor,
                                                        dict[str, Tensor]]:
    pos = torch.randn(B, dtype=torch.double, requires_grad=True)
    return pos, {kind: (2 * torch.randn(L, B, dtype=torch.double)
                        ).requires_grad_() for kind in kinds}


@pytest.mark.parametrize('kinds', [KINDS, ('tail', ), ('head', 'both')])
def test_discriminator_of_the_paper(kinds: tuple[str, ...]) -> None:
    """Eq. (10): one positive term, the mean over the |S| fakes."""
    pos, fake = make_scores(kinds)
    loss = discriminator_term(pos, fake)
    size = len(kinds) * L
    total = 0.0
    for b in range(B):
        total -= log_sigmoid(pos[b].item()) / B
        for kind in kinds:
            for group in range(L):
                s = fake[kind][group, b].item()
                total -= log_sigmoid(-s) / size / B
    assert loss.item() == pytest.approx(total, rel=1e-12)
    loss.backward()
    torch.testing.assert_close(pos.grad, pos.detach().neg().sigmoid() / -B)
    for kind in kinds:
        torch.testing.assert_close(fake[kind].grad,
                                   fake[kind].detach().sigmoid() / size / B)


@pytest.mark.parametrize('beta', [0.0, 2.0])
@pytest.mark.parametrize('kinds', [KINDS, ('tail', )])
def test_discriminator_of_the_released_code(kinds: tuple[str, ...],
                                            beta: float) -> None:
    """A positive term for each kind, a softmax over the batch; groups are
    averaged. The weights are constants.
    """
    pos, fake = make_scores(kinds)
    loss = discriminator_term(pos, fake, 'released', beta)
    total = 0.0
    for kind in kinds:
        total -= sum(log_sigmoid(v) for v in pos.tolist()) / B
        expected = torch.zeros(L, B, dtype=torch.double)
        for group in range(L):
            row = fake[kind][group].tolist()
            top = [math.exp(beta * s) for s in row]
            for b in range(B):
                weight = top[b] / sum(top) / L
                total -= weight * log_sigmoid(-row[b])
                expected[group, b] = weight * sigmoid(row[b])
        grad, = torch.autograd.grad(loss, fake[kind], retain_graph=True)
        torch.testing.assert_close(grad, expected)
    assert loss.item() == pytest.approx(total, rel=1e-12)
    grad, = torch.autograd.grad(loss, pos)
    torch.testing.assert_close(
        grad, -len(kinds) * pos.detach().neg().sigmoid() / B)


@pytest.mark.parametrize('kinds', [KINDS, ('head', )])
def test_generator_losses(kinds: tuple[str, ...]) -> None:
    _, fake = make_scores(kinds)
    values = [x.tolist() for x in fake.values()]
    paper = sum(log_sigmoid(-s) for kind in values for row in kind
                for s in row) / (len(kinds) * L * B)
    assert generator_term(fake).item() == pytest.approx(paper, rel=1e-12)
    released = -sum(log_sigmoid(s) for kind in values for row in kind
                    for s in row) / (L * B)
    assert generator_term(fake, 'released').item() == pytest.approx(
        released, rel=1e-12)


def test_paper_is_a_zero_sum_game() -> None:
    """The gradients of both losses at synthetic scores are opposite."""
    pos, fake = make_scores()
    inputs = list(fake.values())
    ours = torch.autograd.grad(discriminator_term(pos, fake), inputs)
    theirs = torch.autograd.grad(generator_term(fake), inputs)
    for x, y in zip(ours, theirs):
        torch.testing.assert_close(x, -y)


def test_reversed_call() -> None:
    """Parameters get the negated gradient, inputs the plain one."""
    generator = ModalityGenerator(4, 3, 5).double()
    structure = torch.randn(6, 4, dtype=torch.double, requires_grad=True)
    noise, target = torch.randn(6, 3).double(), torch.randn(6, 4).double()
    inputs = [structure, *generator.parameters()]
    out = generator(structure, noise)
    plain = torch.autograd.grad((out * target).sum(), inputs)
    reverse = call_reversed(generator, structure, noise)
    assert torch.equal(reverse, out)
    grads = torch.autograd.grad((reverse * target).sum(), inputs)
    torch.testing.assert_close(grads[0], plain[0])
    for x, y in zip(grads[1:], plain[1:]):
        torch.testing.assert_close(x, -y)
