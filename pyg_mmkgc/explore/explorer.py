r"""The contents of pages, as values."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import Module

from pyg_mmkgc.errors import ConfigError, DataError
from pyg_mmkgc.evaluation import (
    Comparison,
    Explanation,
    Prediction,
    RankingResult,
    SimilarNodes,
    compare,
    evaluate,
    explain,
    most_similar,
    node_representations,
    predict,
)
from pyg_mmkgc.evaluation.embeddings import has_representations
from pyg_mmkgc.evaluation.score import graph_of
from pyg_mmkgc.evaluation.scorer import scoring
from pyg_mmkgc.explore.adjacency import Adjacency
from pyg_mmkgc.explore.media import Media
from pyg_mmkgc.explore.projection import project
from pyg_mmkgc.explore.search import LabelIndex
from pyg_mmkgc.nn.kge import MMKGEModel
from pyg_mmkgc.runs import Answers
from pyg_mmkgc.typing import Side

# The number of nodes on a map.
POINTS = 4000
# In larger graphs, failures are shown without the model's best answer.
MANY_NODES = 100_000
_DEGREES = (0, 1, 2, 4, 8, 16, 32, 64)


class Failure(NamedTuple):
    r"""A test triple, the side that was predicted, and its rank."""
    head: int
    rel_type: int
    tail: int
    side: Side
    rank: float
    num_candidates: int
    #: The model's best answer that is not a known triple, or :obj:`None` if it
    #: is the right answer or was not computed.
    instead: int | None


class Disagreement(NamedTuple):
    r"""A test triple and its rank in each of two models."""
    head: int
    rel_type: int
    tail: int
    side: Side
    ranks: tuple[float, float]


@dataclass
class Subject:
    r"""A model on the pages.

    Args:
        name (str): The name of the model on the pages.
        answers (Answers): The model and its graph.
        result (RankingResult, optional): The ranks of the test triples, if
            they have been computed. (default: :obj:`None`)
    """
    name: str
    answers: Answers
    result: RankingResult | None = None

    @property
    def model(self) -> Any:
        r"""The model."""
        return self.answers.model

    @property
    def kind(self) -> str:
        r"""The name of the model's class."""
        return type(self.model).__name__


