"""A model against a formula of one triple, written with numbers in loops."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pyg_mmkgc.nn import MMKGEModel

# The score of (head, relation, tail), differentiable in the parameters.
Formula = Callable[[int, int, int], Tensor]


def norm(values: Any) -> Tensor:
    """The Euclidean norm of numbers."""
    return sum(x * x for x in values) ** 0.5


def triples(model: MMKGEModel, num: int) -> tuple[Tensor, Tensor, Tensor]:
    """Random triples; the first is from a node to itself."""
    head, tail = torch.randint(model.num_nodes, (2, num))
    head[0] = tail[0]
    return head, torch.randint(model.num_relations, (num, )), tail


def check_formula(model: MMKGEModel, formula: Formula, num: int = 5,
                  rtol: float = 1e-8, atol: float = 1e-9) -> None:
    """Scores of triples and of all fast forms, and their gradients with
    respect to every parameter.
    """
    head, rel, tail = triples(model, num)
    N = model.num_nodes
    index = torch.randint(N, (num, 4))
    side = torch.rand(num, 4) < 0.5
    every = torch.arange(N).expand(num, -1)
    table = model.encode

    def candidates() -> Tensor:
        rows = table()
        return model.score_candidates(rows, rows[head], rel, rows[tail],
                                      index, side)

    h, r, t = (x.unsqueeze(-1) for x in (head, rel, tail))
    for form, where in (
            (lambda: model(head, rel, tail), (head, rel, tail)),
            (lambda: model.score_tails(head, rel), (h, r, every)),
            (lambda: model.score_heads(rel, tail), (every, r, t)),
            (candidates, (torch.where(side, index, h), r,
                          torch.where(side, t, index)))):
        where = torch.broadcast_tensors(*where)
        wanted = torch.stack([formula(*map(int, one)) for one in zip(
            *(x.reshape(-1) for x in where))]).view(where[0].shape)
        weight = torch.randn_like(wanted)
        params = dict(model.named_parameters())
        results = []
        for out in (form(), wanted):
            grads = torch.autograd.grad((weight * out).sum(),
                                        list(params.values()),
                                        materialize_grads=True)
            results.append({'score': out, **dict(zip(params, grads))})
        for name, value in results[1].items():
            torch.testing.assert_close(
                results[0][name], value, rtol=rtol, atol=atol,
                msg=lambda text, name=name: f'{name}: {text}')
        with torch.no_grad():
            torch.testing.assert_close(form(), wanted, rtol=rtol, atol=atol)
