"""Tests of algorithm 1: two optimizers take turns on separate parameters."""

import math
from dataclasses import replace

import pytest
import torch
from torch_geometric.nn import TransE
from torch_geometric.testing import withCUDA

from pyg_mmkgc.errors import ModelError, NonFiniteError
from pyg_mmkgc.nn import AdaMF, AdaMFMAT
from pyg_mmkgc.sampler import PooledSampler
from pyg_mmkgc.training import MAT, AdversarialTrainer, Adversary, Trainer
from pyg_mmkgc.training import adversarial_trainer as module
from pyg_mmkgc.training.batch import complete
from pyg_mmkgc.training.step import minimize

KINDS = ['mat', 'mat_apart']


def weights(trainer) -> tuple[dict, dict]:  # noqa: ANN001
    """Returns the weights of the discriminator and of the generator."""
    theirs = {id(p) for p in trainer.adversary.parameters()}
    return ({name: p.detach().clone() for name, p in
             trainer.model.named_parameters() if id(p) not in theirs},
            {name: p.detach().clone() for name, p in
             trainer.adversary.named_parameters()})


def equal(x: dict, y: dict) -> list[bool]:
    return [torch.equal(x[name], y[name]) for name in x]


@pytest.mark.parametrize('training', KINDS)
def test_each_step_leaves_the_other_side(training, make, monkeypatch) -> None:
    trainer = make(training, epochs=2)
    calls = []

    def watch(*args) -> torch.Tensor:  # noqa: ANN002
        before = weights(trainer)
        total = minimize(*args)
        after = weights(trainer)
        is_model = args[2] is trainer.optimizers['model']
        mine, other = (0, 1) if is_model else (1, 0)
        assert all(equal(before[other], after[other]))
        assert not any(equal(before[mine], after[mine]))
        calls.append('D' if is_model else 'G')
        return total

    monkeypatch.setattr(module, 'minimize', watch)
    history = trainer.fit()
    assert ''.join(calls) == 'DG' * 6  # Three steps in an epoch.
    assert set(history.epochs[0]) >= {'loss', 'generator_loss'}
    owned = [{id(p) for p in group['params']}
             for name in ('model', 'adversary')
             for group in trainer.optimizers[name].param_groups]
    assert not owned[0] & owned[1]


def test_simultaneous_step(make) -> None:
    """In a plain gradient step, the model descends L_kgc + lambda L_adv, and
    the generators ascend L_adv, both from their old weights.
    """
    trainer = make('mat_together', weight=0.1)
    for name, params in (('model', trainer.params),
                         ('adversary', trainer.adversary_params)):
        trainer.optimizers[name] = torch.optim.SGD(params, lr=0.5)
    start = weights(trainer)
    batch = next(iter(trainer._batches(1)))
    again = replace(batch, generator=batch.generator.clone_state())
    trainer.train_step(batch, 'here')
    after = weights(trainer)

    model, mat = trainer.model, trainer.adversary
    with torch.no_grad():
        for side, module_ in zip(start, (model, mat), strict=True):
            for name, p in module_.named_parameters():
                if name in side:
                    p.copy_(side[name])
    done = complete(model, trainer.loss, again)
    kgc, adv = done.loss, mat.discriminator_loss(model, again, done)
    for sign, loss, side, end, module_ in (
            (-1, kgc + 0.1 * adv, start[0], after[0], model),
            (1, adv, start[1], after[1], mat)):
        params = dict(module_.named_parameters())
        grads = torch.autograd.grad(loss, [params[n] for n in side],
                                    retain_graph=True)
        for name, grad in zip(side, grads, strict=True):
            assert float(grad.abs().max()) > 0, name
            torch.testing.assert_close(
                end[name], side[name] + sign * 0.5 * grad, msg=name)


@pytest.mark.parametrize('kwargs', [{'parity': 'released'}, {'weight': 0.0}])
def test_simultaneous_steps_need_one_game(kg, kwargs) -> None:
    model = AdaMFMAT.from_data(kg, 4, generator_channels=8)
    with pytest.raises(ModelError, match='positive weight for simultaneous'
                       '.*got parity=.*, weight='):
        MAT.from_model(model, simultaneous=True, **kwargs)


def test_a_shared_parameter_is_caught(make, monkeypatch) -> None:
    """A planted fault: the model's optimizer also holds the generators."""
    monkeypatch.setattr(AdversarialTrainer, 'model_parameters',
                        lambda self: list(self.model.parameters()))
    trainer = make('mat', epochs=1)
    before = weights(trainer)[1]
    monkeypatch.setattr(trainer.adversary, 'generator_loss', lambda *_: sum(
        p.sum() * 0 for p in trainer.adversary.parameters()))
    trainer.optimizers['adversary'] = torch.optim.SGD(
        trainer.adversary_params, lr=0.01)
    trainer.fit()
    assert not all(equal(before, weights(trainer)[1]))