class Explorer:
    r"""Provides the contents of the pages about one graph and one or two
    models, based on the functions of :mod:`pyg_mmkgc.evaluation`.

    It may be called from several threads, but only computes one answer at a
    time.

    Args:
        subjects (list[Subject]): One model, or two on the same graph.
        media (Media, optional): Pictures and texts of the nodes.
            (default: :obj:`None`)
        title (str, optional): The name of the graph. (default: :obj:`""`)

    Raises:
        ConfigError: If there are no models, or more than two.
        DataError: If two models have different nodes or relations.
    """
    def __init__(self, subjects: Sequence[Subject],
                 media: Media | None = None, title: str = '') -> None:
        if not 1 <= len(subjects) <= 2:
            raise ConfigError('Expected one model or two to explore (got '
                              f'{len(subjects)})')
        self.subjects = list(subjects)
        first = subjects[0].answers
        self.has_graph = first.graph is not None
        self.graph = first.graph or graph_of(first.model)
        self.num_nodes: int = self.graph.num_nodes
        self.num_relations: int = self.graph.num_relations
        self.node_names = self.graph.get('node_names')
        self.relation_names = self.graph.get('relation_names')
        for other in subjects[1:]:
            graph = other.answers.graph or graph_of(other.model)
            if (graph.num_nodes != self.num_nodes
                    or graph.get('node_names') != self.node_names
                    or graph.get('relation_names') != self.relation_names):
                raise DataError(
                    'Expected two models of the same nodes and relations, in '
                    f"the same order (got '{subjects[0].name}' and "
                    f"'{other.name}')")
        self.media = media or Media()
        self.title = title
        self.adjacency = Adjacency(self.graph)
        self.index = LabelIndex(self.node_names or [
            str(i) for i in range(self.num_nodes)], self.adjacency.degree)
        self._masks = self.graph.masks()
        self._lock = threading.RLock()
        self._kept: dict[int, Any] = {}
        self._cache: dict[Any, Any] = {}

    # Nodes and relations #####################################################

    def label(self, node: int) -> str:
        r"""Returns the label of a node, or its id if it has none."""
        if self.node_names is None:
            return str(node)
        return self.node_names[node] if self.node_names[
            node].strip() else f'#{node}'

    def relation(self, rel_type: int) -> str:
        r"""Returns the label of a relation, or its id."""
        return (str(rel_type) if self.relation_names is None else
                self.relation_names[rel_type])

    def search(self, query: str, limit: int = 10) -> list[int]:
        r"""Finds nodes by a part of their label, or by their id."""
        found = self.index.search(query, limit)
        text = query.strip().removeprefix('#')
        if text.isascii() and text.isdigit() and len(text) < 19:
            node = int(text)
            if node < self.num_nodes and node not in found:
                found = [*found[:limit - 1], node]
        return found

    def find(self, label: str) -> int | None:
        r"""Returns the node with a label, or :obj:`None` if there is no such
        node, or more than one.
        """
        found = [i for i in self.index.search(label, 50)
                 if self.label(i) == label]
        return found[0] if len(found) == 1 else None

    def modalities(self, node: int) -> dict[str, bool]:
        r"""Returns a flag for each modality, which is :obj:`True` if a node
        has features of it.
        """
        return {name: bool(mask[node].any())
                for name, mask in self._masks.items()}

    def coverage(self) -> dict[str, tuple[int, int]]:
        r"""Returns the number of nodes with features and the number of
        channels of each modality.
        """
        return self._once('coverage', lambda: {
            name: (int((mask.any(dim=-1) if mask.dim() > 1 else mask).sum()),
                   self.graph[f'x_{name}'].size(-1))
            for name, mask in self._masks.items()})

    # Questions ###############################################################

    def predict(self, which: int, head: int | None, rel_type: int | None,
                tail: int | None, k: int = 10,
                new: bool = False) -> Prediction:
        r"""Completes a triple, see :func:`~pyg_mmkgc.evaluation.predict`."""
        with self._lock:
            return predict(self._model(which), self._graph(which), head,
                           rel_type, tail, k, new and self.has_graph)

    def explain(self, which: int, head: int, rel_type: int, tail: int,
                k: int = 5) -> Explanation:
        r"""Explains the score of a triple, see
        :func:`~pyg_mmkgc.evaluation.explain`.
        """
        with self._lock:
            return explain(self.subjects[which].model, self.graph, head,
                           rel_type, tail, k)

    def has_table(self, which: int) -> bool:
        r"""Returns :obj:`True` if a model has representations of nodes."""
        return has_representations(self.subjects[which].model)

    def similar(self, which: int, node: int, k: int = 8) -> SimilarNodes:
        r"""Finds similar nodes, see
        :func:`~pyg_mmkgc.evaluation.most_similar`.
        """
        with self._lock:
            return most_similar(self._model(which), self._graph(which), node,
                                k)

    def prepare(self) -> None:
        r"""Answers one question with each model whose representations are
        cached, which makes the next answer faster.
        """
        for i, subject in enumerate(self.subjects):
            if isinstance(subject.model, MMKGEModel):
                self.predict(i, 0, 0, None, 1)

    # Test triples ############################################################

    def rankings(self, which: int,
                 compute: bool = False) -> RankingResult | None:
        r"""Returns the ranks of the test triples. If they have not been
        computed yet, computes them if :obj:`compute` is set, and returns
        :obj:`None` otherwise.
        """
        subject = self.subjects[which]
        with self._lock:
            if (subject.result is None and compute
                    and self.has_test_triples()):
                subject.result = evaluate(self._model(which),
                                          self._graph(which), 'test')
        return subject.result

    def has_test_triples(self) -> bool:
        r"""Returns :obj:`True` if the graph has a test split."""
        return 'test_mask' in self.graph and bool(self.graph.test_mask.any())

    def slices(self, which: int) -> dict[str, dict[str, dict[str, float]]]:
        r"""Returns the metrics of slices of the test triples: by relation
        (with ids as labels), by the number of training triples of the node to
        predict, and by missing modalities. The keys are the group, the label
        of the slice, and the metric.

        Raises:
            DataError: If the ranks of the test triples have not been computed.
        """
        def make() -> dict[str, dict[str, dict[str, float]]]:
            result = self._known_result(which)
            return dataclasses.replace(
                result, groups=self._groups(result)).slices

        with self._lock:
            return self._once(('slices', which), make)

    def failures(self, which: int, group: str | None = None,
                 label: str | None = None, limit: int = 25) -> list[Failure]:
        r"""Returns the test triples with the worst ranks, among all of them or
        within a slice.

        Args:
            which (int): The model.
            group (str, optional): The first key of a slice of :meth:`slices`.
                (default: :obj:`None`)
            label (str, optional): The second key of the slice.
                (default: :obj:`None`)
            limit (int, optional): The number of triples. (default: :obj:`25`)

        Raises:
            DataError: If there is no such slice, or if the ranks of the test
                triples have not been computed.
        """
        result = self._known_result(which)
        rank = result.ranks.by_ties(result.protocol['ties'])
        order = rank.argsort(descending=True, stable=True)
        if group is not None:
            labels, slice_of = self._groups(result).get(group, ([], rank))
            if label not in labels:
                raise DataError(f'Expected a slice of the test triples (got '
                                f'{group!r}, {label!r})')
            order = order[(slice_of == labels.index(label))[order]]
        rows = [(*triple, rank[i], result.ranks.num_candidates[i])
                for i, triple in self._triples(result, order[:limit])]
        best = self._best_answers(which, [row[:4] for row in rows])
        return [Failure(h, r, t, side, float(x), int(count), node)
                for (h, r, t, side, x, count), node in zip(rows, best,
                                                           strict=True)]

    def compare(self) -> Comparison | None:
        r"""Compares the two models, see :func:`~pyg_mmkgc.evaluation.compare`.
        Returns :obj:`None` until the ranks of both have been computed.
        """
        first, second = (x.result for x in self.subjects)
        if first is None or second is None:
            return None
        with self._lock:
            return self._once('compare', lambda: compare(
                first, second, names=[x.name for x in self.subjects]))

    def disagreements(self, better: int,
                      limit: int = 12) -> list[Disagreement]:
        r"""Returns the test triples on which one model outperforms the other
        by the largest differences of reciprocal ranks.
        """
        results = [self._known_result(i) for i in range(2)]
        ranks = [x.ranks.by_ties(x.protocol['ties']) for x in results]
        difference = 1 / ranks[better] - 1 / ranks[1 - better]
        order = difference.argsort(descending=True, stable=True)[:limit]
        order = order[difference[order] > 0]
        return [Disagreement(*triple, (float(ranks[0][i]),
                                       float(ranks[1][i])))
                for i, triple in self._triples(results[0], order)]

    def node_results(self, which: int, node: int) -> tuple[int, float] | None:
        r"""Returns the number of rankings of test triples with a node as the
        target, and their MRR, or :obj:`None` if there are no such rankings.
        """
        result = self.subjects[which].result
        if result is None:
            return None
        labels, side = result.groups['side']
        head = side == labels.index('head') if 'head' in labels else (
            side < 0)
        asked = torch.where(head, result.head_index, result.tail_index)
        mine = (asked == node).nonzero()[:, 0]
        if mine.numel() == 0:
            return None
        return mine.numel(), dataclasses.replace(
            result, ranks=result.ranks.select(mine)).mrr

    # Map #####################################################################

    def map_points(self, which: int, method: str = 'pca',
                   node: int | None = None) -> tuple[Tensor, Tensor]:
        r"""Returns the ids :obj:`[P]` of up to 4,000 nodes and their positions
        :obj:`[P, 2]` on a map of the representations. Small graphs are shown
        completely, and large graphs by a random sample that, with
        :obj:`"pca"`, also includes :obj:`node`.
        """
        with self._lock:
            nodes = self._once('sample', self._sample)
            if (node is None or method != 'pca'
                    or bool((nodes == node).any())):
                return nodes, self._once(('map', which, method), lambda: (
                    project(self._table(which), nodes, method)))
            # Only a PCA can place an additional node.
            nodes = torch.cat([nodes, torch.tensor([node])])
            return nodes, project(self._table(which), nodes, method)

    def roles(self) -> dict[int, tuple[int, Side] | None]:
        r"""Returns the most frequent relation and side of each node on the
        map.
        """
        nodes = self._once('sample', self._sample)
        return self._once('roles', lambda: dict(zip(
            nodes.tolist(), self.adjacency.roles(nodes), strict=True)))

    # Inside ##################################################################

    def _sample(self) -> Tensor:
        if self.num_nodes <= POINTS:
            return torch.arange(self.num_nodes)
        generator = np.random.default_rng(0)
        return torch.from_numpy(np.sort(generator.choice(
            self.num_nodes, POINTS, replace=False)))

    def _once(self, key: Any, make: Callable[[], Any]) -> Any:
        if key not in self._cache:
            self._cache[key] = make()
        return self._cache[key]

    def _graph(self, which: int) -> Any:
        return self.subjects[which].answers.graph

    def _model(self, which: int) -> Any:
        # Fusing all modalities of a million nodes takes seconds, so it is only
        # done once.
        model = self.subjects[which].model
        if not isinstance(model, MMKGEModel):
            return model
        if which not in self._kept:
            with scoring(model, self.graph) as scorer:
                table = scorer.table if scorer.table is not None else (
                    scorer.encode(torch.arange(
                        self.num_nodes,
                        device=next(model.parameters()).device)))
            self._kept[which] = _Encoded(model, table)
        return self._kept[which]

    def _table(self, which: int) -> Tensor:
        return self._once(('table', which), lambda: node_representations(
            self._model(which), self.graph))

    def _known_result(self, which: int) -> RankingResult:
        result = self.subjects[which].result
        if result is None:
            raise DataError("Expected the ranks of the test triples by "
                            f"'{self.subjects[which].name}' (got none yet)")
        return result

    def _triples(self, result: RankingResult, order: Tensor
                 ) -> list[tuple[int, tuple[int, int, int, Side]]]:
        labels, side = result.groups['side']
        return [(i, (int(result.head_index[i]), int(result.rel_type[i]),
                     int(result.tail_index[i]),
                     'head' if labels[int(side[i])] == 'head' else 'tail'))
                for i in order.tolist()]

    def _groups(self, result: RankingResult
                ) -> dict[str, tuple[list[str], Tensor]]:
        labels, side = result.groups['side']
        is_head = torch.tensor([label == 'head' for label in labels])[side]
        head, tail = result.head_index, result.tail_index
        asked = torch.where(is_head, head, tail)
        given = torch.where(is_head, tail, head)
        degree = self.adjacency.train_degree[asked]
        bounds = torch.tensor(_DEGREES)
        names = [str(a) if b == a + 1 else f'{a} to {b - 1}' for a, b in zip(
            _DEGREES, _DEGREES[1:], strict=False)] + [f'{_DEGREES[-1]} or '
                                                      'more']
        out = {
            'relation': ([str(i) for i in range(self.num_relations)],
                         result.rel_type),
            'degree': (names, torch.bucketize(degree, bounds, right=True) - 1),
        }
        for name, mask in self._masks.items():
            mask = (mask.any(dim=-1) if mask.dim() > 1 else mask).cpu()
            if bool(mask.all()):
                continue
            lacks = 2 * (~mask[asked]).long() + (~mask[given]).long()
            out[f'missing {name}'] = (
                ['both nodes have it', 'the given node lacks it',
                 'the answer lacks it', 'both nodes lack it'], lacks)
        return out

    def _best_answers(self, which: int,
                      rows: Sequence[tuple[int, int, int, Side]]
                      ) -> list[int | None]:
        out: list[int | None] = [None] * len(rows)
        if self.num_nodes > MANY_NODES:
            return out
        for side in ('head', 'tail'):
            place = [i for i, row in enumerate(rows) if row[3] == side]
            if not place:
                continue
            head, rel, tail = (torch.tensor([rows[i][j] for i in place])
                               for j in range(3))
            with self._lock:
                found = predict(
                    self._model(which), self._graph(which),
                    None if side == 'head' else head, rel,
                    None if side == 'tail' else tail, 1, True)
            for i, node in zip(place, found.answer[:, 0].tolist(),
                               strict=True):
                out[i] = node if node >= 0 else None
        return out


