r"""Checks that all methods of a model return consistent scores."""
from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pyg_mmkgc.nn.kge import MMKGEModel
from pyg_mmkgc.testing.subject import (
    Subject,
    expect,
    expect_close,
    small_graph,
    triples,
)


def check_finite(subject: Subject) -> None:
    r"""Checks that scores, the model's own loss and its gradient are finite,
    including for triples from a node to itself.
    """
    data = small_graph()
    model = subject.model(data)
    head, rel, tail = triples(data)
    head, rel, tail = (torch.cat([head, tail]), torch.cat([rel, rel]),
                       torch.cat([tail, tail]))
    expect(model.eval()(head, rel, tail).isfinite().all(),
           'Expected finite scores from forward (got NaN or infinity)')
    loss = model.train().loss(head, rel, tail)
    expect(loss.dim() == 0 and loss.isfinite(),
           f'Expected a finite scalar from loss (got {loss})')
    loss.backward()
    for name, p in model.named_parameters():
        expect(p.grad is None or _values(p.grad).isfinite().all(),
               f"Expected a finite gradient of '{name}' (got NaN or infinity)")


def check_shapes(subject: Subject) -> None:
    r"""Checks that all methods return the shapes documented in the base
    class.
    """
    model = subject.model().eval()
    N, index = model.num_nodes, torch.arange(6).view(2, 3)
    views = model.embed(index)
    for name, x in views.items():
        _expect_shape(x.shape[:2], (2, 3), f'view {name!r} of embed')
    expect(set(model.modalities) <= set(views),
           f'Expected the views {model.modalities} from embed (got '
           f'{list(views)})')
    C = model.encode().size(-1)
    _expect_shape(model.encode().shape, (N, C), 'encode()')
    _expect_shape(model.encode(index).shape, (2, 3, C), 'encode(index)')
    head, rel, tail = _queries(model, 5)
    _expect_shape(model(head, rel, tail).shape, (5, ), 'forward')
    _expect_shape(model.score_tails(head, rel).shape, (5, N), 'score_tails')
    _expect_shape(model.score_heads(rel, tail).shape, (5, N), 'score_heads')
    table, node = model.encode(), torch.arange(20).view(5, 4)
    out = model.score_candidates(table, table[head], rel, table[tail], node,
                                 node > 7)
    _expect_shape(out.shape, (5, 4), 'score_candidates')


def check_broadcasting(subject: Subject) -> None:
    r"""Checks that the scores of broadcast representations equal the scores of
    each pair, and that the scores of a batch equal the score of each triple.
    """
    model = subject.model().double().eval()
    head, rel, tail = _queries(model, 4)
    table = model.encode()
    wanted = torch.stack([model(h.view(1), r.view(1), t.view(1))[0]
                          for h, r, t in zip(head, rel, tail, strict=True)])
    expect_close(model(head, rel, tail), wanted, 'a batch of triples')
    pairs = torch.stack([
        model.score(table[head[i]].view(1, -1), rel[i].view(1),
                    table[tail[j]].view(1, -1))[0]
        for i in range(4) for j in range(4)]).view(4, 4)
    expect_close(pairs.diagonal(), wanted, 'score of representations')
    out = model.score(table[head][:, None], rel[:, None], table[tail][None])
    expect_close(out, pairs, 'score of [Q, 1, C], [Q, 1] and [1, K, C]')
    out = model.score(table[head][None], rel[None], table[tail][:, None])
    expect_close(out, pairs.t(), 'score of [1, B, C], [1, B] and [L, 1, C]')
    out = model.score(table[head], rel,
                      table[tail].expand(2, 4, -1))
    expect_close(out, wanted.expand(2, -1), 'score of [B, C] and [L, B, C]')


def check_fuse_broadcasts(subject: Subject) -> None:
    r"""Checks that :meth:`fuse` broadcasts its views: with a view of shape
    :obj:`[L, B, C]` among views :obj:`[B, C]`, it returns the representations
    :obj:`[L, B, C]` of each of the :obj:`L` views with the others. Adversaries
    replace views in this way.
    """
    model = subject.model().double().eval()
    views = model.embed(torch.arange(6))
    for name, x in views.items():
        other = torch.stack([x.roll(i, 0) for i in (1, 2, 3)])
        wanted = torch.stack([model.fuse(views | {name: y}) for y in other])
        out = model.fuse(views | {name: other})
        expect_close(out, wanted, f'fuse with a view {name!r} of shape '
                     f'{list(other.shape)}')


