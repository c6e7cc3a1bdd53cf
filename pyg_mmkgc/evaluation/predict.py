from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Module

from pyg_mmkgc.data import TripleIndex
from pyg_mmkgc.errors import ConfigError, DataError, printable
from pyg_mmkgc.evaluation.evaluate import as_graph, known_index
from pyg_mmkgc.evaluation.scorer import Scorer, device_of, scoring
from pyg_mmkgc.metrics import assert_finite

WIDTH = 60  # Of a label in a table.
# An id, a label, or many of them.
Ids = int | str | Sequence[int | str] | Tensor


@dataclass(frozen=True, eq=False)
class Prediction:
    r"""The :math:`k` best answers of :math:`Q` queries.

    Where fewer than :math:`k` nodes are left after filtering, a row ends in
    node :obj:`-1` with score :math:`-\infty`.

    Args:
        side (str): What was predicted, :obj:`"tail"` or :obj:`"head"`.
        given (torch.Tensor): The other node, of shape :math:`[Q]`.
        rel_type (torch.Tensor): The relation, of shape :math:`[Q]`.
        node (torch.Tensor): The answers, best first, of shape :math:`[Q, k]`.
        score (torch.Tensor): Their scores, of shape :math:`[Q, k]`.
        known (torch.Tensor): Whether the graph has that triple, of shape
            :math:`[Q, k]`.
        node_names (list of str, optional): A label per node of the graph.
        relation_names (list of str, optional): A label per relation.
    """
    side: str
    given: Tensor
    rel_type: Tensor
    node: Tensor
    score: Tensor
    known: Tensor
    node_names: list[str] | None = None
    relation_names: list[str] | None = None

    @property
    def labels(self) -> list[list[str]]:
        r"""The labels of the answers of each query."""
        return [[_label(self.node_names, i) for i in row if i >= 0]
                for row in self.node.tolist()]

    def to_dict(self) -> list[dict[str, Any]]:
        r"""One plain dictionary per query, ready for JSON."""
        other = 'head' if self.side == 'tail' else 'tail'
        rows = zip(self.given.tolist(), self.rel_type.tolist(),
                   self.node.tolist(), self.score.tolist(),
                   self.known.tolist(), strict=True)
        return [{
            other: _label(self.node_names, given),
            'relation': _label(self.relation_names, rel),
            f'{self.side}s': [{
                'id': i,
                'label': _label(self.node_names, i),
                'score': score,
                'known': known,
            } for i, score, known in zip(*answers, strict=True) if i >= 0],
        } for given, rel, *answers in rows]

    def __str__(self) -> str:
        lines = []
        for query in self.to_dict():
            triple = {'head': '?', 'tail': '?'} | query
            lines.append(f"({_cut(triple['head'])}, "
                         f"{_cut(triple['relation'])}, "
                         f"{_cut(triple['tail'])})")
            answers = query[f'{self.side}s']
            labels = [_cut(answer['label']) for answer in answers]
            width = max(map(len, labels), default=0)
            lines += [f"{rank:>4}  {label:<{width}}  "
                      f"{answer['score']:>10.4f}"
                      f"{'  known' if answer['known'] else ''}"
                      for rank, (label, answer) in enumerate(
                          zip(labels, answers, strict=True), 1)]
        return '\n'.join(lines)


def predict(
    model: Module,
    kg: Any,
    head: Ids | None = None,
    rel_type: Ids | None = None,
    tail: Ids | None = None,
    k: int = 10,
    filter_known: bool = False,
) -> Prediction:
    r"""Predicts the tails of :obj:`(head, rel_type, ?)`, or the heads of
    :obj:`(?, rel_type, tail)`.

    Nodes and relations are ids or labels, one or a list; one is repeated for
    a list of the other. Equal scores come in the order of their ids.

    .. code-block:: python

        print(predict(model, kg, head='Austria', rel_type='neighbour'))
        predict(model, kg, tail=[3, 7], rel_type=0, k=5).labels

    Args:
        model (torch.nn.Module): A model, as for
            :func:`~pyg_mmkgc.evaluation.evaluate`.
        kg (KnowledgeGraph): The graph, as for
            :func:`~pyg_mmkgc.evaluation.evaluate`.
        head (int or str or list, optional): The heads to predict tails of.
            (default: :obj:`None`)
        rel_type (int or str or list): The relations.
        tail (int or str or list, optional): The tails to predict heads of.
            (default: :obj:`None`)
        k (int, optional): The number of answers. (default: :obj:`10`)
        filter_known (bool, optional): If set to :obj:`True`, leaves out
            answers that are triples of the graph, of whatever split.
            (default: :obj:`False`)

    Returns:
        The answers with their ids, labels and scores, best first; printing
        it shows a table.

    Raises:
        ConfigError: If not exactly one of :obj:`head` and :obj:`tail` is
            given, or no relation.
        DataError: If an id or label is not in the graph.
        ModelError: If the model does not fit the graph.
        NonFiniteError: If a score is NaN or infinite.
    """
    if rel_type is None or (head is None) == (tail is None):
        raise ConfigError("Expected 'rel_type' and one of 'head' (to predict "
                          "tails) and 'tail' (to predict heads)")
    if not isinstance(k, (int, np.integer)) or k < 1:
        raise ConfigError(f"Expected a positive whole number 'k' (got {k!r})")
    kg = as_graph(kg)
    side, other = ('tail', head) if head is not None else ('head', tail)
    device = device_of(model)
    given, rel = _align(
        _resolve(other, kg.get('node_names'), kg.num_nodes, 'node'),
        _resolve(rel_type, kg.get('relation_names'), kg.num_relations,
                 'relation'))
    given, rel = given.to(device), rel.to(device)
    index = known_index(kg).to(device)
    nodes, values = [], []
    with scoring(model, kg) as scorer:
        for some, kind in zip(given.split(scorer.max_queries),
                              rel.split(scorer.max_queries), strict=True):
            node, value = _best(scorer, some, kind, side,
                                min(k, kg.num_nodes),
                                index if filter_known else None)
            nodes.append(node.masked_fill(value == float('-inf'), -1))
            values.append(value)

    answer = torch.cat(nodes)
    found, pair = answer.clamp(min=0), (given[:, None], rel[:, None])
    in_graph = (index.contains(*pair, found) if side == 'tail' else
                index.contains(found, pair[1], pair[0]))
    return Prediction(side, given.cpu(), rel.cpu(), answer.cpu(),
                      torch.cat(values).cpu(),
                      (in_graph & (answer >= 0)).cpu(),
                      kg.get('node_names'), kg.get('relation_names'))


