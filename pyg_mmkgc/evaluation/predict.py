from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Module

from pyg_mmkgc.data import KnowledgeGraph, TripleIndex
from pyg_mmkgc.distributed.group import raise_on_all, stack_ranks
from pyg_mmkgc.errors import ConfigError, NonFiniteError
from pyg_mmkgc.evaluation.evaluate import as_graph, known_index
from pyg_mmkgc.evaluation.labels import (
    Ids,
    align,
    label_of,
    node_ids,
    relation_ids,
    relation_is_rel_type,
)
from pyg_mmkgc.evaluation.score import graph_of, score_triples
from pyg_mmkgc.evaluation.scorer import (
    Scorer,
    model_for,
    scoring,
)
from pyg_mmkgc.kernels.host import to_device
from pyg_mmkgc.metrics import assert_finite
from pyg_mmkgc.report import Report, Table, cut
from pyg_mmkgc.typing import Side

PARTS = ('head', 'relation', 'tail')


@dataclass(frozen=True, eq=False, repr=False)
class Prediction(Report):
    r"""The :math:`k` best answers of :math:`Q` queries.

    The predicted part of the triples has shape :math:`[Q, k]`, the other two
    have shape :math:`[Q]`. If fewer than :math:`k` candidates are left, a
    row is padded with the answer :obj:`-1` and score :math:`-\infty`.

    Args:
        side (str): The predicted part: :obj:`"head"`, :obj:`"tail"` or
            :obj:`"relation"`.
        head (torch.Tensor): The heads.
        rel_type (torch.Tensor): The relations.
        tail (torch.Tensor): The tails.
        score (torch.Tensor): The scores of the answers, :math:`[Q, k]`.
        known (torch.Tensor or None): A mask of the answers that form a known
            triple of the graph, :math:`[Q, k]`. :obj:`None` without a graph.
        left_out (torch.Tensor): A mask of the queries whose own node was left
            out of their answers, :math:`[Q]`.
        node_names (list[str], optional): The label of each node.
            (default: :obj:`None`)
        relation_names (list[str], optional): The label of each relation.
            (default: :obj:`None`)
    """
    side: str
    head: Tensor
    rel_type: Tensor
    tail: Tensor
    score: Tensor
    known: Tensor | None
    left_out: Tensor
    node_names: list[str] | None = None
    relation_names: list[str] | None = None

    table_names = ('answers', )

    @property
    def answer(self) -> Tensor:
        r"""The ids of the answers, best first, :math:`[Q, k]`."""
        return {'head': self.head, 'relation': self.rel_type,
                'tail': self.tail}[self.side]

    @property
    def labels(self) -> list[list[str]]:
        r"""The labels of the answers of each query."""
        return [[label_of(self._names, i) for i in row if i >= 0]
                for row in self.answer.tolist()]

    def to_dict(self) -> list[dict[str, Any]]:
        r"""Returns one dictionary per query, ready for JSON."""
        none: list[list[bool | None]] = [
            [None] * self.answer.size(1)] * self.answer.size(0)
        known = none if self.known is None else self.known.tolist()
        return [{
            **query,
            f'{self.side}s': [{
                'id': i,
                'label': label_of(self._names, i),
                'score': score,
                **({} if in_graph is None else {'known': in_graph}),
            } for i, score, in_graph in zip(*answers, strict=True) if i >= 0],
        } for query, *answers in zip(
            self._queries(), self.answer.tolist(), self.score.tolist(), known,
            strict=True)]

    def summary(self) -> dict[str, Any]:
        return {'side': self.side, 'num_queries': self.answer.size(0),
                'k': self.answer.size(1)}

    def make_table(self, name: str) -> Table:
        rows = []
        for query in self.to_dict():
            for rank, answer in enumerate(query[f'{self.side}s'], 1):
                triple = {**query, self.side: answer['label']}
                rows.append([*(triple[part] for part in PARTS), rank,
                             answer['score'], answer.get('known')])
        columns = [*PARTS, 'rank', 'score', 'known']
        if self.known is None:
            columns, rows = columns[:-1], [row[:-1] for row in rows]
        return Table(columns, rows)

    def __str__(self) -> str:
        lines = []
        for query, without in zip(self.to_dict(), self.left_out.tolist(),
                                  strict=True):
            triple = {part: cut(query.get(part, '?')) for part in PARTS}
            other = triple['head' if self.side == 'tail' else 'tail']
            lines.append(f"({', '.join(triple.values())})"
                         + (f'  without {other} itself' if without else ''))
            answers = query[f'{self.side}s']
            labels = [cut(answer['label']) for answer in answers]
            width = max(map(len, labels), default=0)
            lines += [f"{rank:>4}  {label:<{width}}  "
                      f"{answer['score']:>10.4f}"
                      f"{'  known' if answer.get('known') else ''}"
                      for rank, (label, answer) in enumerate(
                          zip(labels, answers, strict=True), 1)]
        return '\n'.join(lines)

    @property
    def _names(self) -> list[str] | None:
        return (self.relation_names if self.side == 'relation' else
                self.node_names)

    def _queries(self) -> list[dict[str, str]]:
        given = {'head': (self.head, self.node_names),
                 'relation': (self.rel_type, self.relation_names),
                 'tail': (self.tail, self.node_names)}
        del given[self.side]
        return [dict(zip(given, row, strict=True)) for row in zip(*(
            [label_of(names, i) for i in ids.tolist()]
            for ids, names in given.values()), strict=True)]