def check_score_tails(subject: Subject) -> None:
    r"""Checks that :meth:`score_tails` equals :meth:`forward`, including
    gradients.
    """
    _check_all_nodes(subject, 'score_tails')


def check_score_heads(subject: Subject) -> None:
    r"""Checks that :meth:`score_heads` equals :meth:`forward`, including
    gradients. With reciprocal relations, it must equal the scores of tails for
    relation :obj:`r + R`.
    """
    _check_all_nodes(subject, 'score_heads')


def _check_all_nodes(subject: Subject, name: str) -> None:
    model = subject.model().double()
    N, R = model.num_nodes, model.num_relations
    head, rel, tail = _queries(model, 5)
    every = torch.arange(N).expand(5, -1)
    if name == 'score_tails':
        def fast(table: Tensor) -> Tensor:
            return model.score_tails(head, rel, table=table)
        columns = (head[:, None], rel[:, None], every)
    else:
        def fast(table: Tensor) -> Tensor:
            return model.score_heads(rel, tail, table=table)
        columns = (every, rel[:, None], tail[:, None])
        if getattr(model, 'reciprocal', False):
            columns = (tail[:, None], rel[:, None] + R, every)
    flat = [x.expand(5, N).reshape(-1) for x in columns]
    _compare(model, lambda: fast(model.encode()),
             lambda: model(*flat).view(5, N), name)
    with torch.no_grad():
        out = (model.score_tails(head, rel) if name == 'score_tails' else
               model.score_heads(rel, tail))
        wanted = model(*flat).view(5, N)
        expect_close(out, wanted, f'{name} without a table')
        # Single precision has its own kernels.
        model = model.float()
        expect_close(fast(model.encode()).double(), wanted,
                     f'{name} in float32', 1e-3)


def check_score_candidates(subject: Subject) -> None:
    r"""Checks that :meth:`score_candidates` on a table of some nodes equals
    :meth:`forward`, including gradients.
    """
    model = subject.model().double()
    head, rel, tail = _queries(model, 5)
    # The table of a batch is not indexed by node ids.
    node = torch.randperm(model.num_nodes)
    row = torch.empty_like(node)
    row[node] = torch.arange(model.num_nodes)
    index = torch.randint(model.num_nodes, (5, 7))
    side = torch.rand(5, 7) < 0.5

    def fast() -> Tensor:
        table = model.encode(node)
        return model.score_candidates(table, table[row[head]], rel,
                                      table[row[tail]], row[index], side)

    flat = [x.expand(5, 7).reshape(-1) for x in (
        torch.where(side, index, head[:, None]), rel[:, None],
        torch.where(side, tail[:, None], index))]
    def slow() -> Tensor:
        return model(*flat).view(5, 7)

    _compare(model, fast, slow, 'score_candidates')
    with torch.no_grad():
        wanted = slow()
        model = model.float()
        expect_close(fast().double(), wanted, 'score_candidates in float32',
                     1e-3)


def check_batch_of_0_and_1(subject: Subject) -> None:
    r"""Checks that an empty batch has no scores, and that a single triple has
    the same score as in a batch, with or without a batch dimension. The loss
    of a single triple must be finite.
    """
    model = subject.model().eval()
    head, rel, tail = _queries(model, 3)
    wanted = [model(head, rel, tail), model.score_tails(head, rel),
              model.score_heads(rel, tail)]
    for size in (0, 1):
        h, r, t = head[:size], rel[:size], tail[:size]
        for out, whole, name in zip(
                (model(h, r, t), model.score_tails(h, r),
                 model.score_heads(r, t)), wanted,
                ('forward', 'score_tails', 'score_heads'), strict=True):
            expect_close(out, whole[:size], f'{name}, batch of {size}', 1e-4)
    expect_close(model(head[0], rel[0], tail[0]), wanted[0][0],
                 'forward, a triple without a batch', 1e-4)
    loss = model.train().loss(head[:1], rel[:1], tail[:1])
    expect(loss.isfinite(),
           f'Expected a finite loss of one triple (got {loss})')


