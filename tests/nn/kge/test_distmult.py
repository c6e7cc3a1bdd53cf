"""DistMult against plain loops and PyG's model."""

import inspect

import torch
import torch_geometric.nn.kge as pyg
from torch import Tensor

from pyg_mmkgc.nn import DistMult

from .against_formula import check_formula, triples

N, R, D = 7, 3, 4


def test_formula() -> None:
    model = DistMult(N, R, D).double()
    x, rel = model.node_emb.weight, model.rel_emb.weight

    def score(h: int, r: int, t: int) -> Tensor:
        return sum(x[h, i] * rel[r, i] * x[t, i] for i in range(D))

    check_formula(model, score)


def test_symmetric_but_for_reciprocal_relations() -> None:
    for reciprocal in (False, True):
        model = DistMult(N, R, D, reciprocal=reciprocal).double()
        head, rel, tail = triples(model, 4)
        same = torch.allclose(model.score_heads(rel, tail),
                              model.score_tails(tail, rel))
        assert same is not reciprocal


def test_scores_are_those_of_pyg() -> None:
    ours, theirs = DistMult(N, R, D), pyg.DistMult(N, R, D)
    ours.load_state_dict(theirs.state_dict())
    args = triples(ours, 9)
    torch.testing.assert_close(ours(*args), theirs(*args))


def test_constructor_is_that_of_pyg() -> None:
    ours, theirs = (list(inspect.signature(cls).parameters.items())
                    for cls in (DistMult, pyg.DistMult))
    for (name, mine), (other, pygs) in zip(ours, theirs):
        assert (name, mine.default) == (other, pygs.default)
