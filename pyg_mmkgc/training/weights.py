r"""Weights of the members of an ensemble, learned on validation triples."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Optional

import torch
from torch import Tensor

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.data.index import TripleIndex
from pyg_mmkgc.errors import ConfigError, DataError, ModelError, check_whole
from pyg_mmkgc.evaluation.scorer import (
    device_of,
    member_scorers,
    scoring,
)
from pyg_mmkgc.metrics import assert_finite
from pyg_mmkgc.nn.ensemble import Ensemble
from pyg_mmkgc.report import Report, Table
from pyg_mmkgc.typing import Side

#: The number of best rivals of each member that are kept for a query.
BEST = 64
#: The number of random rivals that represent all others.
RANDOM = 128
#: The candidates for the shrinkage of the weights of relations.
SHRINKAGES = (3.0, 10.0, 30.0, 100.0, 300.0)
FOLDS = 3
ITERATIONS = 30
# The number of triples that are compared with their rivals at once.
TRIPLES = 1 << 10


@dataclass(frozen=True, repr=False)
class WeightFit(Report):
    r"""The result of :func:`fit_weights`. Printing it shows a table.

    Args:
        weight (dict): The weight of each member for relations without
            validation triples.
        mrr (dict): The MRR on the validation triples of each member, of the
            sum with :obj:`"equal weights"`, and of the :obj:`"ensemble"`. It
            is estimated from the rivals that were kept.
        num_queries (int): The number of distinct queries.
        num_triples (int): The number of rankings by these queries.
        shrinkage (float or None): The precision of the prior of the weights of
            a relation, or :obj:`None` if all relations have the same weights.
    """
    weight: dict[str, float]
    mrr: dict[str, float]
    num_queries: int
    num_triples: int
    shrinkage: Optional[float]

    table_names = ('members', )

    def to_dict(self) -> dict[str, Any]:
        r"""Returns the result as plain values, ready for JSON."""
        return asdict(self)

    def summary(self) -> dict[str, Any]:
        return {'members': list(self.weight), 'mrr': self.mrr['ensemble'],
                'shrinkage': self.shrinkage}

    def make_table(self, name: str) -> Table:
        what = ('the same for all relations' if self.shrinkage is None else
                'of a relation without validation triples; the prior of the '
                f'others has the precision {self.shrinkage:g}')
        return Table(['', 'weight', 'validation MRR'], [
            [name, self.weight.get(name), value]
            for name, value in self.mrr.items()],
            f'{self.num_triples} rankings of validation triples by '
            f'{self.num_queries} queries; MRR estimated from a part of the '
            f'rivals; weights: {what}.')

    def __str__(self) -> str:
        return f'{self.table().text()}\n\n{self.table().caption}'


def fit_weights(model: Ensemble, data: Any, *, per: str = 'relation',
                num_queries: Optional[int] = None,
                seed: int = 0) -> WeightFit:
    r"""Learns the weights of an :class:`~pyg_mmkgc.nn.Ensemble` on the
    validation triples of a graph. The members are not modified. Test triples
    are not even used to filter answers.

    The weights maximize the likelihood of the true answers among all nodes
    that complete neither a training nor a validation triple. With
    :obj:`per='relation'`, the logarithms of the weights of a relation have a
    normal prior around the weights of the graph, with a precision that
    three-fold cross-validation on the same triples selects by MRR. It may
    select the weights of the graph for all relations.

    Each member scores each query once. Only the scores of the true answers, of
    the 64 best rivals of each member and of 128 random nodes, which represent
    all others, are kept.

    Args:
        model (Ensemble): The ensemble.
        data (KnowledgeGraph): The graph.
        per (str, optional): If set to :obj:`"graph"`, all relations have the
            same weights. If set to :obj:`"relation"`, each relation has its
            own weights. (default: :obj:`"relation"`)
        num_queries (int, optional): The number of distinct queries to sample.
            Path models take 0.03 to 0.08 s per query. (default: :obj:`None`,
            all)
        seed (int, optional): The seed of random nodes, sampled queries and
            folds. (default: :obj:`0`)

    Raises:
        ConfigError: If :obj:`per` is unknown.
        DataError: If the graph has no validation split, or a validation split
            that must not be used for selection.
        ModelError: If the model is not an ensemble, or does not fit the graph.
        NonFiniteError: If a score is NaN or infinite.
    """
    if not isinstance(model, Ensemble):
        raise ModelError("Expected an 'Ensemble' (got "
                         f"'{type(model).__name__}')")
    if per not in ('graph', 'relation'):
        raise ConfigError("Expected 'per' to be 'graph' or 'relation' (got "
                          f'{per!r})')
    check_whole(optional=True, num_queries=num_queries)
    if not isinstance(data, KnowledgeGraph):
        data = KnowledgeGraph.from_pyg(data)
    reason = getattr(data, 'selection_refused', '')
    if reason:
        raise DataError('Expected a validation split that may fit an ensemble '
                        f"(got 'val' with a known leak). {reason}")
    generator = torch.Generator().manual_seed(seed)
    rivals = _collect(model, data, num_queries, generator)
    rel, R = rivals.rel_type[rivals.query], model.num_relations
    common, strength = _fit_common(rivals), None
    theta = common.expand(R, -1)
    if per == 'relation':
        strength = _select(rivals, rel, R, generator)
        if strength is not None:
            theta = fit(rivals, rel, theta, strength)
    model.weight.copy_(theta.exp())
    M = len(model.members)
    tried = {**dict(zip(model.names, torch.eye(M), strict=True)),
             'equal weights': torch.full((M, ), 1 / M),
             'ensemble': model.weight.cpu()}
    return WeightFit(
        dict(zip(model.names, common[0].exp().tolist(), strict=True)),
        {name: float(reciprocal_ranks(rivals, weight.expand(R, M),
                                      rel).mean())
         for name, weight in tried.items()},
        rivals.rel_type.numel(), rel.numel(), strength)


@dataclass(frozen=True)
class Rivals:
    r"""The log-probabilities of the answers and of their rivals.

    Args:
        score (torch.Tensor): For the rivals of each query,
            :obj:`[Q, K, M]`.
        count (torch.Tensor): The number of nodes that a rival represents,
            :obj:`[Q, K]`.
        rel_type (torch.Tensor): The relations of the queries, :obj:`[Q]`.
        query (torch.Tensor): The query of each triple, :obj:`[T]`.
        truth (torch.Tensor): The log-probabilities of the true answers,
            :obj:`[T, M]`.
    """
    score: Tensor
    count: Tensor
    rel_type: Tensor
    query: Tensor
    truth: Tensor

    def select(self, triple: Tensor) -> Rivals:
        r"""Returns the rivals of some of the triples."""
        return Rivals(self.score, self.count, self.rel_type,
                      self.query[triple], self.truth[triple])


def _collect(model: Ensemble, data: KnowledgeGraph,
             num_queries: Optional[int],
             generator: torch.Generator) -> Rivals:
    data = data.cpu()
    train, val = data.split('train'), data.split('val')
    index = TripleIndex(torch.cat([train.edge_index, val.edge_index], dim=1),
                        torch.cat([train.edge_type, val.edge_type]),
                        data.num_nodes, data.num_relations)
    N, R = data.num_nodes, data.num_relations
    head, tail = val.edge_index
    # A query for heads is one of the relation r + R.
    asked = torch.cat([val.edge_type, val.edge_type + R]) * N + torch.cat(
        [head, tail])
    answer = torch.cat([tail, head])
    query, place = asked.unique(return_inverse=True)
    if num_queries is not None and num_queries < query.numel():
        chosen = torch.randperm(query.numel(), generator=generator)[
            :num_queries].sort().values
        new = torch.full_like(query, -1)
        new[chosen] = torch.arange(num_queries)
        query, place = query[chosen], new[place]
        answer, place = answer[place >= 0], place[place >= 0]
    order = place.argsort(stable=True)
    place, answer = place[order], answer[order]
    parts = []
    with scoring(model, data) as scorer:
        scorers = member_scorers(model, data)
        for part in torch.arange(query.numel()).split(scorer.batch_size):
            here = (place >= part[0]) & (place <= part[-1])
            parts.append(_compare(scorers, index, query[part], place[here]
                                  - part[0], answer[here], device_of(model),
                                  generator))
    score, count, truth = (torch.cat(x) for x in zip(*parts, strict=True))
    return Rivals(score, count, query.div(N, rounding_mode='floor') % R,
                  place, truth)


def _compare(scorers: Sequence[Any], index: TripleIndex, query: Tensor,
             place: Tensor, answer: Tensor, device: torch.device,
             generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    N, R = index.num_nodes, index.num_relations
    node, kind = query % N, query.div(N, rounding_mode='floor')
    out = torch.empty(query.numel(), N, len(scorers))
    known = torch.zeros(query.numel(), N, dtype=torch.bool)
    sides: list[tuple[Side, Tensor]] = [('tail', (kind < R).nonzero()[:, 0]),
                                        ('head', (kind >= R).nonzero()[:, 0])]
    for side, row in sides:
        if row.numel() == 0:
            continue
        given, rel = node[row], kind[row] % R
        for m, scorer in enumerate(scorers):
            scores = scorer(given.to(device), rel.to(device), side)
            assert_finite(scores)
            out[row, :, m] = scores.log_softmax(dim=-1).cpu()
        which, other = (index.tails(given, rel) if side == 'tail' else
                        index.heads(rel, given))
        known[row[which], other] = True
    # The best nodes of each member are followed by random nodes.
    best = torch.zeros_like(known)
    shown = out.masked_fill(known.unsqueeze(-1), -torch.inf)
    for m in range(len(scorers)):
        best.scatter_(1, shown[:, :, m].topk(min(BEST, N), dim=1).indices,
                      True)
    best &= ~known
    K = min(BEST * len(scorers), N)
    # A stable order of flags puts the marked nodes first.
    first = best.float().topk(K, dim=1).indices
    some = torch.randint(N, (query.numel(), RANDOM), generator=generator)
    rest = ~(best | known)
    drawn = rest.gather(1, some).float()
    each = rest.sum(dim=1, keepdim=True) / drawn.sum(dim=1, keepdim=True
                                                     ).clamp(min=1)
    count = torch.cat([best.gather(1, first).float(), drawn * each], dim=1)
    pick = torch.cat([first, some], dim=1).unsqueeze(-1).expand(
        -1, -1, len(scorers))
    return out.gather(1, pick), count, out[place, answer]


def _select(rivals: Rivals, group: Tensor, num_groups: int,
            generator: torch.Generator) -> Optional[float]:
    r"""Returns the precision with the best MRR in cross-validation over the
    queries, or :obj:`None` if weights of the whole graph are better.
    """
    fold = (torch.randperm(rivals.rel_type.numel(), generator=generator)
            % FOLDS)[rivals.query]
    total = dict.fromkeys([None, *SHRINKAGES], 0.0)
    for i in range(FOLDS):
        rest, test = fold != i, fold == i
        fitted, held_out = rivals.select(rest), rivals.select(test)
        common = _fit_common(fitted)
        for strength in total:
            theta = common.expand(num_groups, -1)
            if strength is not None:
                theta = fit(fitted, group[rest], theta, strength)
            total[strength] += float(reciprocal_ranks(
                held_out, theta.exp(), group[test]).sum())
    return max(total, key=lambda strength: total[strength])


def _fit_common(rivals: Rivals) -> Tensor:
    M = rivals.truth.size(1)
    prior = torch.full((1, M), 1 / M, dtype=torch.double).log()
    return fit(rivals, torch.zeros_like(rivals.query), prior, 1.0)


def fit(rivals: Rivals, group: Tensor, prior: Tensor,
        strength: float) -> Tensor:
    r"""Returns the logarithms of the weights :obj:`[G, M]` of groups of
    triples that maximize their likelihood and a normal prior.

    Args:
        rivals (Rivals): The triples and their rivals.
        group (torch.Tensor): The group of each triple, :obj:`[T]`.
        prior (torch.Tensor): The mean of the prior, :obj:`[G, M]`.
        strength (float): The precision of the prior.
    """
    theta = prior.clone()
    ridge = strength * torch.eye(prior.size(1), dtype=theta.dtype)
    for _ in range(ITERATIONS):
        grad = strength * (theta - prior)
        curve = ridge.repeat(theta.size(0), 1, 1)
        weight = theta.exp()
        for part, gap, total, count in _blocks(rivals, weight, group):
            # The true answer has the difference zero.
            logit = torch.cat([total + count.log(),
                               total.new_zeros(part.numel(), 1)], dim=1)
            p = logit.softmax(dim=1)[:, :-1].unsqueeze(-1)
            gap = gap * weight[group[part]].unsqueeze(1)
            mean = (p * gap).sum(dim=1)
            square = (p * gap).transpose(1, 2) @ gap
            grad = grad.index_add(0, group[part], mean)
            curve = curve.index_add(
                0, group[part],
                square - mean.unsqueeze(2) * mean.unsqueeze(1))
        # Fisher scoring, with steps of at most a factor e.
        step = torch.linalg.solve(curve, grad).clamp(-1.0, 1.0)
        theta = theta - step
        if float(step.abs().max()) < 1e-4:
            break
    return theta


def reciprocal_ranks(rivals: Rivals, weight: Tensor,
                     group: Tensor) -> Tensor:
    r"""Returns the reciprocal realistic ranks :obj:`[T]` of the true answers,
    estimated from the rivals, with weights :obj:`[G, M]` of groups of triples
    :obj:`[T]`.
    """
    out = [1 / (1 + (count * ((total > 0).double()
                              + (total == 0).double() / 2)).sum(dim=1))
           for _, _, total, count in _blocks(rivals, weight.double(), group)]
    return torch.cat(out) if out else torch.empty(0, dtype=torch.double)


def _blocks(rivals: Rivals, weight: Tensor, group: Tensor
            ) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    r"""Yields the positions of some triples, the differences
    :obj:`[T, K, M]` between their rivals and the true answer, the weighted
    sums :obj:`[T, K]` of these, and the counts :obj:`[T, K]`.
    """
    for part in torch.arange(rivals.query.numel()).split(TRIPLES):
        query = rivals.query[part]
        gap = rivals.score[query].double() - rivals.truth[part].double(
            ).unsqueeze(1)
        total = (gap * weight[group[part]].unsqueeze(1)).sum(dim=-1)
        yield part, gap, total, rivals.count[query].double()