@pytest.mark.parametrize('schedule', [None, 'cosine'])
def test_weight_zero_is_adamf(kg, schedule) -> None:
    """The same start and seed lead to equal bits."""
    torch.manual_seed(0)
    mat = AdaMFMAT.from_data(kg, 4, generator_channels=8)
    plain = AdaMF.from_data(kg, 4)
    plain.load_state_dict({name: x for name, x in mat.state_dict().items()
                           if not name.startswith('generators.')})
    kwargs = {'lr': 0.02, 'batch_size': 50, 'epochs': 3, 'progress': False,
              'lr_schedule': schedule, 'grad_clip': 1.0}
    ours = AdversarialTrainer(mat, kg, adversary=MAT.from_model(
        mat, weight=0.0), sampler=PooledSampler(5, 16), **kwargs).fit()
    theirs = Trainer(plain, kg, sampler=PooledSampler(5, 16), **kwargs).fit()
    for name, x in plain.state_dict().items():
        assert torch.equal(x, mat.state_dict()[name]), name
    assert [e['loss'] for e in ours.epochs] == [e['loss'] for e in
                                                theirs.epochs]


def test_weight_scales_the_models_loss_only(make) -> None:
    """The loss L_kgc + lambda L_adv is linear in lambda for equal draws."""
    first = {}
    for weight in (0.0, 0.1, 0.2):
        trainer = make('mat', weight=weight, batch_size=1000)
        first[weight] = trainer.fit().epochs[0]['loss']
    assert first[0.2] - first[0.0] == pytest.approx(
        2 * (first[0.1] - first[0.0]), rel=1e-4)


def test_generators_learn(make) -> None:
    """They raise the scores of their triples if only they are trained."""
    trainer = make('mat_apart', epochs=30, lr=1e-12, valid_every=None)
    history = trainer.fit()
    losses = [e['generator_loss'] for e in history.epochs]
    assert sum(losses[-5:]) < sum(losses[:5])


@pytest.mark.parametrize('training', KINDS)
@pytest.mark.parametrize('value', [math.nan, math.inf])
def test_bad_generator_stops_before_its_step(training, value, make,
                                             state) -> None:
    trainer = make(training, weight=0.0, valid_every=None)
    params = dict(trainer.adversary.named_parameters())
    params['generators.text.lin2.bias'].data[0] = value
    before = weights(trainer)[1]
    with pytest.raises(NonFiniteError, match='adversary at epoch 1, step 1'
                       '.*generators.text.lin2.bias'):
        trainer.fit()
    after = weights(trainer)[1]
    assert all(torch.equal(x.nan_to_num(9.0), after[name].nan_to_num(9.0))
               for name, x in before.items())
    assert not trainer.optimizers['adversary'].state_dict()['state']


@pytest.mark.parametrize('training', KINDS)
def test_bad_gradient_of_a_generator(training, make) -> None:
    trainer = make(training, weight=0.0, valid_every=None)
    params = dict(trainer.adversary.named_parameters())
    params['generators.visual.lin1.weight'].register_hook(
        lambda grad: grad * math.nan)
    before = weights(trainer)[1]
    with pytest.raises(NonFiniteError, match='adversary.*non-finite.*for '
                       'generators.visual.lin1.weight.. No step'):
        trainer.fit()
    assert all(equal(before, weights(trainer)[1]))


def test_bad_generator_in_the_step_of_the_model(make) -> None:
    trainer = make('mat', weight=0.1)
    trainer.adversary.generators['text'].lin2.bias.data[0] = math.nan
    before = weights(trainer)[0]
    with pytest.raises(NonFiniteError, match='loss of the model.*'
                       'generators.text.lin2.bias'):
        trainer.fit()
    assert all(equal(before, weights(trainer)[0]))


def test_any_adversary(kg) -> None:
    """The trainer only uses the two losses."""
    class Push(Adversary):
        def __init__(self) -> None:
            super().__init__(weight=1.0)
            self.x = torch.nn.Parameter(torch.ones(()))

        def discriminator_loss(  # noqa: ANN202
                self, model, batch, done):  # noqa: ANN001
            return self.x * model.rel_emb.weight.pow(2).mean()

        def generator_loss(  # noqa: ANN202
                self, model, batch, done):  # noqa: ANN001
            return self.x * batch.head_index.numel()

    adversary = Push()
    AdversarialTrainer(TransE(kg.num_nodes, kg.num_relations, 4), kg,
                       adversary=adversary, epochs=1, batch_size=1000,
                       generator_lr=0.25, progress=False).fit()
    assert adversary.x.item() == pytest.approx(0.75)  # Adam's first step.


@pytest.mark.parametrize('adversary', [None, 'mat', MAT])
def test_only_adversaries_are_adversaries(adversary, kg) -> None:
    model = AdaMF.from_data(kg, 4)
    with pytest.raises(ModelError, match="'adversary' to be an Adv.* "
                       rf"\(got '{type(adversary).__name__}'\)$"):
        AdversarialTrainer(model, kg, adversary=adversary)


def test_models_that_mat_cannot_train(kg) -> None:
    adversary = MAT.from_model(AdaMF.from_data(kg, 4))
    counts = (kg.num_nodes, kg.num_relations, 4)
    for model in (TransE(*counts), AdaMF(*counts),
                  AdaMF.from_data(kg, 4, structure=False)):
        with pytest.raises(ModelError, match=f"got '{type(model).__name__}'"):
            AdversarialTrainer(model, kg, adversary=adversary)


@withCUDA
def test_devices(device, kg) -> None:
    model = AdaMFMAT.from_data(kg, 4, generator_channels=8)
    trainer = AdversarialTrainer(model, kg, adversary=MAT.from_model(
        model, groups=2), epochs=2, device=device, progress=False)
    history = trainer.fit()
    assert model.generators['text'].lin1.weight.device == device
    assert math.isfinite(history.epochs[-1]['generator_loss'])
