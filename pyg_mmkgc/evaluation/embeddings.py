r"""Representations of nodes: similarity search and export."""

from __future__ import annotations

import os
import pathlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Module
from torch_geometric.nn.kge import KGEModel

from pyg_mmkgc.errors import ConfigError, ModelError, printable
from pyg_mmkgc.evaluation.evaluate import as_graph
from pyg_mmkgc.evaluation.labels import Ids, label_of, node_ids
from pyg_mmkgc.evaluation.records import write_parquet
from pyg_mmkgc.evaluation.score import graph_of
from pyg_mmkgc.evaluation.scorer import model_for, scoring
from pyg_mmkgc.io.atomic import atomic_path, write_atomic
from pyg_mmkgc.metrics import assert_finite
from pyg_mmkgc.report import Report, Table, cut


@dataclass(frozen=True, eq=False, repr=False)
class SimilarNodes(Report):
    r"""The :math:`k` nodes most similar to each of :math:`Q` nodes.

    Args:
        query (torch.Tensor): The nodes, :math:`[Q]`.
        node (torch.Tensor): The most similar nodes, best first,
            :math:`[Q, k]`.
        similarity (torch.Tensor): The cosines, :math:`[Q, k]`.
        node_names (list[str], optional): The label of each node of the graph.
            (default: :obj:`None`)
    """
    query: Tensor
    node: Tensor
    similarity: Tensor
    node_names: list[str] | None = None

    table_names = ('nodes', )

    @property
    def labels(self) -> list[list[str]]:
        r"""The labels of the most similar nodes of each node."""
        return [[label_of(self.node_names, i) for i in row]
                for row in self.node.tolist()]

    def to_dict(self) -> list[dict[str, Any]]:
        r"""Returns one dictionary per node, ready for JSON."""
        return [{
            'node': label_of(self.node_names, query),
            'similar': [{'id': i, 'label': label_of(self.node_names, i),
                         'similarity': value}
                        for i, value in zip(*found, strict=True)],
        } for query, *found in zip(
            self.query.tolist(), self.node.tolist(),
            self.similarity.tolist(), strict=True)]

    def summary(self) -> dict[str, Any]:
        return {'num_queries': self.node.size(0), 'k': self.node.size(1)}

    def make_table(self, name: str) -> Table:
        return Table(['node', 'rank', 'similar node', 'similarity'], [
            [entry['node'], rank, found['label'], found['similarity']]
            for entry in self.to_dict()
            for rank, found in enumerate(entry['similar'], 1)])

    def __str__(self) -> str:
        lines = []
        for entry in self.to_dict():
            lines.append(f"most similar to {cut(entry['node'])}")
            labels = [cut(found['label']) for found in entry['similar']]
            width = max(map(len, labels), default=0)
            lines += [f"{rank:>4}  {label:<{width}}  "
                      f"{found['similarity']:>7.4f}"
                      for rank, (label, found) in enumerate(
                          zip(labels, entry['similar'], strict=True), 1)]
        return '\n'.join(lines)


def most_similar(model: Module, kg: Any, entity: Ids,
                 k: int = 10) -> SimilarNodes:
    r"""Finds the nodes whose representations have the highest cosine
    similarity to the representation of a given node.

    .. code-block:: python

        >>> from pyg_mmkgc import AdaMF, Countries
        >>> from pyg_mmkgc.evaluation import most_similar
        >>> kg = Countries()[0]
        >>> model = AdaMF.from_data(kg, hidden_channels=8)
        >>> found = most_similar(model, kg, ['Austria', 'Japan'], k=3)
        >>> [len(labels) for labels in found.labels]
        [3, 3]

    Args:
        model (torch.nn.Module): A model, as for
            :func:`~pyg_mmkgc.evaluation.node_representations`.
        kg (KnowledgeGraph or None): The graph, as for
            :func:`~pyg_mmkgc.evaluation.evaluate`. If set to :obj:`None`, the
            labels stored in the model are used.
        entity (int or str or list): The nodes, as ids or labels.
        k (int, optional): The number of similar nodes, not counting the node
            itself. (default: :obj:`10`)

    Raises:
        ConfigError: If :obj:`k` is not a positive integer.
        DataError: If an id or label is not in the graph.
        ModelError: If the model has no representations of nodes, or does
            not fit the graph.
    """
    if not isinstance(k, (int, np.integer)) or k < 1:
        raise ConfigError(f"Expected 'k' to be a positive integer (got "
                          f'{k!r})')
    graph = graph_of(model) if kg is None else as_graph(kg)
    query = node_ids(graph, entity)
    table = F.normalize(node_representations(model, graph), dim=-1)
    similarity = table[query] @ table.t()
    similarity[torch.arange(query.numel()), query] = -torch.inf
    # A stable sort puts lower ids first among equally similar nodes.
    value, node = similarity.sort(dim=1, descending=True, stable=True)
    k = min(int(k), graph.num_nodes - 1)
    return SimilarNodes(query, node[:, :k], value[:, :k],
                        graph.get('node_names'))


