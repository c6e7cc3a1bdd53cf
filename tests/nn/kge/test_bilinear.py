"""The common parts of bilinear models: regularisers, fast forms, loss."""

import pytest
import torch
from torch import Tensor

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn import ComplEx, DistMult, MMKGEModel
from pyg_mmkgc.nn.encoded import Encoded

N, R, D, B = 9, 3, 4, 6
MODELS = pytest.mark.parametrize('cls', [DistMult, ComplEx])


def batch() -> tuple[Tensor, Tensor, Tensor]:
    return (torch.randint(N, (B, )), torch.randint(R, (B, )),
            torch.randint(N, (B, )))


def regularization(model: MMKGEModel, head: Tensor, rel: Tensor,
                   tail: Tensor) -> Tensor:
    nodes = torch.arange(N)
    views = model.embed(nodes)
    return model.regularization(
        Encoded(nodes, views, model.fuse(views), head, tail), rel)


def moduli(model: MMKGEModel, row: Tensor) -> list[Tensor]:
    if isinstance(model, DistMult):
        return [abs(x) for x in row]
    return [(row[i] ** 2 + row[D + i] ** 2) ** 0.5 for i in range(D)]


@MODELS
@pytest.mark.parametrize('reciprocal', [False, True])
def test_n3(cls: type[MMKGEModel], reciprocal: bool) -> None:
    """The mean over triples, and both directions of each."""
    model = cls(N, R, D, n3=0.3, reciprocal=reciprocal).double()
    head, rel, tail = batch()
    total = 0
    for h, r, t in zip(head, rel, tail):
        directions = [(h, r, t)] + [(t, r + R, h)] * reciprocal
        for a, b, c in directions:
            rows = (model.node_emb.weight[a], model.rel_emb.weight[b],
                    model.node_emb.weight[c])
            total += sum(m ** 3 for row in rows
                         for m in moduli(model, row)) / len(directions)
    params = list(model.parameters())
    out, wanted = regularization(model, head, rel, tail), 0.3 * total / B
    for x, y in zip([out, *torch.autograd.grad(out, params)],
                    [wanted, *torch.autograd.grad(wanted, params)]):
        torch.testing.assert_close(x, y)


@MODELS
def test_l3(cls: type[MMKGEModel]) -> None:
    model = cls(N, R, D, l3=0.3).double()
    wanted = 0.3 * sum(abs(x) ** 3 for p in model.parameters()
                       for x in p.flatten().tolist())
    assert regularization(model, *batch()).item() == pytest.approx(wanted)
    both = cls(N, R, D, l3=0.3, n3=0.2).double()
    n3 = cls(N, R, D, n3=0.2).double()
    for other in (both, n3):
        other.load_state_dict(model.state_dict())
    args = batch()
    torch.testing.assert_close(
        regularization(both, *args), regularization(n3, *args) + wanted)


@MODELS
def test_no_regularization(cls: type[MMKGEModel]) -> None:
    assert regularization(cls(N, R, D), *batch()) is None


@MODELS
def test_zero_has_a_gradient_of_zero(cls: type[MMKGEModel]) -> None:
    model = cls(N, R, D, n3=1.0, l3=1.0)
    for p in model.parameters():
        torch.nn.init.zeros_(p)
    regularization(model, *batch()).backward()
    assert not any(p.grad.any() for p in model.parameters())


@MODELS
def test_ranking_does_not_depend_on_the_block(cls: type[MMKGEModel]) -> None:
    """In single precision, the product of one row may differ from the same
    row in a larger matrix product.
    """
    model = cls(1500, R, 64)
    head, rel = torch.randint(1500, (99, )), torch.randint(R, (99, ))
    with torch.no_grad():
        table = model.encode()
        for score in (lambda h, r: model.score_tails(h, r, table=table),
                      lambda h, r: model.score_heads(r, h, table=table)):
            whole = score(head, rel)
            assert whole.dtype == torch.float32
            for size in (1, 7):
                parts = [score(h, r) for h, r in zip(head.split(size),
                                                     rel.split(size))]
                assert torch.equal(torch.cat(parts), whole)
            # Equal rows tie, wherever they are in the table.
            twice = torch.cat([table, table])
            out = model.score_tails(head, rel, table=twice)
            assert torch.equal(out[:, :1500], out[:, 1500:])


