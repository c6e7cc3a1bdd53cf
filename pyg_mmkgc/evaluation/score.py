r"""Scores of given triples, with or without their graph."""

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
from pyg_mmkgc.evaluation.scorer import Scorer, device_of, scoring
from pyg_mmkgc.metrics import assert_finite

# Triples that `forward` takes at once.
TRIPLES = 1 << 13


def score(model: Module, kg: Any, triples: Any) -> Tensor:
    r"""Returns the scores :obj:`[T]` of given triples, higher being more
    plausible.

    Scores of one model are comparable with each other; they are no
    probabilities. A model with reciprocal relations scores a triple as it
    ranks its tail.

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
        kg (KnowledgeGraph, optional): The graph, as for
            :func:`~pyg_mmkgc.evaluation.evaluate`, or :obj:`None`, if the
            labels that the model keeps are enough.
        triples (list or torch.Tensor or KnowledgeGraph): Heads, relations and
            tails as ids or labels, one triple a row, or a graph, whose
            triples are taken.

    Raises:
        DataError: If an id or label is not in the graph, or a row is no
            triple.
        ModelError: If the model does not fit the graph.
        NonFiniteError: If a score is NaN or infinite.
    """
    graph = graph_of(model) if kg is None else as_graph(kg)
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
    device = device_of(model)
    head, rel, tail = (ids.to(device) for ids in (
        node_ids(graph, columns[0]), relation_ids(graph, columns[1]),
        node_ids(graph, columns[2])))
    with scoring(model, graph) as scorer:
        return score_triples(model, scorer, head, rel, tail).cpu()


def score_triples(model: Module, scorer: Scorer, head: Tensor,
                  rel_type: Tensor, tail: Tensor) -> Tensor:
    r"""Returns the scores :obj:`[T]` of triples of ids :obj:`[T]`, within
    :func:`~pyg_mmkgc.evaluation.scorer.scoring`: by :meth:`forward`, or, for
    a model without it, among the scores of all tails.
    """
    has_forward = type(model).forward is not Module.forward
    step = TRIPLES if has_forward else scorer.batch_size
    out = []
    for part in zip(*(x.split(step) for x in (head, rel_type, tail)),
                    strict=True):
        scores = (model(*part) if has_forward else
                  scorer(part[0], part[1], 'tail').gather(1, part[2][:, None]))
        if scores.numel() != part[0].numel():
            raise ModelError(
                f"Expected one score a triple from 'forward' of "
                f"'{type(model).__name__}' (got {scores.numel()} for "
                f'{part[0].numel()})')
        out.append(scores.reshape(-1).float())
    scores = torch.cat(out)
    assert_finite(scores[:, None])
    return scores


def graph_of(model: Any) -> KnowledgeGraph:
    r"""Returns a graph without triples, of the nodes, relations and labels
    that a model has.

    Raises:
        ModelError: If the model does not know how many there are.
    """
    sizes = [getattr(model, name, None)
             for name in ('num_nodes', 'num_relations')]
    if None in sizes:
        raise ModelError(f"Expected 'num_nodes' and 'num_relations' of "
                         f"'{type(model).__name__}': without them, the graph "
                         "has to be given as 'kg'")
    return KnowledgeGraph(
        edge_index=torch.empty(2, 0, dtype=torch.long),
        edge_type=torch.empty(0, dtype=torch.long), num_nodes=sizes[0],
        num_relations=sizes[1], node_names=getattr(model, 'node_names', None),
        relation_names=getattr(model, 'relation_names', None))