def _best(scorer: Scorer, given: Tensor, rel: Tensor, side: str, k: int,
          index: TripleIndex | None) -> tuple[Tensor, Tensor]:
    r"""The best nodes :obj:`[Q, k]` of queries :obj:`[Q]`, and their scores,
    but for the triples in :obj:`index`.
    """
    queries = scorer.ask(given, rel, side)
    node = given.new_empty(given.numel(), 0)  # Those of the blocks so far.
    value = torch.empty(node.shape, device=node.device)
    for first, last in scorer.blocks:
        score = queries.against((first, last), scorer.batch_size)
        nodes, values = [], []
        for part in torch.arange(given.numel(), device=given.device).split(
                scorer.batch_size):
            scores = score(part)
            assert_finite(scores, first)
            if index is not None:
                row, known = (index.tails(given[part], rel[part])
                              if side == 'tail' else
                              index.heads(rel[part], given[part]))
                here = (known >= first) & (known < last)
                scores = scores.index_put(
                    (row[here], known[here] - first),
                    scores.new_tensor(float('-inf')))
            # Equal scores of earlier blocks come first: they have lower ids.
            top, place = _top(scores, min(k, last - first))
            top = torch.cat([value[part], top], dim=1)
            top, order = _top(top, min(k, top.size(1)))
            nodes.append(torch.cat([node[part], place + first],
                                   dim=1).gather(1, order))
            values.append(top)
        node, value = torch.cat(nodes), torch.cat(values)
    return node, value


def _top(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    # `topk` gives equal scores in any order, and any of those that tie for
    # the last place. Take the lowest ids of them, then sort the `k` stably.
    last = scores.topk(k).values[:, -1:]
    above, equal = scores > last, scores == last
    room = k - above.sum(dim=1, keepdim=True)
    index = (above | equal & (equal.cumsum(dim=1) <= room)).nonzero()[:, 1]
    index = index.view(-1, k)
    value, order = scores.gather(1, index).sort(dim=1, descending=True,
                                                stable=True)
    return value, index.gather(1, order)


def _resolve(ids: Any, names: list[str] | None, size: int,
             kind: str) -> Tensor:
    if isinstance(ids, (Tensor, np.ndarray, np.generic)):
        ids = ids.tolist()
    ids = list(ids) if isinstance(ids, Iterable) and not isinstance(
        ids, str) else [ids]
    place = {name: i for i, name in enumerate(names or [])}
    out = []
    for value in ids:
        if isinstance(value, str):
            out.append(_find(value, place, names, kind))
        elif (isinstance(value, (int, np.integer))
              and not isinstance(value, bool) and 0 <= value < size):
            out.append(int(value))
        else:
            raise DataError(f'Expected a {kind} id in 0..{size - 1} or a '
                            f'label (got {value!r})')
    return torch.tensor(out, dtype=torch.long)


def _find(label: str, place: dict[str, int], names: list[str] | None,
          kind: str) -> int:
    if names is None:
        raise DataError(f'Expected a {kind} id (got the label {label!r}, but '
                        f'the graph has no {kind} labels)')
    if label not in place:
        near = difflib.get_close_matches(label, place, n=3, cutoff=0.0)
        hint = ('; it was taken for a label, since it is text or some labels '
                'are numbers, and not for an id' if label.isdigit() else '')
        raise DataError(f'Expected a {kind} of the graph (got '
                        f'{_cut(label)!r}); the nearest are '
                        f"{', '.join(repr(_cut(name)) for name in near)}"
                        f'{hint}')
    if names.count(label) > 1:
        raise DataError(f'Expected a label of one {kind} (got {label!r}, '
                        f'which {names.count(label)} have): use the id')
    return place[label]


def _align(given: Tensor, rel: Tensor) -> tuple[Tensor, Tensor]:
    if given.numel() != rel.numel() and 1 not in (given.numel(),
                                                  rel.numel()):
        raise DataError(f'Expected as many nodes as relations, or one of '
                        f'either (got {given.numel()} and {rel.numel()})')
    if 0 in (given.numel(), rel.numel()):
        raise DataError('Expected at least one query (got none)')
    given, rel = torch.broadcast_tensors(given, rel)
    return given.contiguous(), rel.contiguous()


def _cut(label: str) -> str:
    r"""A label that fits into a line of a table."""
    label = label if len(label) <= WIDTH else label[:WIDTH - 1] + '…'
    return printable(label)


def _label(names: list[str] | None, index: int) -> str:
    return str(index) if names is None else names[index]
