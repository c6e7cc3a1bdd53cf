r"""Checks of models that pass messages along the triples of a graph."""
from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch_geometric.nn.inits import reset

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.nn.path import PathModel
from pyg_mmkgc.testing.subject import (
    changed,
    expect,
    expect_close,
    small_graph,
    state,
    triples,
)
from pyg_mmkgc.training import Trainer

MARK = 0.12345


class PathSubject:
    r"""The path model to check.

    Args:
        target (Any): A class, or a function that builds a model for a graph.
        kwargs (dict): The arguments of the class.
        lr (float): The learning rate of trainings.
    """
    def __init__(self, target: Any, kwargs: dict[str, Any],
                 lr: float) -> None:
        self.target, self.kwargs, self.lr = target, kwargs, lr

    def model(self, data: KnowledgeGraph | None = None,
              seed: int = 0) -> PathModel:
        r"""Builds the model for a graph, with weights drawn from a seed."""
        data = small_graph() if data is None else data
        torch.manual_seed(seed)
        build = getattr(self.target, 'from_data', None)
        model = (build(data, **{'hidden_channels': 8, **self.kwargs})
                 if build is not None else
                 cast(Callable[..., Any], self.target)(data))
        expect(isinstance(model, PathModel),
               f"Expected a 'PathModel' (got '{type(model).__name__}')")
        return model

    def fit(self, model: PathModel, epochs: int = 1) -> PathModel:
        r"""Trains in small batches without their own edges in the graph."""
        Trainer(model, small_graph(), lr=self.lr, batch_size=8, epochs=epochs,
                valid_every=None, progress=False).fit()
        return model.eval()


def check_finite(subject: PathSubject) -> None:
    r"""Checks that scores, the loss and its gradient are finite, even for
    self-loops and for nodes without edges.
    """
    data = small_graph()
    data.num_nodes = data.num_nodes + 1
    for name in data.modalities:
        x, mask = data[f'x_{name}'], data.masks()[name]
        data[f'x_{name}'] = torch.cat([x, x[:1] * 0])
        data[f'mask_{name}'] = torch.cat([mask, mask[:1] & False])
    model = subject.model(data)
    head, rel, tail = triples(data)
    head, rel, tail = (torch.cat([head[:8], tail[:8], tail[:1] * 0 + 24]),
                       torch.cat([rel[:8], rel[:8], rel[:1]]),
                       torch.cat([tail[:8], tail[:8], tail[:1]]))
    expect(model.eval()(head, rel, tail).isfinite().all(),
           'Expected finite scores from forward (got NaN or infinity)')
    loss = model.train().loss(head, rel, tail)
    expect(loss.dim() == 0 and loss.isfinite(),
           f'Expected a finite scalar from loss (got {loss})')
    loss.backward()
    for name, p in model.named_parameters():
        expect(p.grad is None or p.grad.isfinite().all(),
               f"Expected a finite gradient of '{name}' (got NaN or infinity)")


def check_score_all(subject: PathSubject) -> None:
    r"""Checks that :meth:`score_all` on both sides, :meth:`score_tails`,
    :meth:`score_heads` and :meth:`forward` return the same scores, with and
    without gradients.
    """
    model = subject.model().double()
    N = 24
    node, rel = torch.tensor([3, 3, 0, 7, 3]), torch.tensor([0, 1, 0, 2, 0])
    tails = model.score_all(node, rel, 'tail')
    expect(tuple(tails.shape) == (5, N), f'Expected the shape [5, {N}] from '
           f'score_all (got {list(tails.shape)})')
    expect_close(model.score_tails(node, rel), tails, 'score_tails')
    heads = model.score_all(node, rel, 'head')
    expect_close(model.score_heads(rel, node), heads, 'score_heads')
    expect(not torch.equal(heads, tails), 'Expected different scores for '
           'heads and tails (got equal scores)')
    out = model(node[:, None], rel[:, None], torch.arange(N))
    expect_close(out, tails, 'forward of all tails')
    with torch.no_grad():
        for side, wanted in (('tail', tails), ('head', heads)):
            expect_close(model.eval().score_all(node, rel, side),
                         wanted.detach(), f'{side}s without gradients')
            single = model.float().score_all(node, rel, side)
            expect(single.dtype == torch.float32,
                   f'Expected scores in torch.float32 (got {single.dtype})')
            expect_close(single.double(), wanted.detach(),
                         f'{side}s in float32', 1e-3)
            model.double()


