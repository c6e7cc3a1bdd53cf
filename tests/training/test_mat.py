"""Tests of MAT against eqs. (10) and (11) for both parities."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch_geometric.nn import TransE

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn import AdaMF, AdaMFMAT, SelfAdversarialLoss
from pyg_mmkgc.sampler import Negatives
from pyg_mmkgc.training import MAT, Batch
from pyg_mmkgc.training.batch import Completion, complete, encode_batch

N, R, D, B, Z = 10, 3, 3, 5, 2
NAMES = ['visual', 'text']
KINDS = ('head', 'tail', 'both')
# The step of the generators encodes the nodes again.
NOTHING = Completion(torch.zeros(()))


def make_model() -> AdaMF:
    x = {'visual': torch.randn(N, 4), 'text': torch.randn(N, 2)}
    return AdaMF(N, R, D, x, margin=3.0).double()


def make_batch(seed: int = 4) -> Batch:
    return Batch(torch.randint(N, (B, )), torch.randint(R, (B, )),
                 torch.randint(N, (B, )),
                 torch.Generator().manual_seed(seed),
                 Negatives(torch.randint(N, (B, 4)), torch.rand(B, 4) < 0.5))


def make(model: AdaMF, **kwargs: Any) -> MAT:
    return MAT.from_model(model, noise_channels=Z, generator_channels=6,
                          **kwargs).double()


def encoded(model: AdaMF, batch: Batch) -> Completion:
    """Encodes the nodes of a batch without scoring them."""
    return Completion(torch.zeros(()), encode_batch(model, batch))


def scores(model: AdaMF, mat: MAT, batch: Batch,
           seed: int = 4) -> tuple[Tensor, dict[str, Tensor]]:
    """Scores positives [B] and synthetic triples [L, B] in complex numbers.
    The noise is drawn for heads first, and for one modality after the other.
    """
    generator = torch.Generator().manual_seed(seed)
    real, star = [], []
    for index in (batch.head_index, batch.tail_index):
        structure = model.node_emb.weight[index]
        views = [structure] + [
            model.encoders[n].x[index] @ model.encoders[n].lin.weight.t()
            + model.encoders[n].lin.bias for n in NAMES]
        fake = [structure.expand(mat.groups, B, -1)]
        for name in NAMES:
            noise = torch.randn(mat.groups, B, Z, generator=generator)
            g = mat.generators[name]
            x = torch.cat([fake[0], noise.double()], dim=-1)  # [e_s ; z]
            x = x @ g.lin1.weight.t() + g.lin1.bias
            x = torch.maximum(x, 0.01 * x)
            fake.append(x @ g.lin2.weight.t() + g.lin2.bias)
        for out, rows in ((real, views), (star, fake)):
            stack = torch.stack(rows)  # [M, ..., 2 * D]
            w = model.fuser.weight.view(3, *[1] * (stack.dim() - 2), 2 * D)
            top = (w * stack.tanh()).sum(-1, keepdim=True).exp()
            joint = (top / top.sum(0) * stack).sum(0)
            out.append(torch.complex(joint[..., :D], joint[..., D:]))
    theta = model.rel_emb.weight[batch.rel_type] * (
        math.pi * D / (model.margin + 2))
    turn = torch.polar(torch.ones_like(theta), theta)

    def score(h: Tensor, t: Tensor) -> Tensor:
        return model.margin - (h * turn - t).abs().sum(-1)

    fakes = {'head': score(star[0], real[1]), 'tail': score(real[0], star[1]),
             'both': score(star[0], star[1])}
    return score(*real), {kind: fakes[kind] for kind in mat.kinds}


def log_sigmoid(x: Tensor) -> Tensor:
    return -(1 + (-x).exp()).log()


def discriminator(pos: Tensor, fake: dict[str, Tensor], mat: MAT) -> Tensor:
    total = pos.new_zeros(())
    if mat.parity == 'paper':
        size = len(fake) * mat.groups
        for b in range(B):
            total = total - log_sigmoid(pos[b]) / B
            for kind in fake.values():
                total = total - log_sigmoid(-kind[:, b]).sum() / size / B
        return total
    for kind in fake.values():
        total = total - log_sigmoid(pos).sum() / B
        for group in kind:
            top = (mat.temperature * group.detach()).exp()
            total = total - (top / top.sum() * log_sigmoid(-group)).sum() / (
                mat.groups)
    return total


def generator(fake: dict[str, Tensor], mat: MAT) -> Tensor:
    if mat.parity == 'paper':
        return sum(log_sigmoid(-kind).sum() for kind in fake.values()) / (
            B * mat.groups * len(fake))
    return -sum(log_sigmoid(kind).sum()
                for kind in fake.values()) / (B * mat.groups)


def all_params(model: AdaMF, mat: MAT) -> dict[str, Tensor]:
    return dict([*model.named_parameters(), *mat.named_parameters()])


options = pytest.mark.parametrize('kwargs', [
    {'parity': parity, 'groups': groups, 'kinds': kinds}
    for parity in ('paper', 'released')
    for groups, kinds in ((1, KINDS), (3, KINDS), (1, ('head', 'both')),
                          (2, ('tail', )), (1, ('head', )),
                          (1, ('both', )))])


@options
def test_discriminator_loss(kwargs: dict[str, Any]) -> None:
    model, batch = make_model(), make_batch()
    mat = make(model, **kwargs)
    params = all_params(model, mat)
    expected = discriminator(*scores(model, mat, batch), mat)
    got = mat.discriminator_loss(model, batch, encoded(model, batch))
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=0)
    for x, y, name in zip(
            torch.autograd.grad(got, list(params.values())),
            torch.autograd.grad(expected, list(params.values())), params):
        torch.testing.assert_close(x, y, rtol=1e-6, atol=1e-12,
                                   msg=lambda m, n=name: f'{n}: {m}')


def test_the_generators_step_leaves_the_model_out() -> None:
    """The model gets no gradients, and keeps its trainable parameters."""
    x = {'visual': torch.randn(N, 4), 'text': torch.randn(N, 2)}
    for model in (make_model(), AdaMFMAT(N, R, D, x).double()):
        model.rel_emb.requires_grad_(False)
        before = [p.requires_grad for p in model.parameters()]
        mat = MAT.from_model(model).double()
        mat.generator_loss(model, make_batch(), NOTHING).backward()
        theirs = {id(p) for p in mat.parameters()}
        for p in model.parameters():
            assert (p.grad is not None) == (id(p) in theirs)
        assert [p.requires_grad for p in model.parameters()] == before
        model.score = None  # type: ignore[assignment,method-assign]
        with pytest.raises(TypeError):
            mat.generator_loss(model, make_batch(), NOTHING)
        assert [p.requires_grad for p in model.parameters()] == before


@options
def test_generator_loss(kwargs: dict[str, Any]) -> None:
    model, batch = make_model(), make_batch()
    mat = make(model, **kwargs)
    expected = generator(scores(model, mat, batch)[1], mat)
    got = mat.generator_loss(model, batch, NOTHING)
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=0)
    params = list(mat.parameters())
    for x, y in zip(torch.autograd.grad(got, params),
                    torch.autograd.grad(expected, params)):
        torch.testing.assert_close(x, y, rtol=1e-6, atol=1e-12)


def test_a_missing_detach_is_caught() -> None:
    """The softmax over the batch is a constant. If it were attached, the
    comparison above would see a different gradient.
    """
    model, batch = make_model(), make_batch()
    mat = make(model, parity='released')
    pos, fake = scores(model, mat, batch)
    attached = -3 * log_sigmoid(pos).mean() - sum(
        ((2 * x).softmax(-1) * log_sigmoid(-x)).sum() for x in fake.values())
    got = mat.discriminator_loss(model, batch, encoded(model, batch))
    torch.testing.assert_close(got, attached)
    weight = model.node_emb.weight
    with pytest.raises(AssertionError):
        torch.testing.assert_close(
            torch.autograd.grad(got, weight)[0],
            torch.autograd.grad(attached, weight)[0], rtol=1e-6, atol=1e-12)


def test_structure_learns_through_the_generators() -> None:
    """A detached input of the generators changes the gradient."""
    model, batch = make_model(), make_batch()
    mat = make(model)
    weight = model.node_emb.weight
    done = encoded(model, batch)
    right, = torch.autograd.grad(
        mat.discriminator_loss(model, batch, done), weight, retain_graph=True)
    batch.generator.manual_seed(4)
    detached = MAT(mat.generators, detach=True)
    asked_for, = torch.autograd.grad(
        detached.discriminator_loss(model, batch, done), weight,
        retain_graph=True)
    batch.generator.manual_seed(4)
    for module in mat.generators.values():
        module.register_forward_pre_hook(
            lambda _, args: (args[0].detach(), args[1]))
    wrong, = torch.autograd.grad(
        mat.discriminator_loss(model, batch, done), weight)
    assert not torch.allclose(right, wrong)
    torch.testing.assert_close(asked_for, wrong)


def test_views_of_the_step_are_reused() -> None:
    """After `complete`, the loss is the same without encoding nodes or scoring
    positives again.
    """
    model, batch = make_model(), make_batch()
    mat = make(model)
    first = mat.discriminator_loss(model, batch, encoded(model, batch))
    batch.generator.manual_seed(4)
    done, calls = complete(model, SelfAdversarialLoss(), batch), []
    score = model.score
    model.embed = None  # type: ignore[assignment,method-assign]
    model.score = lambda *args: calls.append(  # type: ignore[method-assign]
        args) or score(*args)
    torch.testing.assert_close(
        mat.discriminator_loss(model, batch, done), first)
    assert len(calls) == 3  # The three kinds of synthetic triples.


def test_generators_of_the_model() -> None:
    x = {'visual': torch.randn(N, 4), 'text': torch.randn(N, 2)}
    model = AdaMFMAT(N, R, D, x, generator_channels=4)
    assert MAT.from_model(model).generators is model.generators
    other = MAT.from_model(make_model(), noise_channels=7)
    assert list(other.generators) == NAMES
    assert other.generators['text'].lin1.weight.shape == (512, 2 * D + 7)


def test_models_that_mat_cannot_train() -> None:
    mat = MAT.from_model(make_model())
    x = {'visual': torch.randn(N, 4), 'text': torch.randn(N, 2)}
    for model in (TransE(N, R, D), AdaMF(N, R, D),
                  AdaMF(N, R, D, x, structure=False),
                  AdaMF(N, R, D, {'text': x['text']})):
        with pytest.raises(ModelError, match=f"got '{type(model).__name__}'"):
            mat.check(model)
    for model in (TransE(N, R, D), AdaMF(N, R, D),
                  AdaMF(N, R, D, x, structure=False)):
        with pytest.raises(ModelError, match="for 'MAT' .got "
                           f"'{type(model).__name__}'"):
            MAT.from_model(model)


@pytest.mark.parametrize('kwargs, message', [
    ({'weight': -0.1}, "'weight' to be non-negative .got -0.1"),
    ({'weight': math.nan}, "'weight' to be non-negative .got nan"),
    ({'groups': 0}, "'groups' .*>= 1 .got 0"),
    ({'kinds': ()}, r"'kinds'.*got \(\)"),
    ({'kinds': ('head', 'side')}, "got .'head', 'side'"),
    ({'parity': 'mine'}, "'parity' to .*got 'mine'")])
def test_bad_options(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        MAT.from_model(make_model(), **kwargs)
    with pytest.raises(ModelError, match=r"'generators'.*got ModuleDict"):
        MAT(torch.nn.ModuleDict())


def test_repr_names_the_options() -> None:
    """Checkpoints identify an adversary by its representation."""
    text = repr(MAT.from_model(make_model(), weight=0.25, groups=2,
                               kinds=['tail'], parity='released',
                               temperature=0.75))
    for part in ('weight=0.25', 'groups=2', "kinds=('tail',)",
                 "parity='released'", 'temperature=0.75'):
        assert part in text