@relation_is_rel_type
def predict(
    model: Module,
    kg: Any = None,
    head: Ids | None = None,
    rel_type: Ids | None = None,
    tail: Ids | None = None,
    k: int = 10,
    filter_known: bool = False,
    self_loops: bool = False,
) -> Prediction:
    r"""Predicts the missing part of triples: the tails of
    :obj:`(head, rel_type, ?)`, the heads of :obj:`(?, rel_type, tail)`, or
    the relations of :obj:`(head, ?, tail)`.

    Nodes and relations are ids or labels, either single values or lists. A
    single value is repeated to match a list. Answers with equal scores are
    sorted by id.

    Many models assign :obj:`(h, r, h)` a high score without having learned it.
    By default, the node of a query is therefore not an answer to it, unless a
    training triple of the relation connects a node to itself. This only
    affects predictions, while :func:`~pyg_mmkgc.evaluation.evaluate` ranks all
    nodes.

    .. code-block:: python

        >>> from pyg_mmkgc import AdaMF, Countries, predict
        >>> kg = Countries()[0]
        >>> model = AdaMF.from_data(kg, hidden_channels=8)
        >>> found = predict(model, kg, head='Austria', rel_type='neighbour')
        >>> found.answer.shape
        torch.Size([1, 10])
        >>> 'Austria' in found.labels[0]
        False
        >>> found = predict(model, head='Austria', tail='Vienna', k=3)
        >>> found.side, len(found.labels[0])
        ('relation', 3)

    Args:
        model (torch.nn.Module): A model, as for
            :func:`~pyg_mmkgc.evaluation.evaluate`.
        kg (KnowledgeGraph, optional): The graph, as for
            :func:`~pyg_mmkgc.evaluation.evaluate`. If set to :obj:`None`,
            the labels stored in the model are used, no answer is marked as
            known, and no relation counts as having self-loops.
            (default: :obj:`None`)
        head (int or str or list, optional): The heads. If set to
            :obj:`None`, they are predicted. (default: :obj:`None`)
        rel_type (int or str or list, optional): The relations. If set to
            :obj:`None`, they are predicted. (default: :obj:`None`)
        tail (int or str or list, optional): The tails. If set to
            :obj:`None`, they are predicted. (default: :obj:`None`)
        k (int, optional): The number of answers. (default: :obj:`10`)
        filter_known (bool, optional): If set to :obj:`True`, leaves out
            answers that form a known triple of the graph, in any split or its
            filter. (default: :obj:`False`)
        self_loops (bool, optional): If set to :obj:`True`, the node of a
            query may be an answer to it. (default: :obj:`False`)

    Returns:
        The answers with their ids, labels and scores, best first. Printing
        the result shows a table.

    Raises:
        ConfigError: If not exactly two of :obj:`head`, :obj:`rel_type` and
            :obj:`tail` are given, :obj:`k` is not a positive integer, or
            :obj:`filter_known` is set without a graph.
        DataError: If an id or label is not in the graph.
        ModelError: If the model does not fit the graph.
        NonFiniteError: If a score is NaN or infinite.
    """
    if sum(part is None for part in (head, rel_type, tail)) != 1:
        raise ConfigError(
            "Expected two of 'head', 'rel_type' and 'tail' to predict the "
            'third (got ' + (', '.join(f"'{name}'" for name, part in (
                ('head', head), ('rel_type', rel_type), ('tail', tail))
                if part is not None) or 'none') + ')')
    if not isinstance(k, (int, np.integer)) or k < 1:
        raise ConfigError(f"Expected 'k' to be a positive integer (got "
                          f'{k!r})')
    if kg is None and filter_known:
        raise ConfigError("Expected 'kg' to be given with 'filter_known' (got "
                          'None). The graph defines the known triples.')
    graph = graph_of(model) if kg is None else as_graph(kg)
    model = model_for(model, graph)
    index = known_index(graph).to('cpu')
    if rel_type is None:
        assert head is not None and tail is not None
        first, second = align(node_ids(graph, head), node_ids(graph, tail),
                              'heads as tails')
        answer, value = _best_relations(model, graph, first, second, int(k),
                                        index if filter_known else None)
        triple = first, answer, second
        asked, without = 'relation', torch.zeros_like(first).bool()
    else:
        side: Side = 'tail' if tail is None else 'head'
        given = head if tail is None else tail
        assert given is not None
        first, second = align(node_ids(graph, given),
                              relation_ids(graph, rel_type),
                              'nodes as relations')
        without = ~_has_loops(graph)[second] & (not self_loops)
        answer, value = _best_nodes(model, graph, first, second, side, int(k),
                                    index if filter_known else None, without)
        asked, triple = side, ((first, second, answer) if side == 'tail' else
                               (answer, second, first))

    known = None
    if kg is not None:
        known = index.contains(*(
            x.clamp(min=0) if x is answer else x[:, None]
            for x in triple)) & (answer >= 0)
    return Prediction(
        asked, *triple, value, known, without,
        graph.get('node_names'), graph.get('relation_names'))