def check_batch_of_0_and_1(subject: PathSubject) -> None:
    r"""Checks that the scores of a query do not depend on its batch, bit for
    bit, and that an empty batch has no scores.
    """
    model = subject.model().eval()
    node, rel = torch.tensor([3, 9, 0, 7]), torch.tensor([0, 1, 0, 2])
    with torch.no_grad():
        whole = model.score_all(node, rel, 'tail')
        for size in (0, 1):
            expect(torch.equal(model.score_all(node[:size], rel[:size],
                                               'tail'), whole[:size]),
                   'Expected scores from score_all that do not depend on the '
                   f'batch (got other scores in a batch of {size})')
        single = model(node[0], rel[0], node[1])
        expect_close(single, whole[0, node[1]],
                     'forward, a triple without a batch', 1e-4)
    loss = model.train().loss(node[:1], rel[:1], node[1:2])
    expect(loss.isfinite(), f'Expected a finite loss of one triple (got '
           f'{loss})')


def check_out_of_range(subject: PathSubject) -> None:
    r"""Checks that ids of nodes and relations out of range, including negative
    ids, raise :class:`IndexError`.
    """
    model = subject.model().eval()
    for i, size in enumerate((24, 3)):
        for wrong in (-1, size):
            for side in ('head', 'tail'):
                args = [torch.tensor([0, 1]), torch.tensor([0, 1])]
                args[i][1] = wrong
                try:
                    model.score_all(args[0], args[1], side)
                except IndexError:
                    continue
                expect(False, f'Expected an IndexError for {wrong} in '
                       f'argument {i} of {size} from score_all (got scores)')


def check_eval_is_deterministic(subject: PathSubject) -> None:
    r"""Checks that scores in evaluation mode draw no random numbers."""
    model = subject.model().eval()
    node, rel = torch.tensor([3, 9]), torch.tensor([0, 1])
    before = torch.get_rng_state()
    with torch.no_grad():
        first = model.score_all(node, rel, 'tail')
        again = model.score_all(node, rel, 'tail')
    expect(torch.equal(torch.get_rng_state(), before),
           'Expected score_all to keep the random state in evaluation mode '
           '(got another state)')
    expect(torch.equal(first, again), 'Expected equal results of score_all in '
           'evaluation mode (got different results)')


def check_any_numbering(subject: PathSubject) -> None:
    r"""Checks that renumbered nodes keep their scores, and that
    :meth:`attached` leaves the model on the first graph.
    """
    data, other = small_graph(), small_graph()
    model = subject.model(data).double().eval()
    perm = torch.randperm(24)
    other.edge_index = perm[data.edge_index]
    for name in data.modalities:
        for kind in ('x', 'mask'):
            other[f'{kind}_{name}'] = data[f'{kind}_{name}'][perm.argsort()]
    node, rel = torch.tensor([3, 9]), torch.tensor([0, 1])
    with torch.no_grad():
        wanted = model.score_all(node, rel, 'tail')
        out = model.attached(other).score_all(perm[node], rel, 'tail')
        expect_close(out[:, perm], wanted, 'renumbered nodes')
        expect(torch.equal(model.score_all(node, rel, 'tail'), wanted),
               'Expected the first graph after attached() (got another graph)')


