"""TransE against its formula, in each of its forms."""

import inspect

import pytest
import torch
import torch_geometric.nn.kge as pyg
from torch import Tensor

from pyg_mmkgc.datasets import FakeMMKG
from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn import MarginRankingLoss, TransE
from pyg_mmkgc.sampler import BernoulliSampler
from pyg_mmkgc.training import Trainer

from .against_formula import check_formula, norm, triples

N, R, D = 7, 3, 5


@pytest.mark.parametrize('name', ['constraint', 'score', 'none'])
@pytest.mark.parametrize('p', [1, 2])
def test_formula(p: int, name: str) -> None:
    model = TransE(N, R, D, margin=4.0, p_norm=p, norm=name).double()
    with torch.no_grad():  # Away from norms of one.
        model.node_emb.weight.mul_(1.7)
        model.rel_emb.weight.mul_(0.6)

    def unit(row: Tensor) -> list[Tensor]:
        size = norm(row) if name == 'score' else 1.0
        return [x / size for x in row]

    def score(h: int, r: int, t: int) -> Tensor:
        diff = [a + b - c for a, b, c in zip(
            unit(model.node_emb.weight[h]), unit(model.rel_emb.weight[r]),
            unit(model.node_emb.weight[t]))]
        return 4.0 - (norm(diff) if p == 2 else sum(abs(x) for x in diff))

    check_formula(model, score)


def test_by_hand() -> None:
    model = TransE(2, 1, 2, margin=10.0, norm='none')
    with torch.no_grad():
        model.node_emb.weight.copy_(torch.tensor([[1., 2.], [3., -5.]]))
        model.rel_emb.weight.copy_(torch.tensor([[4., 1.]]))
    zero, one = torch.tensor([0]), torch.tensor([1])
    assert model(zero, zero, one).item() == 10 - (2 + 8)
    assert model(one, zero, zero).item() == 10 - (6 + 6)


def test_it_is_that_of_pyg_where_entities_are_of_norm_one() -> None:
    """PyG's has no margin in the score."""
    model = TransE(N, R, D, p_norm=2.0, norm='none')
    other = pyg.TransE(N, R, D, p_norm=2.0)
    with torch.no_grad():
        x = model.node_emb.weight
        x.div_(x.norm(dim=-1, keepdim=True))
    other.load_state_dict(model.state_dict())
    args = triples(model, 9)
    torch.testing.assert_close(model(*args) - 1.0, other(*args))


def test_constructor_is_that_of_pyg() -> None:
    ours, theirs = (list(inspect.signature(cls).parameters.items())
                    for cls in (TransE, pyg.TransE))
    for (name, mine), (other, pygs) in zip(ours, theirs):
        assert (name, mine.default) == (other, pygs.default)
    assert isinstance(TransE(N, R, D, 2.0).criterion, MarginRankingLoss)
    assert TransE(N, R, D, 2.0).criterion.margin == 2.0


def test_entities_are_normalized_before_each_step() -> None:
    """Entities are normalised in each step, and relations only once, as in
    algorithm 1 of the paper.
    """
    model = TransE(N, R, D)
    torch.testing.assert_close(model.rel_emb.weight.norm(dim=-1),
                               torch.ones(R))
    with torch.no_grad():
        model.node_emb.weight.mul_(3.0)
        model.rel_emb.weight.mul_(3.0)
    model.loss(*triples(model, 4)).backward()
    torch.testing.assert_close(model.node_emb.weight.norm(dim=-1),
                               torch.ones(N))
    torch.testing.assert_close(model.rel_emb.weight.norm(dim=-1),
                               torch.full((R, ), 3.0))
    for name in ('none', 'score'):
        other = TransE(N, R, D, norm=name)
        before = other.node_emb.weight.clone()
        other.loss(*triples(other, 4)).backward()
        assert torch.equal(other.node_emb.weight, before)


@pytest.mark.parametrize('sparse', [False, True])
def test_it_trains_with_sparse_gradients(sparse: bool) -> None:
    data = FakeMMKG(num_nodes=30, num_edges=90)[0]
    model = TransE.from_data(data, D, sparse=sparse, norm='none')
    history = Trainer(model, data, sampler=BernoulliSampler(4), lr=0.1,
                      epochs=5, valid_every=None, progress=False).fit()
    losses = [epoch['loss'] for epoch in history.epochs]
    assert losses[-1] < losses[0]


def test_bad_input() -> None:
    with pytest.raises(ModelError, match=r"'p_norm' to be 1 or 2 \(got 3\)"):
        TransE(N, R, D, p_norm=3)
    with pytest.raises(ModelError, match=r"'norm'.*'none' \(got 'l2'\)"):
        TransE(N, R, D, norm='l2')
    with pytest.raises(
            ModelError, match=r"'margin' to be positive \(got 0.0\)"):
        TransE(N, R, D, margin=0.0)