def _has_loops(kg: KnowledgeGraph) -> Tensor:
    r"""Returns a mask :obj:`[R]` of the relations that connect a node to
    itself in training.
    """
    out = torch.zeros(kg.num_relations, dtype=torch.bool)
    train = kg.splits().get('train')
    if train is not None:
        head, tail = train.edge_index.cpu()
        out[train.edge_type.cpu()[head == tail]] = True
    return out


def _best_nodes(model: Module, kg: KnowledgeGraph, given: Tensor, rel: Tensor,
                side: Side, k: int, index: TripleIndex | None,
                without: Tensor) -> tuple[Tensor, Tensor]:
    nodes, values = [], []
    with scoring(model, kg) as scorer:
        for some, kind, alone in zip(*(x.split(scorer.max_queries) for x in (
                given, rel, without)), strict=True):
            node, value = _best(scorer, some, kind, side,
                                min(k, kg.num_nodes), index, alone)
            nodes.append(node.masked_fill(value == float('-inf'), -1))
            values.append(value)
    return torch.cat(nodes).cpu(), torch.cat(values).cpu()


def _best(scorer: Scorer, given: Tensor, rel: Tensor, side: Side, k: int,
          index: TripleIndex | None,
          without: Tensor) -> tuple[Tensor, Tensor]:
    r"""Returns the best nodes :obj:`[Q, k]` for queries :obj:`[Q]` and their
    scores. Triples in :obj:`index` are left out, as are the given nodes of
    the queries in the mask :obj:`without`.
    """
    queries = scorer.ask(given, rel, side)
    # The best nodes and scores of the blocks so far.
    device = scorer.device
    node = given.new_empty(given.numel(), 0, device=device)
    value = torch.empty(node.shape, device=device)
    error: NonFiniteError | None = None
    for first, last in scorer.blocks:
        scoring_block = queries.against((first, last), scorer.batch_size)
        if first == last:  # Other processes have a last block.
            continue
        nodes, values = [], []
        for part in torch.arange(given.numel()).split(scorer.batch_size):
            scores = scoring_block(part)
            try:
                assert_finite(scores, first, scorer.nodes)
            except NonFiniteError as found:
                if scorer.nodes is None:
                    raise
                error = found
            rows, hidden = [without[part].nonzero()[:, 0]], [
                given[part][without[part]]]
            if index is not None:
                row, known = (index.tails(given[part], rel[part])
                              if side == 'tail' else
                              index.heads(rel[part], given[part]))
                rows.append(row)
                hidden.append(known)
            row, other = torch.cat(rows), scorer.place(torch.cat(hidden))
            here = (other >= first) & (other < last)
            if bool(here.any()):
                scores = scores.index_put(
                    (to_device(row[here], device),
                     to_device(other[here] - first, device)),
                    scores.new_full((), float('-inf')))
            # Earlier blocks come first among equal scores, since their ids are
            # lower.
            top, place = _top(scores, min(k, last - first))
            rows_of_part = to_device(part, device)
            top = torch.cat([value[rows_of_part], top], dim=1)
            top, order = _top(top, min(k, top.size(1)))
            nodes.append(torch.cat([node[rows_of_part],
                                    scorer.node(place + first)],
                                   dim=1).gather(1, order))
            values.append(top)
        node, value = torch.cat(nodes), torch.cat(values)
    return (node, value) if scorer.nodes is None else _best_of_ranks(
        node, value, k, error)