class _Encoded(Module):
    r"""A model with cached representations of all nodes."""
    def __init__(self, model: MMKGEModel, table: Tensor) -> None:
        super().__init__()
        self.model, self.table = model, table.detach()
        self.num_nodes = model.num_nodes
        self.num_relations = model.num_relations
        self.node_names = getattr(model, 'node_names', None)
        self.relation_names = getattr(model, 'relation_names', None)

    def encode(self, index: Tensor | None = None) -> Tensor:
        return self.table if index is None else self.table[index]

    def forward(self, head_index: Tensor, rel_type: Tensor,
                tail_index: Tensor) -> Tensor:
        return self.model(head_index, rel_type, tail_index)

    def score_tails(self, head_index: Tensor, rel_type: Tensor,
                    table: Tensor) -> Tensor:
        return self.model.score_tails(head_index, rel_type, table=table)

    def score_heads(self, rel_type: Tensor, tail_index: Tensor,
                    table: Tensor) -> Tensor:
        return self.model.score_heads(rel_type, tail_index, table=table)


def by_share(slices: Mapping[str, Mapping[str, float]]
             ) -> list[tuple[str, Mapping[str, float]]]:
    r"""Sorts slices by their share of the lost MRR in descending order."""
    return sorted(slices.items(), key=lambda item: -(
        item[1]['count'] * (1 - item[1]['mrr'])))
