"""Tests of CLUB against the densities of normal distributions."""

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn import AdaMF, KvsAllLoss, MoMoK
from pyg_mmkgc.training import CLUB, AdversarialTrainer, Batch
from pyg_mmkgc.training.batch import Completion

B, D = 5, 4
NOTHING = Completion(torch.zeros(()))


def setup(kg: KnowledgeGraph) -> tuple[MoMoK, CLUB, Batch]:
    torch.manual_seed(0)
    model = MoMoK.from_data(kg, D, num_experts=2).double()
    for p in model.mixtures.parameters():
        torch.nn.init.normal_(p)
    club = CLUB.from_model(model).double()
    return model, club, Batch(
        torch.arange(B), torch.arange(B) % kg.num_relations,
        torch.arange(B) + 3, torch.Generator().manual_seed(5))


def density(club: CLUB, name: str, given: Tensor, value: Tensor) -> Tensor:
    estimator = club.estimators[name]
    q = Normal(estimator.mean(given),
               (0.5 * estimator.log_variance(given)).exp())
    return q.log_prob(value).sum()


@pytest.mark.parametrize('side', ['model', 'estimator'])
def test_losses(kg: KnowledgeGraph, side: str) -> None:
    model, club, batch = setup(kg)
    if side == 'model':
        out = club.discriminator_loss(model, batch, NOTHING)
        params = [*model.node_emb.parameters(), *model.mixtures.parameters(),
                  *model.encoders.parameters()]
    else:
        out = club.generator_loss(model, batch, NOTHING)
        params = list(club.parameters())
    generator = torch.Generator().manual_seed(5)
    first, second = torch.randperm(2, generator=generator).tolist()
    nodes = torch.cat([batch.head_index, batch.tail_index])
    wanted = 0
    for name in ('structure', 'visual', 'text'):
        mixture = model.mixtures[name]
        view = model.embed(nodes)[name]
        x, y = ([(mixture.weight[i] @ (e - mixture.bias[i])) for e in view]
                for i in (first, second))
        if side == 'model':
            order = torch.randperm(2 * B, generator=generator).tolist()
            terms = [density(club, name, x[b], y[b]) -
                     density(club, name, x[b], y[order[b]])
                     for b in range(2 * B)]
        else:
            # Up to the constant of the normal distribution.
            constant = D * 0.5 * torch.tensor(2 * torch.pi).log()
            terms = [-density(club, name, x[b], y[b]) - constant
                     for b in range(2 * B)]
        wanted = wanted + sum(terms) / (2 * B) / 3
    torch.testing.assert_close(out, wanted)
    grads = [torch.autograd.grad(z, params, materialize_grads=True)
             for z in (out, wanted)]
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b)


def test_the_bound_of_equal_experts_is_positive(kg: KnowledgeGraph) -> None:
    """Estimators learn a dependence of experts, and none of noise."""
    model, club, batch = setup(kg)
    optimizer = torch.optim.Adam(club.parameters(), lr=0.02)
    bounds = {}
    for name in ('equal', 'apart'):
        def outputs(views: dict[str, Tensor], name: str = name
                    ) -> dict[str, Tensor]:
            x = torch.randn(2 * B, 1, D).double().expand(-1, 2, -1)
            return dict.fromkeys(club.estimators, x if name == 'equal' else
                                 torch.randn(2 * B, 2, D).double())

        vars(model)['expert_outputs'] = outputs
        for _ in range(300):
            optimizer.zero_grad()
            club.generator_loss(model, batch, NOTHING).backward()
            optimizer.step()
        bounds[name] = torch.stack([
            club.discriminator_loss(model, batch, NOTHING)
            for _ in range(50)]).mean()
    assert bounds['equal'] > 1.0 > 0.2 > bounds['apart'].abs()


def test_it_trains_on_all_nodes(kg: KnowledgeGraph) -> None:
    torch.manual_seed(0)
    # With few hidden units, all of an estimator may be dead.
    model = MoMoK.from_data(kg, 16)
    club = CLUB.from_model(model, weight=0.1)
    before = [p.clone() for p in club.parameters()]
    history = AdversarialTrainer(
        model, kg, adversary=club, loss=KvsAllLoss(0.1), epochs=2,
        progress=False).fit()
    assert len(history.epochs) == 2
    assert all((p != q).any()
               for p, q in zip(club.parameters(), before, strict=True))


def test_refusals(kg: KnowledgeGraph) -> None:
    with pytest.raises(ModelError, match="for 'CLUB' .got 'AdaMF' with 0"):
        CLUB.from_model(AdaMF.from_data(kg, D))
    with pytest.raises(ModelError, match="'MoMoK' with 1"):
        CLUB.from_model(MoMoK.from_data(kg, D, num_experts=1))
    with pytest.raises(ModelError, match="'weight' to be non-negative"):
        CLUB.from_model(MoMoK.from_data(kg, D), weight=-1.0)
