r"""Scores of given triples, with or without a graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Module

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.errors import DataError, ModelError
from pyg_mmkgc.evaluation.evaluate import as_graph
from pyg_mmkgc.evaluation.labels import node_ids, relation_ids
from pyg_mmkgc.evaluation.scorer import (
    Scorer,
    model_for,
    scoring,
)
from pyg_mmkgc.kernels.host import to_device
from pyg_mmkgc.metrics import assert_finite

# The number of triples per call of `forward`.
TRIPLES = 1 << 13


def score(model: Module, kg: Any, triples: Any) -> Tensor:
    r"""Returns the scores :obj:`[T]` of given triples. Higher scores are
    more plausible.

    Scores of the same model can be compared with each other, but they are
    not probabilities. A model with reciprocal relations returns the score
    that it uses to rank the tail of a triple.

    .. code-block:: python

        >>> from pyg_mmkgc import AdaMF, Countries
        >>> from pyg_mmkgc.evaluation import score
        >>> kg = Countries()[0]
        >>> model = AdaMF.from_data(kg, hidden_channels=8)
        >>> score(model, kg, [('Austria', 'neighbour', 'Italy'),
        ...                   ('Austria', 'neighbour', 'Japan')]).shape
        torch.Size([2])
        >>> score(model, kg, kg.split('test')).shape
        torch.Size([1236])

    Args:
        model (torch.nn.Module): A model, as for
            :func:`~pyg_mmkgc.evaluation.evaluate`.
        kg (KnowledgeGraph or None): The graph, as for
            :func:`~pyg_mmkgc.evaluation.evaluate`. If set to :obj:`None`, the
            labels stored in the model are used.
        triples (list or torch.Tensor or KnowledgeGraph): The triples: rows
            of head, relation and tail as ids or labels, or a graph.

    Raises:
        DataError: If an id or label is not in the graph, or a row is not a
            triple.
        ModelError: If the model does not fit the graph.
        NonFiniteError: If a score is NaN or infinite.
    """
    graph = graph_of(model) if kg is None else as_graph(kg)
    model = model_for(model, graph)
    if isinstance(triples, KnowledgeGraph):
        (head, tail), rel = triples.edge_index, triples.edge_type
        columns = [head, rel, tail]
    else:
        rows = triples.tolist() if isinstance(
            triples, (Tensor, np.ndarray)) else list(triples)
        for i, row in enumerate(rows):
            if (isinstance(row, str) or not isinstance(row, Sequence)
                    or len(row) != 3):
                raise DataError(f'Expected a head, a relation and a tail in '
                                f'row {i} of the triples (got {row!r})')
        columns = [list(column) for column in zip(*rows, strict=True)]
    if not columns or len(columns[0]) == 0:
        return torch.empty(0)
    head, rel, tail = (ids.cpu() for ids in (
        node_ids(graph, columns[0]), relation_ids(graph, columns[1]),
        node_ids(graph, columns[2])))
    with scoring(model, graph) as scorer:
        return score_triples(model, scorer, head, rel, tail).cpu()


def score_triples(model: Module, scorer: Scorer, head: Tensor,
                  rel_type: Tensor, tail: Tensor) -> Tensor:
    r"""Returns the scores :obj:`[T]` of triples of ids :obj:`[T]` on the
    host, within the context of
    :obj:`pyg_mmkgc.evaluation.scorer.scoring`. For a model
    without :meth:`forward`, they are selected from the scores of all tails.
    """
    has_forward = type(model).forward is not Module.forward
    step = TRIPLES if has_forward else scorer.batch_size
    out = []
    for part in zip(*(x.split(step) for x in (head, rel_type, tail)),
                    strict=True):
        part = tuple(to_device(ids, scorer.device) for ids in part)
        scores = (model(*part) if has_forward else
                  scorer(part[0], part[1], 'tail').gather(1, part[2][:, None]))
        if scores.numel() != part[0].numel():
            raise ModelError(
                f"Expected one score per triple from 'forward' of "
                f"'{type(model).__name__}' (got {scores.numel()} scores for "
                f'{part[0].numel()} triples)')
        out.append(scores.reshape(-1).float())
    scores = torch.cat(out)
    assert_finite(scores[:, None])
    return scores


def graph_of(model: Any) -> KnowledgeGraph:
    r"""Returns a graph without triples that has the nodes, relations and
    labels of a model.

    Raises:
        ModelError: If the model has no :obj:`num_nodes` and
            :obj:`num_relations`, or needs the triples of its graph.
    """
    if any(hasattr(x, 'attached') for x in getattr(
            model, 'members', [model])):
        raise ModelError("Expected the graph as 'kg', whose triples "
                         f"'{type(model).__name__}' needs (got none)")
    sizes = [getattr(model, name, None)
             for name in ('num_nodes', 'num_relations')]
    if None in sizes:
        raise ModelError(f"Expected '{type(model).__name__}' to have "
                         "'num_nodes' and 'num_relations' (got "
                         f"{sizes[0]} and {sizes[1]}). Pass the graph as 'kg' "
                         'to score without them.')
    return KnowledgeGraph(
        edge_index=torch.empty(2, 0, dtype=torch.long),
        edge_type=torch.empty(0, dtype=torch.long), num_nodes=sizes[0],
        num_relations=sizes[1], node_names=getattr(model, 'node_names', None),
        relation_names=getattr(model, 'relation_names', None),
        node_ids=getattr(model, 'node_ids', None))
