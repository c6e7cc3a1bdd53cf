"""Tests of perturbed views of positives against plain loops."""

import pytest
import torch
from torch_geometric.nn import TransE

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn import AdaMF, OneVsAllLoss, SelfAdversarialLoss
from pyg_mmkgc.nn.generator import ModalityGenerator
from pyg_mmkgc.sampler import Negatives
from pyg_mmkgc.training import AdversarialTrainer, Batch, Perturbation
from pyg_mmkgc.training.batch import Completion, complete

N, R, B, K = 12, 3, 5, 4


def make_model() -> AdaMF:
    return AdaMF(N, R, 3, {'visual': torch.randn(N, 4),
                           'text': torch.randn(N, 5)}).double()


def make_batch(model: AdaMF) -> tuple[Batch, Completion]:
    batch = Batch(torch.randint(N, (B, )), torch.randint(R, (B, )),
                  torch.randint(N, (B, )), torch.Generator().manual_seed(3),
                  Negatives(torch.randint(N, (B, K)), torch.rand(B, K) < 0.5))
    return batch, complete(model, SelfAdversarialLoss(), batch)


def test_fast_gradient_sign_by_loops() -> None:
    model = make_model()
    batch, done = make_batch(model)
    adversary = Perturbation(epsilon=0.05, margin=2.0)
    got = adversary.discriminator_loss(model, batch, done)
    params = list(model.parameters())
    ours = torch.autograd.grad(got, params, retain_graph=True)
    total = 0.0
    for b in range(B):
        h, r, t = (x[b] for x in (batch.head_index, batch.rel_type,
                                  batch.tail_index))
        moved = []
        for at_head in (True, False):
            views = {name: x.detach() for name, x in model.embed(
                h if at_head else t).items()}
            other = model.encode(t if at_head else h).detach()
            step = {name: torch.zeros_like(x) for name, x in views.items()}
            for name in views:
                for i in range(views[name].numel()):  # A finite difference.
                    values = []
                    for sign in (1, -1):
                        near = {**views, name: views[name].clone()}
                        near[name][i] += sign * 1e-6
                        joint = model.fuse(near)
                        values.append(float((
                            model.score(joint, r, other) if at_head else
                            model.score(other, r, joint)).detach()))
                    step[name][i] = -0.05 if values[0] > values[1] else 0.05
            live = model.embed(h if at_head else t)
            moved.append(model.fuse({name: x + step[name]
                                     for name, x in live.items()}))
        perturbed = model.score(moved[0], r, moved[1])
        assert float(perturbed.detach()) < float(done.scored.pos[b].detach())
        for k in range(K):
            total = total + (2.0 - perturbed + done.scored.neg[b, k]).clamp(
                min=0)
    torch.testing.assert_close(got, total / (B * K))
    for x, y in zip(ours, torch.autograd.grad(total / (B * K), params)):
        torch.testing.assert_close(x, y)


def test_noise() -> None:
    model = make_model()
    batch, done = make_batch(model)
    got = Perturbation(mode='noise', epsilon=0.3, margin=2.0)
    loss = got.discriminator_loss(model, batch, done)
    generator = torch.Generator().manual_seed(3)
    moved = []
    for index in (batch.head_index, batch.tail_index):
        views = model.embed(index)
        moved.append(model.fuse({
            name: x + 0.3 * torch.randn(B, x.size(1),
                                        generator=generator).double()
            for name, x in views.items()}))
    perturbed = model.score(moved[0], batch.rel_type, moved[1])
    torch.testing.assert_close(
        loss, (2.0 - perturbed[:, None] + done.scored.neg).relu().mean())
    assert not torch.equal(got.discriminator_loss(model, batch, done), loss)


@pytest.mark.parametrize('mode', ['fgsm', 'noise', 'generator'])
def test_absent_views_stay_absent(mode, monkeypatch) -> None:
    mask = torch.arange(N) % 2 == 0
    model = AdaMF(N, R, 3, {'visual': torch.randn(N, 4)}, {'visual': mask},
                  missing='drop').double()
    batch, done = make_batch(model)
    generator = ModalityGenerator(6, 2, 7).double()
    adversary = Perturbation(generator if mode == 'generator' else None, mode)
    fused = []
    fuse = model.fuse
    monkeypatch.setattr(model, 'fuse', lambda views: fused.append(
        views) or fuse(views))
    adversary.discriminator_loss(model, batch, done)
    for views, index in zip(fused[-2:], (batch.head_index, batch.tail_index)):
        assert torch.equal((views['visual'] != 0).any(dim=-1), mask[index])
        assert bool((views['structure'] != model.node_emb(index)).any())


