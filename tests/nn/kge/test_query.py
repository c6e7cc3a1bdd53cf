"""Short models that define a query, a key and a similarity."""

import re
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import Embedding

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.evaluation import evaluate
from pyg_mmkgc.nn import (
    OTE,
    AdaMF,
    ComplEx,
    MMKGEModel,
    QueryModel,
    RotatE,
    SelfAdversarialLoss,
)
from pyg_mmkgc.nn.functional import diagonal_score
from pyg_mmkgc.nn.similarity import Distance, InnerProduct
from pyg_mmkgc.sampler import Negatives
from pyg_mmkgc.training import Batch
from pyg_mmkgc.training.batch import complete
from pyg_mmkgc.typing import Side

from .against_formula import Formula, check_formula, norm, triples

N, R, D = 7, 3, 4


class Translation(QueryModel):
    """A key that is the candidate itself."""
    similarity = Distance(group=1)
    margin = 2.0

    def query(self, x: Tensor, rel_type: Tensor, side: Side) -> Tensor:
        rel = self.rel_emb(rel_type)
        return x + rel if side == 'tail' else x - rel

    def formula(self, h: int, r: int, t: int) -> Tensor:
        x, rel = self.node_emb.weight, self.rel_emb.weight
        return 2 - sum(abs(x[h, i] + rel[r, i] - x[t, i]) for i in range(D))


class Lengthened(QueryModel):
    """A key that differs from the candidate, but depends on nothing else,
    compared by the Euclidean distance.
    """
    similarity = Distance()

    def query(self, x: Tensor, rel_type: Tensor, side: Side) -> Tensor:
        rel = self.rel_emb(rel_type)
        return 3 * x + rel if side == 'tail' else 3 * x - rel

    def key(self, x: Tensor, rel_type: Tensor, side: Side) -> Tensor:
        return 3 * x

    def formula(self, h: int, r: int, t: int) -> Tensor:
        x, rel = self.node_emb.weight, self.rel_emb.weight
        return -norm([3 * x[h, i] + rel[r, i] - 3 * x[t, i]
                      for i in range(D)])


