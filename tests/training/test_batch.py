"""Tests that the loss of a batch equals the losses of its triples."""

from dataclasses import FrozenInstanceError

import pytest
import torch
from torch import Tensor
from torch_geometric.nn import ComplEx, DistMult, RotatE, TransE

from pyg_mmkgc.nn import AdaMF, MarginRankingLoss, SelfAdversarialLoss
from pyg_mmkgc.nn.encoded import Scored
from pyg_mmkgc.sampler import Negatives
from pyg_mmkgc.training import Batch
from pyg_mmkgc.training.batch import complete, encode_batch

N, R, B, K = 12, 3, 6, 5


def make_batch(negatives: bool = True) -> Batch:
    return Batch(
        torch.randint(N, (B, )), torch.randint(R, (B, )),
        torch.randint(N, (B, )), torch.Generator(),
        Negatives(torch.randint(N, (B, K)), torch.rand(B, K) < 0.5)
        if negatives else None)


class Squared(TransE):
    """A model with another formula than its parent, and no closed form."""
    def forward(self, *args: Tensor) -> Tensor:
        return -super().forward(*args)**2


@pytest.mark.parametrize('name', ['adamf', 'rotate', 'complex', 'distmult',
                                  'transe', 'transe_2', 'transe_3',
                                  'subclass'])
@pytest.mark.parametrize('loss', [SelfAdversarialLoss(2.0),
                                  MarginRankingLoss(3.0)])
def test_complete(name: str, loss: torch.nn.Module) -> None:
    model = {'adamf': AdaMF(N, R, 4, {'text': torch.randn(N, 3)}),
             'rotate': RotatE(N, R, 4), 'complex': ComplEx(N, R, 4),
             'distmult': DistMult(N, R, 4), 'transe': TransE(N, R, 4),
             'transe_2': TransE(N, R, 4, p_norm=2.0),
             'transe_3': TransE(N, R, 4, p_norm=3.0),
             'subclass': Squared(N, R, 4)}[name]
    model, batch = model.double(), make_batch()
    args = (batch.head_index, batch.rel_type, batch.tail_index)
    neg = torch.empty(B, K, dtype=torch.double)
    for b in range(B):
        for k in range(K):
            node = batch.negatives.node[b, k:k + 1]
            h, r, t = (x[b:b + 1] for x in args)
            neg[b, k] = (model(node, r, t)
                         if batch.negatives.corrupt_head[b, k] else
                         model(h, r, node))[0]
    params = list(model.parameters())
    expected = loss(model(*args), neg)
    done = complete(model, loss, batch)
    got = done.loss
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(done.scored.pos, model(*args))
    torch.testing.assert_close(done.scored.neg, neg)
    for x, y in zip(torch.autograd.grad(got, params),
                    torch.autograd.grad(expected, params)):
        torch.testing.assert_close(x, y)


def test_without_negatives_the_models_own_loss() -> None:
    model, batch = RotatE(N, R, 4), make_batch(False)
    torch.manual_seed(1)
    got = complete(model, SelfAdversarialLoss(), batch)
    torch.manual_seed(1)
    assert torch.equal(got.loss, model.loss(batch.head_index, batch.rel_type,
                                            batch.tail_index))
    assert got.encoded is None and got.scored is None


def test_a_batch_keeps_what_it_was_made_of() -> None:
    """A step only reads the batch, and returns its results separately."""
    model, batch = AdaMF(N, R, 4), make_batch()
    before = dict(vars(batch))
    complete(model, SelfAdversarialLoss(), batch).loss.backward()
    assert vars(batch) == before
    with pytest.raises(FrozenInstanceError):
        batch.negatives = None  # type: ignore[misc]


@pytest.mark.parametrize('negatives', [True, False])
def test_distinct_nodes_are_encoded_once(negatives: bool) -> None:
    model, batch = AdaMF(N, R, 4, {'text': torch.randn(N, 3)}), make_batch(
        negatives)
    found = encode_batch(model, batch)
    ids = torch.cat([batch.head_index, batch.tail_index] + (
        [batch.negatives.node.view(-1)] if negatives else []))
    assert found.table.size(0) == len(ids.unique())
    table = model.encode()
    torch.testing.assert_close(found.table[found.head],
                               table[batch.head_index])
    torch.testing.assert_close(found.table[found.tail],
                               table[batch.tail_index])
    if negatives:
        torch.testing.assert_close(found.table[found.others[0]],
                                   table[batch.negatives.node])
    for index, entities in zip((batch.head_index, batch.tail_index),
                               found.entities(), strict=True):
        for name, view in model.embed(index).items():
            torch.testing.assert_close(entities.views[name], view)
        torch.testing.assert_close(entities.joint, table[index])
    ends = found.head.new_zeros(2, 3).unbind()
    scored = Scored(*ends, found.head, found.tail)
    for i, entities in enumerate(found.entities(scored, ['structure'])):
        assert entities.joint is ends[i]
        assert list(entities.views) == list(found.views)[1:]