def check_out_of_range(subject: Subject) -> None:
    r"""Checks that :meth:`forward` raises an :class:`IndexError` for node and
    relation ids that are out of range, including negative ids.
    """
    model = subject.model().eval()
    # With reciprocal relations, there are twice as many.
    sizes = (model.num_nodes, model.rel_emb.num_embeddings, model.num_nodes)
    for i, size in enumerate(sizes):
        for wrong in (-1, size):
            args = list(_queries(model, 3))
            args[i][1] = wrong
            try:
                model(*args)
            except IndexError:
                continue
            expect(False, f'Expected an IndexError for {wrong} in argument '
                   f'{i} of {size} from forward (got scores)')


def check_float64(subject: Subject) -> None:
    r"""Checks that scores and loss are in double precision for a model in
    double precision, and that the scores are close to single precision.
    """
    data = small_graph()
    head, rel, tail = triples(data)
    model = subject.model(data).eval()
    single = model(head, rel, tail).detach()
    expect(single.dtype == torch.float32,
           f'Expected scores in torch.float32 (got {single.dtype})')
    model = model.double()
    for name, out in (('forward', model(head, rel, tail)),
                      ('score_tails', model.score_tails(head, rel)),
                      ('score_heads', model.score_heads(rel, tail)),
                      ('loss', model.train().loss(head, rel, tail))):
        expect(out.dtype == torch.float64,
               f'Expected torch.float64 from {name} (got {out.dtype})')
    out = model.eval()(head, rel, tail)
    expect_close(single.double(), out, 'float32 against float64', 1e-3)
    model.loss(head, rel, tail).backward()


def check_eval_is_deterministic(subject: Subject) -> None:
    r"""Checks that scores draw no random numbers in evaluation mode."""
    model = subject.model().eval()
    head, rel, tail = _queries(model, 5)
    calls: dict[str, Callable[[], Tensor]] = {
        'forward': lambda: model(head, rel, tail),
        'encode': lambda: model.encode(),
        'score_tails': lambda: model.score_tails(head, rel),
        'score_heads': lambda: model.score_heads(rel, tail)}
    for name, call in calls.items():
        before = torch.get_rng_state()
        first = call()
        expect(torch.equal(torch.get_rng_state(), before),
               f'Expected {name} to keep the random state in evaluation mode '
               '(got another state)')
        expect(torch.equal(first, call()),
               f'Expected equal results of {name} in evaluation mode (got '
               'different results)')


def _queries(model: MMKGEModel, size: int) -> tuple[Tensor, ...]:
    return (torch.randint(model.num_nodes, (size, )),
            torch.randint(model.num_relations, (size, )),
            torch.randint(model.num_nodes, (size, )))


def _expect_shape(shape: torch.Size, wanted: tuple[int, ...],
                  what: str) -> None:
    expect(tuple(shape) == wanted, f'Expected the shape {list(wanted)} for '
           f'{what} (got {list(shape)})')


def _compare(model: MMKGEModel, fast: Callable[[], Tensor],
             slow: Callable[[], Tensor], name: str) -> None:
    # Evaluation comes last, so the model is left in this mode.
    for mode in ('training', 'evaluation'):
        model.train(mode == 'training')
        wanted = slow()
        if mode == 'training' and not torch.equal(wanted, slow()):
            continue  # Noise differs from call to call.
        where = f'against forward in {mode} mode'
        with torch.no_grad():
            expect_close(fast(), wanted.detach(), f'{name} {where}')
        out = fast()
        expect_close(out, wanted, f'{name} with gradient {where}')
        weight = torch.randn_like(wanted)
        grads = [_gradient(model, (weight * x).sum()) for x in (out, wanted)]
        for key, grad in grads[1].items():
            expect_close(grads[0][key], grad,
                         f'the gradient of {key} through {name} {where}')


def _gradient(model: MMKGEModel, loss: Tensor) -> dict[str, Tensor]:
    params = {name: p for name, p in model.named_parameters()
              if p.requires_grad}
    grads = torch.autograd.grad(loss, list(params.values()),
                                allow_unused=True)
    return {name: torch.zeros_like(p) if grad is None else grad.to_dense()
            for (name, p), grad in zip(params.items(), grads, strict=True)}


def _values(grad: Tensor) -> Tensor:
    return grad.coalesce().values() if grad.is_sparse else grad
