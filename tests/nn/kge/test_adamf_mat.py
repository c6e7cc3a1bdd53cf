"""The one-optimizer objective of AdaMF-MAT, eqs. (10) and (11)."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn import AdaMF, AdaMFMAT

N, R, D, B, Z = 11, 3, 4, 6, 3
NAMES = ['visual', 'text']


@pytest.fixture
def model() -> AdaMFMAT:
    x = {'visual': torch.randn(N, 6), 'text': torch.randn(N, 2)}
    masks = {'visual': torch.arange(N) % 3 != 0}
    return AdaMFMAT(N, R, D, x, masks, adv_weight=0.3, noise_channels=Z,
                    generator_channels=7, num_negatives=5,
                    missing='learned').double()


def triples() -> tuple[Tensor, Tensor, Tensor]:
    return (torch.randint(N, (B, )), torch.randint(R, (B, )),
            torch.randint(N, (B, )))


def adversarial(model: AdaMFMAT, head: Tensor, rel: Tensor, tail: Tensor,
                noise: list[dict[str, Tensor]]) -> Tensor:
    """Eq. (10) with L = 1, one triple after the other, as plain autograd."""
    total = torch.zeros((), dtype=torch.double)
    theta = model.rel_emb.weight * math.pi * D / (model.margin + 2)
    for b in range(B):
        real, star = [], []
        for end, node in enumerate((head[b], tail[b])):
            views = {'structure': model.node_emb.weight[node]}
            fake = dict(views)
            for name in NAMES:
                encoder, generator = (model.encoders[name],
                                      model.generators[name])
                views[name] = (encoder.lin.weight @ encoder.x[node]
                               + encoder.lin.bias if encoder.mask[node]
                               else encoder.fill)
                x = torch.cat([views['structure'], noise[end][name][0, b]])
                hidden = generator.lin1.weight @ x + generator.lin1.bias
                hidden = torch.where(hidden > 0, hidden, 0.01 * hidden)
                fake[name] = (generator.lin2.weight @ hidden
                              + generator.lin2.bias)
            for out, which in ((real, views), (star, fake)):
                rows = torch.stack([which[n] for n in model.fuser.names])
                top = (model.fuser.weight * rows.tanh()).sum(-1).exp()
                joint = (top / top.sum()) @ rows
                out.append(torch.complex(joint[:D], joint[D:]))
        turn = torch.polar(torch.ones(D).double(), theta[rel[b]])

        def score(h: Tensor, t: Tensor, turn: Tensor = turn) -> Tensor:
            return model.margin - (h * turn - t).abs().sum()

        total = total - logsigmoid(score(*real))
        for h, t in ((star[0], real[1]), (real[0], star[1]),
                     (star[0], star[1])):
            total = total - logsigmoid(-score(h, t)) / 3
    return total / B


def test_loss_and_gradients(model: AdaMFMAT) -> None:
    args = triples()
    torch.manual_seed(7)
    loss = model.loss(*args)
    loss.backward()
    got = {name: p.grad.clone() for name, p in model.named_parameters()}

    torch.manual_seed(7)
    model.zero_grad()
    completion = AdaMF.loss(model, *args)  # Tested in test_adamf.py.
    noise = [{name: torch.randn(1, B, Z, dtype=torch.double)
              for name in NAMES} for _ in range(2)]
    term = adversarial(model, *args, noise)
    torch.testing.assert_close(loss, completion + 0.3 * term)

    params = dict(model.named_parameters())
    grads = [torch.autograd.grad(x, list(params.values()), allow_unused=True)
             for x in (completion, term)]
    checked = {'generators': 0, 'others': 0}
    for name, ours, theirs in zip(params, *grads):
        if name.startswith('generators.'):
            checked['generators'] += 1
            assert ours is None
            expected = -0.3 * theirs
        else:
            checked['others'] += 1
            expected = ours + 0.3 * theirs
        torch.testing.assert_close(got[name], expected, rtol=1e-6,
                                   atol=1e-12)
    assert checked == {'generators': 8, 'others': 8}


def test_structure_learns_through_the_generators(model: AdaMFMAT) -> None:
    """A planted fault: a detached input of the generators."""
    args = triples()
    torch.manual_seed(7)
    model.loss(*args).backward()
    right = model.node_emb.weight.grad.clone()
    generate = model._generate
    model._generate = lambda name, x: generate(name, x.detach())
    model.zero_grad()
    torch.manual_seed(7)
    model.loss(*args).backward()
    assert not torch.allclose(model.node_emb.weight.grad, right)


def test_without_weight_it_is_adamf(model: AdaMFMAT) -> None:
    model.adv_weight = 0.0
    args = triples()
    torch.manual_seed(7)
    loss = model.loss(*args)
    torch.manual_seed(7)
    torch.testing.assert_close(loss, AdaMF.loss(model, *args))
    loss.backward()
    assert not any(p.grad.any() for p in model.generators.parameters())


def test_scores_as_adamf(model: AdaMFMAT) -> None:
    """The generators take no part in the score."""
    plain = AdaMF(N, R, D, {name: model.encoders[name].x for name in NAMES},
                  {name: model.encoders[name].mask for name in NAMES},
                  missing='learned').double()
    plain.load_state_dict({name: x for name, x in model.state_dict().items()
                           if not name.startswith('generators.')})
    assert torch.equal(plain.encode(), model.encode())
    args = triples()
    assert torch.equal(plain(*args), model(*args))


def test_any_names_of_modalities() -> None:
    x = {name: torch.randn(N, 2) for name in ('3d', 'a b', 'x')}
    model = AdaMFMAT(N, R, D, x, generator_channels=5)
    assert list(model.generators) == ['3d', 'a b', 'x']
    model.loss(*triples()).backward()


@pytest.mark.parametrize('kwargs', [
    {}, {'modalities': {}},
    {'modalities': {'text': torch.randn(N, 2)}, 'structure': False}])
def test_bad_input(kwargs: dict) -> None:
    with pytest.raises(ModelError, match=r'\(got structure=.* and '
                       r'modalities=.*MAT generates the modalities'):
        AdaMFMAT(N, R, D, **kwargs)
