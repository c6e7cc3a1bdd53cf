r"""Answers of a trained model to queries by label."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.errors import ConfigError
from pyg_mmkgc.evaluation import (
    Explanation,
    Prediction,
    explain,
    export_embeddings,
    most_similar,
    predict,
    predict_records,
    read_queries,
    write_records,
)
from pyg_mmkgc.evaluation.embeddings import SimilarNodes
from pyg_mmkgc.evaluation.records import check_ending
from pyg_mmkgc.runs.new_entity import add_entity

# A text of this form is an id, unless labels are numbers.
_NUMBER = re.compile(r'[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?')


class Answers:
    r"""A trained model with its graph. Nodes and relations are given as
    labels, or as ids if no label is a number.

    Args:
        model (KGEModel): The model.
        graph (KnowledgeGraph, optional): The graph. If set to :obj:`None`, the
            labels come from the model, and no triple is known.
            (default: :obj:`None`)
    """
    def __init__(self, model: Any, graph: KnowledgeGraph | None = None
                 ) -> None:
        self.model, self.graph = model, graph
        self._name(model if graph is None else graph)

    def _name(self, source: Any) -> None:
        self._nodes = [*(getattr(source, 'node_names', None) or ()),
                       *(getattr(source, 'node_ids', None) or ())]
        self._relations = getattr(source, 'relation_names', None)

    def add_entity(self, name: str, texts: Sequence[str] = (),
                   images: Sequence[str] = (), encoders: Sequence[str] = (),
                   device: str | None = None) -> None:
        r"""Adds an entity after training, see
        :func:`~pyg_mmkgc.runs.new_entity.add_entity`.
        """
        self.graph = add_entity(self.model, self.graph, name, texts, images,
                                encoders, device)
        self._name(self.graph)

    def predict(self, head: str | None = None, relation: str | None = None,
                tail: str | None = None, k: int = 10,
                filter_known: bool = False,
                self_loops: bool = False) -> Prediction:
        r"""Completes a triple.

        Args:
            head (str, optional): The head. (default: :obj:`None`, to predict)
            relation (str, optional): The relation.
                (default: :obj:`None`, to predict)
            tail (str, optional): The tail. (default: :obj:`None`, to predict)
            k (int, optional): The number of answers. (default: :obj:`10`)
            filter_known (bool, optional): If set to :obj:`True`, leaves out
                known triples. (default: :obj:`False`)
            self_loops (bool, optional): If set to :obj:`True`, the given
                node can be an answer. (default: :obj:`False`)
        """
        return predict(self.model, self.graph,
                       *self._ids(head, relation, tail), k, filter_known,
                       self_loops)

    def predict_file(self, queries: str, out: str, k: int = 10,
                     filter_known: bool = False,
                     self_loops: bool = False) -> int:
        r"""Answers the queries of a file (see
        :func:`~pyg_mmkgc.evaluation.read_queries`) and writes the answers (see
        :func:`~pyg_mmkgc.evaluation.write_records`).

        Args:
            queries (str): The file of queries.
            out (str): The file to write.
            k (int, optional): See :meth:`predict`. (default: :obj:`10`)
            filter_known (bool, optional): See :meth:`predict`.
                (default: :obj:`False`)
            self_loops (bool, optional): See :meth:`predict`.
                (default: :obj:`False`)

        Returns:
            The number of queries.
        """
        check_ending(out)  # Fails before the computation.
        asked = [self._ids(*query) for query in read_queries(queries)]
        write_records(out, predict_records(
            self.model, self.graph, asked, k, filter_known, self_loops))
        return len(asked)

    def explain(self, head: str, relation: str, tail: str,
                k: int = 5) -> Explanation:
        r"""Explains the score of a triple, see
        :func:`~pyg_mmkgc.evaluation.explain`.

        Raises:
            ConfigError: If there is no graph.
        """
        if self.graph is None:
            raise ConfigError('Expected the folder of a run, whose graph '
                              'explains a triple (got the folder of a saved '
                              'model)')
        return explain(self.model, self.graph,
                       *self._ids(head, relation, tail), k)

    def most_similar(self, entity: str, k: int = 10) -> SimilarNodes:
        r"""Returns similar nodes, see
        :func:`~pyg_mmkgc.evaluation.most_similar`.
        """
        return most_similar(self.model, self.graph,
                            label_or_id(entity, self._nodes), k)

    def export(self, out: str) -> None:
        r"""Writes the representations of all nodes, see
        :func:`~pyg_mmkgc.evaluation.export_embeddings`.
        """
        export_embeddings(self.model, self.graph, out)

    def _ids(self, head: str | None, relation: str | None,
             tail: str | None) -> tuple[Any, Any, Any]:
        return (label_or_id(head, self._nodes),
                label_or_id(relation, self._relations),
                label_or_id(tail, self._nodes))


def label_or_id(text: str | None, names: Sequence[str] | None) -> Any:
    r"""Returns the id that a text stands for, or the text itself, which is a
    label. If labels look like numbers, a number is always a label.
    """
    # An unknown number is not the id of a node.
    if text is None or not (text.isascii() and text.isdigit()):
        return text
    return text if any(map(_NUMBER.fullmatch, names or ())) else int(text)
