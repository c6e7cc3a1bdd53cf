r"""Explanations of the score of a triple."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Module

from pyg_mmkgc.data import KnowledgeGraph, TripleIndex
from pyg_mmkgc.errors import ConfigError, DataError
from pyg_mmkgc.evaluation.blocks import SideRanking
from pyg_mmkgc.evaluation.embeddings import (
    has_representations,
    node_representations,
)
from pyg_mmkgc.evaluation.evaluate import as_graph, known_index
from pyg_mmkgc.evaluation.labels import (
    label_of,
    node_ids,
    relation_ids,
    relation_is_rel_type,
)
from pyg_mmkgc.evaluation.predict import predict
from pyg_mmkgc.evaluation.score import score_triples
from pyg_mmkgc.evaluation.scorer import (
    Scorer,
    device_of,
    model_for,
    scoring,
)
from pyg_mmkgc.nn import Ensemble
from pyg_mmkgc.nn.path import PathModel, best_paths
from pyg_mmkgc.report import Report, Table, cut
from pyg_mmkgc.typing import Side

AHEAD = 3  # The number of better answers to list.
NODES = 1 << 12  # The number of nodes to embed at once.


@dataclass(frozen=True)
class SideRank:
    r"""The rank of a node of a triple among all candidates of its side."""
    #: The realistic rank, starting at 1.
    rank: float
    #: The number of candidates, not counting other known answers.
    num_candidates: int
    #: The labels of up to three candidates with the highest scores above it.
    ahead: list[str]


@dataclass(frozen=True)
class ModalityEffect:
    r"""The contribution of a modality to the score of a triple."""
    name: str
    #: The weights of the modality in the representations of both nodes, or
    #: :obj:`None` for models without weights.
    head_weight: float | None
    tail_weight: float | None
    #: If :obj:`True`, the nodes have features of the modality. :obj:`None` for
    #: views that are not features.
    head_has: bool | None
    tail_has: bool | None
    #: The score and the realistic ranks of both nodes without the modality.
    score: float
    head_rank: float
    tail_rank: float


@dataclass(frozen=True)
class MemberShare:
    r"""The share of a member of an ensemble in the score of a triple."""
    name: str
    #: The weight of the member for the relation.
    weight: float
    #: The weighted log-probability of the tail minus the weighted
    #: log-probability of a uniform guess. The shares of all members add up to
    #: the score of the triple minus the score that all tails would have if
    #: they were equal.
    share: float
    #: The realistic ranks of both nodes by the member alone.
    head_rank: float
    tail_rank: float


@dataclass(frozen=True)
class NearTriple:
    r"""A training triple, with the cosine similarities of its nodes to the
    nodes of the explained triple.
    """
    head: str
    relation: str
    tail: str
    #: The mean of the two following similarities.
    similarity: float
    head_similarity: float
    tail_similarity: float


@dataclass(frozen=True, eq=False, repr=False)
class Explanation(Report):
    r"""The result of :func:`explain`. Printing it shows all of its parts.

    Args:
        head (str): The label of the head, or its id.
        relation (str): The label of the relation, or its id.
        tail (str): The label of the tail, or its id.
        model (str): The name of the model's class.
        score (float): The score of the triple.
        known (str or None): The split that contains the triple,
            :obj:`"filter"`, or :obj:`None` if it is not a known triple.
        ranks (dict): The rank of the node on each side.
        modalities (list): The contribution of each modality. Empty for
            models with a single view per node.
        nearest (list or None): The most similar training triples with the same
            relation, best first. :obj:`None` for models without
            representations of nodes.
        paths (list[str], optional): The paths from the head to the tail that
            contribute most to the score of a path model, best first.
            :obj:`None` for all other models. (default: :obj:`None`)
        members (list, optional): The share of each member of an
            :class:`~pyg_mmkgc.nn.Ensemble`. :obj:`None` for all other models.
            (default: :obj:`None`)
    """
    head: str
    relation: str
    tail: str
    model: str
    score: float
    known: str | None
    ranks: Mapping[str, SideRank]
    modalities: list[ModalityEffect]
    nearest: list[NearTriple] | None
    paths: list[str] | None = None
    members: list[MemberShare] | None = None

    table_names = ('modalities', 'ranks', 'nearest', 'members')

    def to_dict(self) -> dict[str, Any]:
        r"""Returns the explanation as plain values, ready for JSON."""
        return asdict(self)

    def summary(self) -> dict[str, Any]:
        return {
            'head': self.head, 'relation': self.relation, 'tail': self.tail,
            'score': self.score, 'head_rank': self.ranks['head'].rank,
            'tail_rank': self.ranks['tail'].rank}

    def make_table(self, name: str) -> Table:
        triple = f'({self.head}, {self.relation}, {self.tail})'
        if name == 'ranks':
            return Table(['side', 'node', 'rank', 'candidates', 'ahead'], [
                [side, getattr(self, side), value.rank, value.num_candidates,
                 ', '.join(value.ahead)]
                for side, value in self.ranks.items()],
                f'Ranks of {triple}')
        if name == 'nearest':
            return Table(
                ['head', 'relation', 'tail', 'similarity', 'head similarity',
                 'tail similarity'],
                [[near.head, near.relation, near.tail, near.similarity,
                  near.head_similarity, near.tail_similarity]
                 for near in self.nearest or []],
                f'Training triples most similar to {triple}')
        if name == 'members':
            return Table(
                ['member', 'weight', 'share', 'rank of head', 'rank of tail'],
                [list(asdict(member).values())[:3]
                 + [member.head_rank, member.tail_rank]
                 for member in self.members or []], f'Members of {triple}')
        rows: list[list[Any]] = [
            ['all', None, None, self.score, self.ranks['head'].rank,
             self.ranks['tail'].rank]]
        rows += [[f'without {effect.name}', effect.head_weight,
                  effect.tail_weight, effect.score, effect.head_rank,
                  effect.tail_rank] for effect in self.modalities]
        return Table(
            ['modalities', 'weight in head', 'weight in tail', 'score',
             'rank of head', 'rank of tail'], rows,
            f'Modalities of {triple}')

    def __str__(self) -> str:
        return '\n\n'.join('\n'.join(part) for part in (
            self._score_lines(), self._rank_lines(), self._member_lines(),
            self._modality_lines(),
            self._nearest_lines(), self._path_lines()) if part)

    def _score_lines(self) -> list[str]:
        known = ('is not in the graph' if self.known is None else
                 'is in the filter' if self.known == 'filter' else
                 f'is a {_SPLITS[self.known]} triple')
        return [f'{cut(self.head)}  --{cut(self.relation)}->  '
                f'{cut(self.tail)}',
                f'The triple {known}. {self.model} gives it the score '
                f'{self.score:.4f}; higher is more plausible.']

    def _rank_lines(self) -> list[str]:
        out = ['Among all possible answers, except for other known answers:']
        for side in ('tail', 'head'):
            rank, node = self.ranks[side], cut(getattr(self, side))
            question = ', '.join('?' if part == side else
                                 cut(getattr(self, part))
                                 for part in ('head', 'relation', 'tail'))
            given = self.head if side == 'tail' else self.tail
            ahead = [cut(label) + (' itself' if label == given else '')
                     for label in rank.ahead]
            if ahead and rank.rank > len(ahead) + 1:
                ahead.append('...')
            out.append(f'  ({question}): {node} has rank {_rank(rank.rank)} '
                       f'of {rank.num_candidates:,}'
                       + (f", after {', '.join(ahead)}" if ahead else ''))
        return out

    def _member_lines(self) -> list[str]:
        if self.members is None:
            return []
        rows = [['', 'weight', 'share', f'rank of {cut(self.tail)}',
                 f'rank of {cut(self.head)}']]
        rows += [[cut(x.name), f'{x.weight:.2f}', f'{x.share:+.2f}',
                  _rank(x.tail_rank), _rank(x.head_rank)]
                 for x in self.members]
        return ['The members of the ensemble: the share of each in the score '
                'of the tail,',
                'compared with a uniform guess, and the ranks by it alone.',
                *_aligned(rows)]

    def _modality_lines(self) -> list[str]:
        if not self.modalities:
            return []
        head, tail = cut(self.head), cut(self.tail)
        weighted = self.modalities[0].head_weight is not None
        columns = ['', *([f'weight in {head}', f'weight in {tail}']
                         if weighted else []),
                   'score', f'rank of {tail}', f'rank of {head}']
        rows = [['with all', *([''] * 2 if weighted else []),
                 f'{self.score:.4f}', _rank(self.ranks['tail'].rank),
                 _rank(self.ranks['head'].rank)]]
        rows += [[f'without {effect.name}',
                  *([_percent(effect.head_weight),
                     _percent(effect.tail_weight)] if weighted else []),
                  f'{effect.score:.4f}', _rank(effect.tail_rank),
                  _rank(effect.head_rank)] for effect in self.modalities]
        out = ['The effect of each modality. Without it, all nodes share '
               'the same average view.',
               'If the rank gets worse without it, the modality supports the '
               'triple; if better, it does not.']
        out += _aligned([columns, *rows])
        for effect in self.modalities:
            lacking = [node for node, has in (
                (head, effect.head_has), (tail, effect.tail_has))
                if has is False]
            if lacking:
                out.append(f"  ({' and '.join(dict.fromkeys(lacking))}: no "
                           f'{cut(effect.name)} features)')
        return out

    def _nearest_lines(self) -> list[str]:
        if self.nearest is None:
            return []
        if not self.nearest:
            return [f'No other training triple has the relation '
                    f'{cut(self.relation)}.']
        return [f'The most similar training triples of {cut(self.relation)} '
                '(1 means equal):',
                *(f'  {near.similarity:.2f}  {cut(near.head)}  --'
                  f'{cut(near.relation)}->  {cut(near.tail)}'
                  for near in self.nearest)]


    def _path_lines(self) -> list[str]:
        if self.paths is None:
            return []
        if not self.paths:
            return ['No path leads from the head to the tail.']
        return ['The paths that contribute most to the score:',
                *(f'  {path}' for path in self.paths)]


_SPLITS = {'train': 'training', 'val': 'validation', 'test': 'test'}


@relation_is_rel_type
def explain(model: Module, kg: Any, head: int | str, rel_type: int | str,
            tail: int | str, k: int = 5) -> Explanation:
    r"""Explains the score of a triple by its ranks, the weight of each
    modality, the ranks without each modality, and the most similar training
    triples.

    To remove a modality :math:`m`, the view :math:`\mathbf{e}_m` of every node
    is replaced by the mean view over all nodes, which no longer distinguishes
    nodes. All nodes are then fused and ranked again. Views of zeros count as
    missing: they are left out of the mean and stay zero. The similarity of two
    triples :math:`(h, r, t)` and :math:`(h', r, t')` is :math:`\frac{1}{2}
    (\cos(\mathbf{h}, \mathbf{h}') + \cos(\mathbf{t}, \mathbf{t}'))`, computed
    from the representations of their nodes.

    .. code-block:: python

        >>> from pyg_mmkgc import AdaMF, Countries, explain
        >>> kg = Countries()[0]
        >>> model = AdaMF.from_data(kg, hidden_channels=8)
        >>> found = explain(model, kg, 'Austria', 'neighbour', 'Italy')
        >>> [effect.name for effect in found.modalities]
        ['structure', 'text', 'visual']
        >>> found.known, len(found.nearest)
        ('val', 5)

    Args:
        model (torch.nn.Module): A model, as for
            :func:`~pyg_mmkgc.evaluation.evaluate`. Modalities are explained
            for a :class:`~pyg_mmkgc.nn.kge.MMKGEModel` with its methods
            :meth:`~pyg_mmkgc.nn.MMKGEModel.embed` and
            :meth:`~pyg_mmkgc.nn.MMKGEModel.fuse`, and for a
            :class:`~pyg_mmkgc.nn.path.PathModel` with its features.
        kg (KnowledgeGraph): The graph, as for
            :func:`~pyg_mmkgc.evaluation.evaluate`.
        head (int or str): The head, as an id or label.
        rel_type (int or str): The relation.
        tail (int or str): The tail.
        k (int, optional): The number of similar training triples, or of
            paths. (default: :obj:`5`)

    Returns:
        The explanation, which can be printed, or plotted by
        :func:`~pyg_mmkgc.visualization.plot_explanation`.

    Raises:
        ConfigError: If :obj:`k` is not a positive integer.
        DataError: If an id or label is not in the graph, or several are
            given.
        ModelError: If the model does not fit the graph.
        NonFiniteError: If a score is NaN or infinite.
    """
    if not isinstance(k, (int, np.integer)) or k < 1:
        raise ConfigError(f"Expected 'k' to be a positive integer (got "
                          f'{k!r})')
    kg = as_graph(kg)
    model = model_for(model, kg)
    triple = tuple(ids.cpu() for ids in (
        node_ids(kg, head), relation_ids(kg, rel_type), node_ids(kg, tail)))
    if any(ids.numel() != 1 for ids in triple):
        raise DataError('Expected one triple to explain (got several heads, '
                        'relations or tails)')
    index = known_index(kg).to('cpu')
    names, relations = kg.get('node_names'), kg.get('relation_names')
    h, r, t = (int(ids) for ids in triple)

    with scoring(model, kg) as scorer:
        score, ranks = _score_and_ranks(model, scorer, triple, index)
        weights = _weights(model, triple)
        variants = _variants(model, kg)
    effects = []
    for name, without in variants.items():
        with scoring(without, kg) as scorer:
            less, lower = _score_and_ranks(without, scorer, triple, index)
        mask = kg.masks().get(name)
        weight = weights.get(name, (None, None))
        effects.append(ModalityEffect(
            name, weight[0], weight[1],
            None if mask is None else bool(mask[h].any()),
            None if mask is None else bool(mask[t].any()),
            less, lower['head'][0], lower['tail'][0]))

    return Explanation(
        label_of(names, h), label_of(relations, r), label_of(names, t),
        type(model).__name__, score, _where(kg, h, r, t),
        {side: SideRank(rank, count, _ahead(model, kg, (h, r, t), side, own))
         for side, (rank, count, own) in ranks.items()},
        effects,
        _nearest(model, kg, h, r, t, int(k)) if has_representations(model)
        else None,
        _paths(model, kg, h, r, t, int(k)),
        _members(model, kg, triple, index))


def _members(model: Any, kg: KnowledgeGraph, triple: tuple[Tensor, ...],
             index: TripleIndex) -> list[MemberShare] | None:
    if not isinstance(model, Ensemble):
        return None
    head, rel, tail = triple
    weights, out = model.weight[int(rel)].tolist(), []
    for name, weight, member in zip(model.names, weights, model.members,
                                    strict=True):
        member = model_for(member, kg)
        with scoring(member, kg) as scorer:
            ranks = {side: SideRanking(
                scorer, given, rel, target, side, index,
                scorer.batch_size).rank()[0].realistic
                for side, given, target in sides_of(triple)}
            scores = scorer(head, rel, 'tail')
        chance = scores.log_softmax(dim=-1).cpu()[0, tail] + math.log(
            kg.num_nodes)
        out.append(MemberShare(name, weight, weight * float(chance),
                               float(ranks['head']), float(ranks['tail'])))
    return out


def sides_of(triple: tuple[Tensor, ...]) -> list[tuple[Side, Tensor, Tensor]]:
    r"""Returns the known node and the node to predict of a triple for each
    side.
    """
    head, _, tail = triple
    return [('head', tail, head), ('tail', head, tail)]


def _paths(model: Any, kg: KnowledgeGraph, head: int, rel_type: int,
           tail: int, k: int) -> list[str] | None:
    if isinstance(model, Ensemble):  # The paths of its first path model.
        found = (_paths(member, kg, head, rel_type, tail, k)
                 for member in model.members)
        return next((paths for paths in found if paths is not None), None)
    # Paths are ranked by gradients, which assume messages along all edges.
    if not isinstance(model, PathModel) or getattr(model, 'num_active', None):
        return None
    names = kg.get('node_names'), kg.get('relation_names')
    return [path.text(*names) for path in best_paths(
        model.attached(kg), head, rel_type, tail, k=k)]


def _variants(model: Any, kg: KnowledgeGraph) -> dict[str, Module]:
    r"""Returns a model without each modality. The result is empty for models
    with a single view, which cannot be removed.
    """
    if isinstance(model, PathModel):
        return {name: WithoutFeatures(model.without(name))
                for name in model.modalities}
    return {name: _Without(model, name, mean)
            for name, mean in _mean_views(model, kg).items()}


class WithoutFeatures(Module):
    r"""A path model that keeps its changed features on the same graph."""
    def __init__(self, model: PathModel) -> None:
        super().__init__()
        self.model = model
        self.num_nodes = model.num_nodes
        self.num_relations = model.num_relations

    def score_all(self, node: Tensor, rel_type: Tensor, side: str) -> Tensor:
        return self.model.score_all(node, rel_type, side)


class _Without(Module):
    r"""A model in which all nodes share the same view of one modality."""
    def __init__(self, model: Any, name: str, mean: Tensor) -> None:
        super().__init__()
        self.model, self.name, self.mean = model, name, mean
        self.num_nodes = model.num_nodes
        self.num_relations = model.num_relations

    def encode(self, index: Tensor | None = None) -> Tensor:
        if index is None:
            index = torch.arange(self.num_nodes, device=self.mean.device)
        views = dict(self.model.embed(index))
        view = views[self.name]
        views[self.name] = torch.where((view == 0).all(dim=-1, keepdim=True),
                                       view, self.mean)
        return self.model.fuse(views)

    def forward(self, head_index: Tensor, rel_type: Tensor,
                tail_index: Tensor) -> Tensor:
        return self.model.score(self.encode(head_index), rel_type,
                                self.encode(tail_index))

    def score_tails(self, head_index: Tensor, rel_type: Tensor,
                    table: Tensor) -> Tensor:
        return self.model.score_tails(head_index, rel_type, table=table)

    def score_heads(self, rel_type: Tensor, tail_index: Tensor,
                    table: Tensor) -> Tensor:
        return self.model.score_heads(rel_type, tail_index, table=table)


def _score_and_ranks(
    model: Module, scorer: Scorer, triple: tuple[Tensor, ...],
    index: TripleIndex,
) -> tuple[float, dict[str, tuple[float, int, float]]]:
    r"""Returns the score of a triple, and for each side the realistic rank,
    the number of candidates and the score of the node in that ranking.
    """
    head, rel, tail = triple
    ranks: dict[str, tuple[float, int, float]] = {}
    for side, given, target in sides_of(triple):
        ranking = SideRanking(scorer, given, rel, target, side, index,
                              scorer.batch_size)
        found = ranking.rank()[0]
        ranks[side] = (float(found.realistic[0]),
                       int(found.num_candidates[0]), float(ranking.truth[0]))
    return float(score_triples(model, scorer, head, rel, tail)[0]), ranks


def _weights(model: Any,
             triple: tuple[Tensor, ...]) -> dict[str, tuple[float, float]]:
    if not hasattr(model, 'modality_weights'):
        return {}
    head, rel, tail = (ids.to(device_of(model)) for ids in triple)
    found = model.modality_weights(torch.cat([head, tail]), rel.expand(2))
    return {name: (float(weight[0]), float(weight[1]))
            for name, weight in (found or {}).items()}


def _mean_views(model: Any, kg: KnowledgeGraph) -> dict[str, Tensor]:
    r"""Returns the mean of each view over the nodes that have it. The result
    is empty for models with a single view, which cannot be removed.
    """
    if not (callable(getattr(model, 'embed', None))
            and callable(getattr(model, 'fuse', None))):
        return {}
    total: dict[str, Tensor] = {}
    count: dict[str, Tensor] = {}
    for index in torch.arange(kg.num_nodes, device=device_of(model)).split(
            NODES):
        for name, view in model.embed(index).items():
            there = (view != 0).any(dim=-1).sum()
            rows = view.sum(dim=0, dtype=torch.double)
            total[name] = total[name] + rows if name in total else rows
            count[name] = count[name] + there if name in count else there
            dtype = view.dtype
        if len(total) < 2:
            return {}
    return {name: (rows / count[name].clamp(min=1)).to(dtype)
            for name, rows in total.items()}


def _ahead(model: Module, kg: KnowledgeGraph, triple: tuple[int, int, int],
           side: str, own: float) -> list[str]:
    h, r, t = triple
    found = predict(model, kg, head=None if side == 'head' else h, rel_type=r,
                    tail=None if side == 'tail' else t, k=AHEAD + 1,
                    filter_known=True, self_loops=True)
    node = h if side == 'head' else t
    return [label for i, label, score in zip(
        found.answer[0].tolist(), found.labels[0], found.score[0].tolist(),
        strict=False) if i != node and score > own][:AHEAD]


def _where(kg: KnowledgeGraph, h: int, r: int, t: int) -> str | None:
    places = [(name, split.edge_index, split.edge_type)
              for name, split in kg.splits().items()]
    if 'filter_edge_index' in kg:
        places.append(('filter', kg.filter_edge_index, kg.filter_edge_type))
    for name, (head, tail), rel in places:
        if bool(((head == h) & (rel == r) & (tail == t)).any()):
            return name
    return None


def _nearest(model: Module, kg: KnowledgeGraph, h: int, r: int, t: int,
             k: int) -> list[NearTriple]:
    train = kg.splits().get('train')
    if train is None:
        return []
    (head, tail), rel = train.edge_index.cpu(), train.edge_type.cpu()
    mine = (rel == r) & ~((head == h) & (tail == t))
    if not bool(mine.any()):
        return []
    head, tail = torch.stack([head[mine], tail[mine]]).unique(dim=1)
    table = F.normalize(node_representations(model, kg), dim=-1)
    first, second = table[head] @ table[h], table[tail] @ table[t]
    value, order = ((first + second) / 2).sort(descending=True, stable=True)
    names, relations = kg.get('node_names'), kg.get('relation_names')
    return [NearTriple(
        label_of(names, int(head[i])), label_of(relations, r),
        label_of(names, int(tail[i])), float(x), float(first[i]),
        float(second[i]))
        for x, i in zip(value[:k].tolist(), order[:k].tolist(), strict=True)]


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ['  ' + '  '.join([
        row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(
            row[1:], widths[1:], strict=True))]) for row in rows]


def _rank(rank: float) -> str:
    # Ties lead to half ranks.
    return f'{rank:,.0f}' if rank == int(rank) else f'{rank:,.1f}'


def _percent(weight: float | None) -> str:
    return '' if weight is None else f'{100 * weight:.0f} %'