def _best_of_ranks(node: Tensor, value: Tensor, k: int,
                   error: NonFiniteError | None) -> tuple[Tensor, Tensor]:
    r"""Returns the best of the best nodes of all processes."""
    raise_on_all(error)
    missing = (0, k - node.size(1))
    nodes, values = (stack_ranks(x).transpose(0, 1).flatten(1) for x in (
        F.pad(node, missing, value=-1),
        F.pad(value, missing, value=float('-inf'))))
    nodes, order = nodes.sort(dim=1, stable=True)  # Ties go by id.
    value, place = _top(values.gather(1, order), k)
    return nodes.gather(1, place), value


def _best_relations(model: Module, kg: KnowledgeGraph, head: Tensor,
                    tail: Tensor, k: int,
                    index: TripleIndex | None) -> tuple[Tensor, Tensor]:
    R = kg.num_relations
    rel = torch.arange(R).repeat(head.numel())
    heads, tails = head.repeat_interleave(R), tail.repeat_interleave(R)
    with scoring(model, kg) as scorer:
        scores = score_triples(model, scorer, heads, rel, tails).cpu()
    if index is not None:
        scores = scores.masked_fill(index.contains(heads, rel, tails),
                                    float('-inf'))
    value, answer = _top(scores.view(-1, R), min(k, R))
    return answer.masked_fill(value == float('-inf'), -1), value


def _top(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    # `topk` breaks ties arbitrarily. Select the lowest ids among the scores
    # that tie for the last place, then sort the `k` scores stably.
    last = scores.topk(k).values[:, -1:]
    above, equal = scores > last, scores == last
    room = k - above.sum(dim=1, keepdim=True)
    best = above | equal & (equal.cumsum(dim=1) <= room)
    # Each row has k places, so the host need not wait for their number.
    index = best.nonzero() if best.device.type == 'cpu' else (
        best.nonzero_static(size=best.size(0) * k))
    index = index[:, 1].view(-1, k)
    value, order = scores.gather(1, index).sort(dim=1, descending=True,
                                                stable=True)
    return value, index.gather(1, order)