@MODELS
def test_scores_in_full_precision_under_autocast(
        cls: type[MMKGEModel]) -> None:
    model = cls(N, R, D)
    head, rel, tail = batch()
    wanted = model.score_tails(head, rel)
    with torch.autocast('cpu', torch.bfloat16):
        out = model.score_tails(head, rel)
    assert out.dtype == torch.float32 and torch.equal(out, wanted)


@MODELS
@pytest.mark.parametrize('reciprocal', [False, True])
def test_candidates(cls: type[MMKGEModel], reciprocal: bool) -> None:
    """The scores equal the general form, with and without reciprocals."""
    model = cls(N, R, D, reciprocal=reciprocal).double()
    head, rel, tail = batch()
    table, index = model.encode(), torch.randint(N, (B, 5))
    side = torch.rand(B, 5) < 0.5
    args = (table, table[head], rel, table[tail], index, side)
    torch.testing.assert_close(
        model.score_candidates(*args),
        MMKGEModel.candidate_scores(model, *args))


def test_own_loss_trains_both_directions() -> None:
    """Each triple counts in both directions with reciprocal relations."""
    model = ComplEx(N, R, D, reciprocal=True, num_negatives=5)
    head, rel, tail = batch()
    seen = []

    class Spy(torch.nn.Module):
        def forward(self, pos: Tensor, neg: Tensor) -> Tensor:
            seen.append(pos)
            return pos.sum() + neg.sum()

    model.criterion = Spy()
    model.loss(head, rel, tail).backward()
    torch.testing.assert_close(seen[0], torch.cat([
        model(head, rel, tail), model(tail, rel + R, head)]))
    used = model.rel_emb.weight.grad.any(dim=-1).nonzero().view(-1)
    assert used.tolist() == torch.cat([rel, rel + R]).unique().tolist()


@MODELS
def test_own_loss_is_that_of_the_paper(
        cls: type[MMKGEModel], monkeypatch: pytest.MonkeyPatch) -> None:
    """ComplEx has a softplus loss over positives and negatives, and DistMult
    a hinge loss.
    """
    model = cls(N, R, D, num_negatives=4).double()
    head, rel, tail = batch()
    pool, side = torch.randint(N, (4, )), torch.rand(B, 4) < 0.5
    monkeypatch.setattr(torch, 'randint', lambda *_, **__: pool)
    monkeypatch.setattr(torch, 'rand', lambda *_, **__: 1 - side.double())
    loss = model.loss(head, rel, tail)
    total = 0
    for b in range(B):
        pos = model(head[b], rel[b], tail[b])
        for k in range(4):
            s = (model(pool[k], rel[b], tail[b]) if side[b, k] else
                 model(head[b], rel[b], pool[k]))
            total += (max(1 - pos + s, 0 * s) if cls is DistMult else
                      (1 + (-pos).exp()).log() +
                      (1 + s.exp()).log()) / (4 * B)
    torch.testing.assert_close(loss, total)


def test_sparse_gradients() -> None:
    model = ComplEx(N, R, D, sparse=True, n3=0.1)
    model.loss(*batch()).backward()
    assert all(p.grad.is_sparse for p in model.parameters())


@pytest.mark.parametrize('kwargs', [
    {'n3': -1.0}, {'l3': -1.0}, {'n3': float('nan')},
    {'hidden_channels': 0}, {'l3': 1.0, 'sparse': True}])
def test_bad_input(kwargs: dict) -> None:
    with pytest.raises(ModelError, match=rf'{next(iter(kwargs))}.*got '):
        ComplEx(**{'num_nodes': N, 'num_relations': R, 'hidden_channels': D,
                   **kwargs})
