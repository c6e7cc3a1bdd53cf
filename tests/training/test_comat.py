"""Tests of CoMAT against its losses, computed triple by triple."""

import pytest
import torch
from torch import Tensor
from torch_geometric.nn import TransE

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn import IKRL, AdaMF, MMKGEModel, NativE
from pyg_mmkgc.training import AdversarialTrainer, Batch, CoMAT
from pyg_mmkgc.training.batch import Completion, encode_batch

B = 6
MODELS = [AdaMF, IKRL, NativE]


def setup(kg: KnowledgeGraph, cls: type[MMKGEModel]) -> tuple[
        MMKGEModel, CoMAT, Batch]:
    torch.manual_seed(0)
    model = cls.from_data(kg, 4).double()
    comat = CoMAT.from_model(model, noise_channels=3, generator_channels=7,
                             weight=0.5).double()
    batch = Batch(torch.arange(B), torch.arange(B) % kg.num_relations,
                  torch.arange(B) + 3, torch.Generator().manual_seed(5))
    return model, comat, batch


def fakes(model: MMKGEModel, comat: CoMAT, batch: Batch) -> tuple[
        Tensor, Tensor]:
    """Returns the scores [3, B] of synthetic and [B] of real triples."""
    G = comat.generator
    generator = torch.Generator().manual_seed(5)
    joint = []
    for index in (batch.head_index, batch.tail_index):
        views = model.embed(index)
        z = torch.randn(B, 3, generator=generator).double()
        x = torch.cat([z, views['structure'], views['visual'],
                       views['text']], dim=1)
        hidden = x @ G.lin1.weight.t() + G.lin1.bias
        hidden = torch.where(hidden > 0, hidden, 0.01 * hidden)
        made = hidden @ G.lin2.weight.t() + G.lin2.bias
        C = views['structure'].size(1)
        joint.append((model.fuse(views), model.fuse({
            'structure': views['structure'], 'visual': made[:, :C],
            'text': made[:, C:]})))
    (h, fh), (t, ft) = joint
    rel = batch.rel_type
    return torch.stack([model.score(fh, rel, t), model.score(h, rel, ft),
                        model.score(fh, rel, ft)]), model.score(h, rel, t)


@pytest.mark.parametrize('cls', MODELS)
def test_losses(kg: KnowledgeGraph, cls: type[MMKGEModel]) -> None:
    for kind in ('discriminator', 'generator'):
        model, comat, batch = setup(kg, cls)
        fake, pos = fakes(model, comat, batch)
        done = Completion(pos.sum(), encode_batch(model, batch))
        if kind == 'discriminator':
            out = comat.discriminator_loss(model, batch, done)
            wanted = sum(fake[k].mean() - pos.mean() for k in range(3))
            params = [p for p in model.parameters() if p.requires_grad]
        else:
            out = comat.generator_loss(model, batch, done)
            wanted = -sum(fake[k].mean() for k in range(3)) / 3
            params = list(comat.parameters())
        torch.testing.assert_close(out, wanted)
        grads = [torch.autograd.grad(x, params, materialize_grads=True)
                 for x in (out, wanted)]
        for x, y in zip(*grads, strict=True):
            torch.testing.assert_close(x, y)


@pytest.mark.parametrize('cls', MODELS)
def test_it_trains(kg: KnowledgeGraph, cls: type[MMKGEModel]) -> None:
    torch.manual_seed(0)
    model = cls.from_data(kg, 4)
    comat = CoMAT.from_model(model)
    before = [p.clone() for p in comat.parameters()]
    trainer = AdversarialTrainer(model, kg, adversary=comat, epochs=2,
                                 progress=False)
    trainer.fit()
    assert all(p.isfinite().all() for p in model.parameters())
    assert all((p != q).any()
               for p, q in zip(comat.parameters(), before, strict=True))


def test_the_gradient_penalty_of_the_paper_is_constant(
        kg: KnowledgeGraph) -> None:
    """|grad_h| of a sum of complex moduli is the constant sqrt(D)."""
    model = AdaMF.from_data(kg, 4).double()
    h, t = (torch.randn(50, 8).double() for _ in range(2))
    h.requires_grad_()
    rel = torch.randint(kg.num_relations, (50, ))
    grad, = torch.autograd.grad(model.score(h, rel, t).sum(), h)
    torch.testing.assert_close(grad.norm(dim=1),
                               torch.full((50, ), 2.0).double())


def test_refusals(kg: KnowledgeGraph) -> None:
    bare = AdaMF(kg.num_nodes, kg.num_relations, 4)
    for model in (bare, TransE(kg.num_nodes, kg.num_relations, 4),
                  AdaMF.from_data(kg, 4, structure=False)):
        with pytest.raises(ModelError, match="for 'CoMAT' .got "
                           f"'{type(model).__name__}'"):
            CoMAT.from_model(model)
    comat = CoMAT.from_model(AdaMF.from_data(kg, 4))
    with pytest.raises(ModelError, match="for 'CoMAT' .got 'AdaMF'"):
        AdversarialTrainer(bare, kg, adversary=comat)