def check_own_edges(subject: PathSubject) -> None:
    r"""Checks that the loss of a triple ignores all of its own edges, which
    would reveal the answer.
    """
    data = small_graph()
    head, rel, tail = (x[:1] for x in triples(data))
    model = subject.model(data).double()
    torch.manual_seed(0)
    loss = model.loss(head, rel, tail)
    again = small_graph()
    more = torch.stack([head, tail]).repeat(1, 3)
    again.edge_index = torch.cat([data.edge_index, more], dim=1)
    again.edge_type = torch.cat([data.edge_type, rel.repeat(3)])
    again.train_mask = torch.ones(again.edge_type.numel(), dtype=torch.bool)
    model = model.attached(again)
    torch.manual_seed(0)
    out = model.loss(head, rel, tail)
    expect_close(out, loss, 'the loss of a triple that occurs more than once')


def check_gradients(subject: PathSubject) -> None:
    r"""Checks that every parameter receives a nonzero gradient."""
    model = subject.model()
    head, rel, tail = (x[:6] for x in triples(small_graph()))
    weight = torch.randn(12, 24)
    scores = torch.cat([model.score_all(head, rel, 'tail'),
                        model.score_all(tail, rel, 'head')])
    (scores * weight).sum().backward()
    for name, p in model.named_parameters():
        expect(p.grad is not None and p.grad.any(),
               f"Expected a gradient of '{name}' (got none, or zero)")


def check_reset_parameters(subject: PathSubject) -> None:
    r"""Checks that :meth:`reset_parameters` resets every parameter."""
    model = subject.model()
    with torch.no_grad():
        for p in model.parameters():
            p.fill_(MARK)
    reset(model)
    for name, p in model.named_parameters():
        expect(not (p == MARK).any(),
               f"Expected reset_parameters to reset '{name}' (got the old "
               'values)')


def check_pretrained(subject: PathSubject) -> None:
    r"""Checks that :meth:`from_pretrained` restores the class, its arguments
    and, on the same graph, the scores of a model saved by
    :meth:`save_pretrained`.
    """
    data = small_graph()
    model = subject.fit(subject.model(data))
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        before = torch.get_rng_state()
        other = PathModel.from_pretrained(folder).attach(data)
    expect(torch.equal(before, torch.get_rng_state()),
           'Expected from_pretrained to keep the global random state (got '
           'another state)')
    expect(type(other) is type(model), f"Expected '{type(model).__name__}' "
           f"from from_pretrained (got '{type(other).__name__}')")
    expect(other.config() == model.config(),
           f'Expected the arguments {model.config()} (got {other.config()})')
    expect(not other.training,
           'Expected evaluation mode after from_pretrained (got training)')
    with torch.no_grad():
        out = [_scores(m, data) for m in (model, other)]
    expect(torch.equal(*out), 'Expected equal scores after from_pretrained '
           '(got different scores)')


def check_seed(subject: PathSubject) -> None:
    r"""Checks that a seed determines the model and its training."""
    models = [subject.model(seed=seed) for seed in (0, 0, 1)]
    first, second, third = (state(model) for model in models)
    expect(not changed(first, second), 'Expected equal models with the same '
           f'seed (got different {", ".join(changed(first, second))})')
    expect(changed(first, third),
           'Expected different models for different seeds (got the same)')
    trained = [state(subject.fit(model)) for model in models[:2]]
    expect(not changed(*trained), 'Expected equal trainings with the same '
           f'seed (got different {", ".join(changed(*trained))})')
    expect(changed(first, trained[0]),
           'Expected training to change the model (got no change)')


def check_higher_is_better(subject: PathSubject) -> None:
    r"""Checks that training triples score higher than other triples."""
    data = small_graph()
    model = subject.fit(subject.model(data), epochs=5)
    head, rel, tail = triples(data)
    with torch.no_grad():
        scores = _scores(model, data)
    true = scores[range(tail.numel()), tail].mean()
    gap = float(true - scores.mean())
    expect(gap > 0, 'Expected higher scores of training triples than of other '
           f'triples (got a difference of {gap:.4g})')


def _scores(model: PathModel, data: KnowledgeGraph) -> Tensor:
    head, rel, _ = triples(data)
    return model.score_all(head, rel, 'tail')