def node_representations(model: Module, kg: Any = None) -> Tensor:
    r"""Returns the representations :obj:`[N, C]` of all nodes on the CPU.

    For a :class:`~pyg_mmkgc.nn.kge.MMKGEModel`, they are the output of
    :meth:`~pyg_mmkgc.nn.MMKGEModel.encode`, which fuses the modalities. For
    :pyg:`PyG`'s own models, they are the embeddings, with the imaginary parts
    concatenated to the real parts.

    .. code-block:: python

        >>> from pyg_mmkgc import AdaMF, Countries
        >>> from pyg_mmkgc.evaluation import node_representations
        >>> model = AdaMF.from_data(Countries()[0], hidden_channels=8)
        >>> node_representations(model).shape
        torch.Size([3706, 16])

    Args:
        model (torch.nn.Module): The model.
        kg (KnowledgeGraph, optional): The graph. If given, the model has to
            fit it. (default: :obj:`None`)

    Raises:
        ModelError: If the model has no representations of nodes, or does
            not fit the graph.
        NonFiniteError: If a representation is NaN or infinite.
    """
    graph = graph_of(model) if kg is None else as_graph(kg)
    model = model_for(model, graph)
    encode: Any = getattr(model, 'encode', None)
    if not has_representations(model):
        raise ModelError(
            f"Expected a model with 'encode()' or 'node_emb', which provide "
            f"representations of nodes (got '{type(model).__name__}')")
    with scoring(model, graph):
        if callable(encode):
            table = encode()
        else:
            table = torch.cat([getattr(model, name).weight for name in (
                'node_emb', 'node_emb_im') if hasattr(model, name)], dim=-1)
    assert_finite(table)
    # A structural model returns its own parameter, so it is copied.
    return table.detach().float().cpu().clone()


def has_representations(model: Any) -> bool:
    r"""Returns :obj:`True` if a model has representations of nodes."""
    return callable(getattr(model, 'encode', None)) or isinstance(model,
                                                                  KGEModel)


def export_embeddings(model: Module, kg: Any,
                      path: str | os.PathLike[str]) -> None:
    r"""Writes the representations of all nodes (see
    :func:`node_representations`) and their labels to a file or a folder.

    =============  ==========================================================
    ending         content
    =============  ==========================================================
    ``.npz``       the arrays :obj:`embeddings` with shape :obj:`[N, C]` and
                   :obj:`labels` with shape :obj:`[N]`
    ``.parquet``   a column :obj:`label` and the columns :obj:`0`, :obj:`1`,
                   ... (needs :obj:`pyarrow`)
    none           a folder for the projector of TensorBoard
                   (:obj:`tensorboard --logdir FOLDER`); its files
                   :obj:`tensors.tsv` and :obj:`metadata.tsv` can also be
                   loaded at projector.tensorflow.org
    =============  ==========================================================

    .. code-block:: python

        >>> import os, tempfile
        >>> from pyg_mmkgc import AdaMF, Countries
        >>> from pyg_mmkgc.evaluation import export_embeddings
        >>> kg = Countries()[0]
        >>> model = AdaMF.from_data(kg, hidden_channels=8)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, 'nodes')
        ...     export_embeddings(model, kg, path)
        ...     sorted(os.listdir(path))
        ['metadata.tsv', 'projector_config.pbtxt', 'tensors.tsv']

    Args:
        model (torch.nn.Module): A model, as for
            :func:`node_representations`.
        kg (KnowledgeGraph or None): The graph. If set to :obj:`None`, the
            labels stored in the model are used.
        path (str or os.PathLike): The file or folder to write.

    Raises:
        ConfigError: If the ending is not supported.
        ModelError: If the model has no representations of nodes, or does
            not fit the graph.
        MMKGCError: If :obj:`pyarrow` is not installed.
    """
    path = pathlib.Path(path)
    if path.suffix not in ('.npz', '.parquet', ''):
        raise ConfigError("Expected a file ending in '.npz' or '.parquet', or "
                          "a folder without an ending (got "
                          f"'{path.suffix}' in '{path}')")
    graph = graph_of(model) if kg is None else as_graph(kg)
    table = node_representations(model, graph)
    labels = [label_of(graph.get('node_names'), i)
              for i in range(graph.num_nodes)]
    if path.suffix == '.npz':
        with atomic_path(path) as temp, open(temp, 'wb') as file:
            np.savez_compressed(file, embeddings=table.numpy(),
                                labels=np.array(labels))
    elif path.suffix == '.parquet':
        write_parquet(path, {'label': labels} | {
            str(i): column.numpy() for i, column in enumerate(table.t())})
    else:
        write_atomic(path / 'tensors.tsv', ''.join(
            '\t'.join(f'{x:.7g}' for x in row) + '\n'
            for row in table.tolist()))
        write_atomic(path / 'metadata.tsv', ''.join(
            f'{printable(label)}\n' for label in labels))
        write_atomic(path / 'projector_config.pbtxt', _PROJECTOR)


_PROJECTOR = r"""embeddings {
  tensor_name: "nodes"
  tensor_path: "tensors.tsv"
  metadata_path: "metadata.tsv"
}
"""