def test_generator_mode_by_loops() -> None:
    """All views share a perturbation, and both hinge losses match."""
    model = make_model()
    batch, done = make_batch(model)
    generator = ModalityGenerator(6, 2, 7).double()
    adversary = Perturbation(generator, 'generator', margin=0.7)
    for loss in ('discriminator_loss', 'generator_loss'):
        state = batch.generator.get_state()
        got = getattr(adversary, loss)(model, batch, done)
        batch.generator.set_state(state)
        noise = [torch.randn(B, 2, generator=batch.generator).double()
                 for _ in range(2)]
        total = 0.0
        for b in range(B):
            moved = []
            for side, index in enumerate((batch.head_index,
                                          batch.tail_index)):
                views = model.embed(index[b])
                a = generator(views['structure'], noise[side][b])
                moved.append(model.fuse({name: x + a
                                         for name, x in views.items()}))
            fake = model.score(moved[0], batch.rel_type[b], moved[1])
            pos = model(batch.head_index[b], batch.rel_type[b],
                        batch.tail_index[b])
            gap = fake - pos if loss == 'discriminator_loss' else pos - fake
            total = total + (0.7 + gap).clamp(min=0) / B
        torch.testing.assert_close(got, total)
        mine = list(generator.parameters())
        for x, y in zip(torch.autograd.grad(got, mine, retain_graph=True),
                        torch.autograd.grad(total, mine)):
            torch.testing.assert_close(x, y)


def make(kg, mode: str, **kwargs) -> AdversarialTrainer:  # noqa: ANN001
    torch.manual_seed(kwargs.pop('init', 0))
    model = AdaMF.from_data(kg, 4)
    return AdversarialTrainer(
        model, kg, adversary=Perturbation.from_model(
            model, mode, generator_channels=6, noise_channels=2), **{
            'batch_size': 50, 'epochs': 3, 'lr': 0.02, 'valid_every': 1,
            'generator_lr': 0.01, 'progress': False, **kwargs})


@pytest.mark.parametrize('mode', ['fgsm', 'noise', 'generator'])
def test_trains_and_resumes(kg, mode, state, same, tmp_path) -> None:
    whole = make(kg, mode)
    history = whole.fit()
    assert ('generator_loss' in history.epochs[0]) == (mode == 'generator')
    assert ('adversary' in whole.optimizers) == (mode == 'generator')
    make(kg, mode, folder=tmp_path, epochs=2).fit()
    resumed = make(kg, mode, init=9, folder=tmp_path)
    resumed.fit(resume=True)
    same(state(resumed), state(whole))


def test_each_step_leaves_the_other_side(kg, monkeypatch) -> None:
    from pyg_mmkgc.training import adversarial_trainer as module
    trainer, calls = make(kg, 'generator'), []
    step = module.minimize

    def watch(*args) -> torch.Tensor:  # noqa: ANN002
        before = [[p.detach().clone() for p in side.parameters()]
                  for side in (trainer.model, trainer.adversary)]
        total = step(*args)
        mine = int(args[2] is trainer.optimizers['adversary'])
        for i, side in enumerate((trainer.model, trainer.adversary)):
            same = [torch.equal(x, y) for x, y in zip(
                before[i], side.parameters())]
            assert not any(same) if i == mine else all(same)
        calls.append('DG'[mine])
        return total

    monkeypatch.setattr(module, 'minimize', watch)
    trainer.fit()
    assert ''.join(calls) == 'DG' * 9


def test_bad_input(kg) -> None:
    model = make_model()
    for other in (TransE(N, R, 4), AdaMF(N, R, 4),
                  AdaMF(N, R, 4, {'text': torch.randn(N, 2)},
                        structure=False)):
        with pytest.raises(ModelError, match="for 'Perturbation' .got "
                           f"'{type(other).__name__}'"):
            Perturbation().check(other)
        with pytest.raises(ModelError, match="'Perturbation' .got '"):
            Perturbation.from_model(other)
    with pytest.raises(ModelError, match="'mode' to be .*got 'pgd'"):
        Perturbation(mode='pgd')
    with pytest.raises(ModelError, match="mode='generator' .got .*None"):
        Perturbation(mode='generator')
    with pytest.raises(ModelError, match="mode='fgsm' with 'Modali"):
        Perturbation(ModalityGenerator(4))
    with pytest.raises(ModelError, match="'epsilon' to be .*got 0.0"):
        Perturbation(epsilon=0.0)
    with pytest.raises(ModelError, match='a sampler for .*got none'):
        make(kg, 'fgsm', loss=OneVsAllLoss())
    for part in ("mode='noise'", 'epsilon=0.25', 'margin=3.0',
                 'weight=0.07'):
        assert part in repr(Perturbation.from_model(
            model, 'noise', epsilon=0.25, margin=3.0))