class TwoHalves(QueryModel):
    """A row as a head and a row as a tail: a key that depends on the side."""
    similarity = InnerProduct()
    key_depends_on = 'side'

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rel_emb = Embedding(self.num_relations, D // 2)

    def query(self, x: Tensor, rel_type: Tensor, side: Side) -> Tensor:
        x = self.key(x, rel_type, 'head' if side == 'tail' else 'tail')
        return x * self.rel_emb(rel_type)

    def key(self, x: Tensor, rel_type: Tensor, side: Side) -> Tensor:
        return x.chunk(2, dim=-1)[0 if side == 'head' else 1]

    def formula(self, h: int, r: int, t: int) -> Tensor:
        x, rel = self.node_emb.weight, self.rel_emb.weight
        return sum(x[h, i] * rel[r, i] * x[t, D // 2 + i]
                   for i in range(D // 2))


class Turned(QueryModel):
    """A key that depends on the relation: blocks of two are swapped, halved
    and shifted by it.
    """
    similarity = Distance(group=2)
    key_depends_on = 'relation'
    margin = 5.0

    def key(self, x: Tensor, rel_type: Tensor, side: Side) -> Tensor:
        return 0.5 * x.flip(-1) + self.rel_emb(rel_type) * x

    def query(self, x: Tensor, rel_type: Tensor, side: Side) -> Tensor:
        rel = self.rel_emb(rel_type).roll(1, -1)
        x = self.key(x, rel_type, side)
        return x + rel if side == 'tail' else x - rel

    def formula(self, h: int, r: int, t: int) -> Tensor:
        rel = self.rel_emb.weight[r]

        def key(n: int) -> list[Tensor]:
            x = self.node_emb.weight[n]
            return [0.5 * x[D - 1 - i] + rel[i] * x[i] for i in range(D)]

        diff = [a + rel[(i - 1) % D] - b
                for i, (a, b) in enumerate(zip(key(h), key(t)))]
        return 5 - sum(norm([diff[i], diff[i + D // 2]])
                       for i in range(D // 2))


class Scaled(QueryModel):
    """Factors of the channels, by relation and side; inner products."""
    similarity = InnerProduct()
    key_depends_on = 'relation'

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rel_emb = Embedding(self.num_relations, 2 * D)

    def key_scale(self, rel_type: Tensor, side: Side) -> Tensor:
        return self.rel_emb(rel_type).chunk(2, dim=-1)[
            0 if side == 'head' else 1]

    def query(self, x: Tensor, rel_type: Tensor, side: Side) -> Tensor:
        return self.key(x, rel_type, 'head' if side == 'tail' else 'tail')

    def formula(self, h: int, r: int, t: int) -> Tensor:
        x, rel = self.node_emb.weight, self.rel_emb.weight
        return sum(x[h, i] * rel[r, i] * x[t, i] * rel[r, D + i]
                   for i in range(D))


class ScaledDistance(Scaled):
    similarity = Distance(group=1)
    margin = 1.0

    def formula(self, h: int, r: int, t: int) -> Tensor:
        x, rel = self.node_emb.weight, self.rel_emb.weight
        return 1 - sum(abs(x[h, i] * rel[r, i] - x[t, i] * rel[r, D + i])
                       for i in range(D))


@pytest.mark.parametrize('cls', [Translation, Lengthened, TwoHalves, Turned,
                                 Scaled, ScaledDistance])
def test_a_model_of_ten_lines(cls: type[QueryModel]) -> None:
    model = cls(N, R, D).double()
    check_formula(model, model.formula)


def loss_by_formula(formula: Formula, batch: Batch) -> Tensor:
    """The loss of triples and their negatives, one by one."""
    pos, neg = [], []
    for b, triple in enumerate(zip(*(x.tolist() for x in (
            batch.head_index, batch.rel_type, batch.tail_index)))):
        h, r, t = triple
        pos.append(formula(h, r, t))
        neg.append(torch.stack([
            formula(n, r, t) if side else formula(h, r, n)
            for n, side in zip(batch.negatives.node[b].tolist(),
                               batch.negatives.corrupt_head[b].tolist())]))
    return SelfAdversarialLoss()(torch.stack(pos), torch.stack(neg))


def check_own_score(model: MMKGEModel, formula: Formula) -> None:
    """The model is scored, trained and ranked by a formula of triples."""
    check_formula(model, formula)
    model.train()
    head, rel, tail = triples(model, 6)
    batch = Batch(head, rel, tail, torch.Generator(), Negatives(
        torch.randint(N, (6, 5)), torch.rand(6, 5) < 0.5))
    params = list(model.parameters())
    out = complete(model, SelfAdversarialLoss(), batch).loss
    wanted = loss_by_formula(formula, batch)
    for x, y in zip(*([value, *torch.autograd.grad(
            value, params, materialize_grads=True)]
            for value in (out, wanted))):
        torch.testing.assert_close(x, y)
    # Ranks among all nodes.
    kg = KnowledgeGraph(torch.stack([head, tail]), rel, num_nodes=N,
                        num_relations=R,
                        test_mask=torch.ones(6, dtype=torch.bool))
    found = evaluate(model, kg, filtered=False).ranks.realistic
    wanted = []
    for side in ('head', 'tail'):
        for h, r, t in zip(*(x.tolist() for x in (head, rel, tail))):
            scores = torch.stack([
                formula(n, r, t) if side == 'head' else formula(h, r, n)
                for n in range(N)])
            own = scores[h if side == 'head' else t]
            wanted.append(1 + int((scores > own).sum()))
    assert found.tolist() == wanted


def diagonal(model: MMKGEModel) -> Formula:
    """A score that none of the models below inherits."""
    def formula(h: int, r: int, t: int) -> Tensor:
        head, tail = model.encode(torch.tensor([h, t]))
        return (head[:D] * model.rel_emb.weight[r, :D] * tail[:D]).sum()

    return formula


class OwnScore:
    """Mixed into a model, writes `score` and nothing else."""
    def score(self, head: Tensor, rel_type: Tensor, tail: Tensor) -> Tensor:
        rel = self.rel_emb(rel_type)[..., :D]
        return diagonal_score(head[..., :D], rel, tail[..., :D])


def make(cls: type[MMKGEModel], base: type[MMKGEModel]) -> MMKGEModel:
    kwargs: dict[str, Any] = {}
    if issubclass(base, AdaMF):
        kwargs['modalities'] = {'text': torch.randn(N, 3)}
    model = cls(N, R, D, **kwargs).double()
    with torch.no_grad():
        for p in (model.node_emb.weight, model.rel_emb.weight):
            p.normal_()
    return model


@pytest.mark.parametrize('base', [RotatE, OTE, AdaMF, Translation, TwoHalves,
                                  Scaled])
def test_a_subclass_is_trained_and_ranked_by_its_own_score(
        base: type[MMKGEModel]) -> None:
    class Own(base):  # type: ignore[misc,valid-type]
        score = OwnScore.score

    class Below(Own):  # Inherits it.
        def fuse(self, views: dict[str, Tensor]) -> Tensor:
            return -0.5 * super().fuse(views)

    width = 2 if base is TwoHalves else D
    for cls in (Own, Below):
        model = make(cls, base)
        if width < D:
            model.rel_emb = Embedding(R, D).double()
        check_own_score(model, diagonal(model))


@pytest.mark.parametrize('base', [RotatE, OTE, AdaMF, Scaled])
def test_a_score_and_one_fast_form_of_it(base: type[MMKGEModel]) -> None:
    """Overriding one form leaves the other forms to the new score."""
    class Ranked(base):  # type: ignore[misc,valid-type]
        score = OwnScore.score

        def node_scores(self, x: Tensor, rel_type: Tensor, side: Side,
                        table: Tensor) -> Tensor:
            return (x[:, :D] * self.rel_emb(rel_type)[:, :D]
                    ) @ table[:, :D].t()

    class Trained(base):  # type: ignore[misc,valid-type]
        score = OwnScore.score

        def candidate_scores(self, table: Tensor, head: Tensor,
                             rel_type: Tensor, tail: Tensor, index: Tensor,
                             corrupt_head: Tensor) -> Tensor:
            x = torch.where(corrupt_head[..., None], tail[:, None],
                            head[:, None])[..., :D]
            rel = self.rel_emb(rel_type)[:, None, :D]
            return (x * rel * table[index][..., :D]).sum(dim=-1)

    for cls in (Ranked, Trained):
        model = make(cls, base)
        check_own_score(model, diagonal(model))


@pytest.mark.parametrize('base', [RotatE, AdaMF])
def test_a_subclass_that_writes_a_query_is_scored_by_it(
        base: type[MMKGEModel]) -> None:
    """The rest, similarity and margin, are inherited."""
    class Shifted(base):  # type: ignore[misc,valid-type]
        def query(self, x: Tensor, rel_type: Tensor, side: Side) -> Tensor:
            rel = self.rel_emb(rel_type).repeat_interleave(2, dim=-1)
            return x + rel if side == 'tail' else x - rel

    model = make(Shifted, base)

    def formula(h: int, r: int, t: int) -> Tensor:
        head, tail = model.encode(torch.tensor([h, t]))
        rel = model.rel_emb.weight[r]
        diff = [head[i] + rel[i // 2] - tail[i] for i in range(2 * D)]
        return model.margin - sum(norm([diff[i], diff[D + i]])
                                  for i in range(D))

    check_own_score(model, formula)


def test_a_query_below_a_score_of_its_own() -> None:
    """Forms may not use a query that the score does not use."""
    class Queried(type('Own', (RotatE, ), {'score': OwnScore.score})):
        def query(self, x: Tensor, rel_type: Tensor, side: Side) -> Tensor:
            return x + 1

    model = make(Queried, RotatE)
    check_own_score(model, diagonal(model))


def test_the_score_by_a_query_can_be_taken_back() -> None:
    class Own(RotatE):
        score = OwnScore.score

    class Queried(Own):
        """Leaves the score of its parent, with all forms of it."""
        similarity = InnerProduct()

        def query(self, x: Tensor, rel_type: Tensor, side: Side) -> Tensor:
            rel = self.rel_emb(rel_type)
            return x * torch.cat([rel, rel], dim=-1)

        score = QueryModel.score

    model = make(Queried, RotatE)

    def formula(h: int, r: int, t: int) -> Tensor:
        x, rel = model.node_emb.weight, model.rel_emb.weight[r]
        return (x[h] * torch.cat([rel, rel]) * x[t]).sum()

    check_own_score(model, formula)


@pytest.mark.parametrize('old, new, side, order', [
    ('tail_query(head, rel_type)', "query(head, rel_type, 'tail')", 'tail',
     (0, 1)),
    ('head_query(rel_type, tail)', "query(tail, rel_type, 'head')", 'head',
     (1, 0))])
def test_the_old_names_of_a_query_warn(old: str, new: str, side: Side,
                                       order: tuple[int, int]) -> None:
    model = RotatE(N, R, D)
    args = (model.encode(torch.arange(5)), torch.arange(5) % R)
    name = old.partition('(')[0]
    with pytest.warns(DeprecationWarning, match=re.escape(
            f"'{old}' is deprecated, use '{new}' instead")) as seen:
        out = getattr(model, name)(*(args[i] for i in order))
    assert [x.filename for x in seen] == [__file__]  # The caller's line.
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert torch.equal(out, model.query(*args, side))


@pytest.mark.parametrize('base', [RotatE, AdaMF, QueryModel])
@pytest.mark.parametrize('name', ['tail_query', 'head_query'])
def test_the_old_names_cannot_be_overridden(name: str,
                                            base: type[QueryModel]) -> None:
    """Nothing calls them, so that a model of version 0.1 would change."""
    old = type('Old', (base, ), {name: lambda self, x, y: x})
    with pytest.raises(ModelError, match=re.escape(
            f"Expected 'Old' to override 'query(x, rel_type, side)' (got "
            f"'{name}')")):
        old(N, R, D)
    with pytest.raises(ModelError, match='Below'):
        type('Below', (old, ), {})(N, R, D)


def test_heads_of_a_reciprocal_model_are_tails() -> None:
    """The heads of r are the tails of r + R, for any model."""
    class Reciprocal(Translation):
        reciprocal = True

        def __init__(self) -> None:
            super().__init__(N, R, D)
            self.rel_emb = Embedding(2 * R, D)

        def query(self, x: Tensor, rel_type: Tensor, side: Side) -> Tensor:
            return torch.sin(x) + self.rel_emb(rel_type)

    class Own(Reciprocal):
        score = OwnScore.score

    for model in (Reciprocal().double(), Own().double(),
                  ComplEx(N, R, D, reciprocal=True).double()):
        rel, node = torch.arange(2 * R), torch.randint(N, (2 * R, ))
        out = model.score_heads(rel, node)
        for q in range(2 * R):
            for n in range(N):
                wanted = model(node[q], (rel[q] + R) % (2 * R),
                               torch.tensor(n))
                torch.testing.assert_close(out[q, n], wanted)


def test_a_query_is_the_models_own() -> None:
    class Nothing(QueryModel):
        similarity = InnerProduct()

    model = Nothing(N, R, D)
    with pytest.raises(NotImplementedError):
        model(*torch.zeros(3, 1).long())
