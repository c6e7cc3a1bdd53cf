r"""Checks and conversions of the inputs of a trainer."""
from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, Optional

import torch
from torch import Tensor
from torch_geometric.nn.kge import KGEModel
from torch_geometric.nn.kge.loader import KGTripletLoader

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.data.fingerprint import fingerprint
from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.io.arguments import arguments_of
from pyg_mmkgc.io.pretrained import check_numbering
from pyg_mmkgc.io.tensors import digest
from pyg_mmkgc.nn.kge import MMKGEModel
from pyg_mmkgc.nn.loss import AllNodesLoss
from pyg_mmkgc.nn.path import PathModel
from pyg_mmkgc.sampler import NegativeSampler


def check_loss(model: KGEModel | PathModel, sampler: Optional[NegativeSampler],
               loss: Optional[torch.nn.Module]) -> None:
    r"""Raises a :class:`~pyg_mmkgc.errors.ModelError` if model, sampler and
    loss do not fit each other.
    """
    if sampler is not None and not isinstance(sampler, NegativeSampler):
        raise ModelError("Expected 'sampler' to be a NegativeSampler instance "
                         f'(got {sampler!r})')
    if getattr(model, 'own_loss', False) and not (sampler is None is loss):
        raise ModelError(f"Expected no sampler and no loss for "
                         f"'{type(model).__name__}', which has its own (got "
                         f"{sampler!r} and {loss!r}). The model draws its own "
                         "negatives, see its argument 'num_negatives'.")
    if isinstance(loss, AllNodesLoss):
        if sampler is not None:
            raise ModelError('Expected no sampler for '
                             f"'{type(loss).__name__}', which takes the "
                             f'scores of all nodes (got {sampler!r})')
        if not isinstance(model, MMKGEModel):
            raise ModelError("Expected an 'MMKGEModel', which scores all "
                             'nodes with gradients, for '
                             f"'{type(loss).__name__}' (got "
                             f"'{type(model).__name__}')")
    elif sampler is None and loss is not None:
        raise ModelError(f"Expected a sampler for '{type(loss).__name__}' "
                         "(got none). Pass no loss to minimize the model's "
                         'own loss without a sampler.')
    elif sampler is not None and getattr(model, 'reciprocal', False):
        raise ModelError('Expected OneVsAllLoss, KvsAllLoss or no sampler for '
                         f"'{type(model).__name__}' with reciprocal "
                         'relations, since a sampler corrupts heads and tails '
                         f'of the same relation (got {sampler!r})')


def as_graph(data: Any, model: KGEModel | PathModel) -> KnowledgeGraph:
    r"""Converts any data that a trainer accepts to a validated graph."""
    if isinstance(data, KGTripletLoader):
        data = KnowledgeGraph(
            torch.stack([data.head_index, data.tail_index]), data.rel_type,
            num_nodes=model.num_nodes, num_relations=model.num_relations)
    kg = KnowledgeGraph.from_pyg(data)
    kg.validate()
    attach: Any = getattr(model, 'attach', None)
    if attach is not None:  # The number of nodes follows the graph.
        attach(kg)
    if (model.num_nodes != kg.num_nodes
            or (model.num_relations or 0) < kg.num_relations):
        raise ModelError(
            f'Expected a model with the {kg.num_nodes} nodes and '
            f'{kg.num_relations} relations of the graph (got '
            f'{model.num_nodes} nodes and {model.num_relations} relations)')
    check_numbering(model, kg)
    return kg


def subsampling_weight(head: Tensor, rel_type: Tensor,
                       tail: Tensor) -> Tensor:
    r"""Returns the weights :obj:`[E]` of triples in the loss.

    .. math::
        w(h, r, t) = \frac{1}{\sqrt{n(h, r) + n(r, t)}}

    where :math:`n` is three plus the number of triples that answer a query, as
    in the code of `RotatE <https://arxiv.org/abs/1902.10197>`_.
    """
    def count(node: Tensor) -> Tensor:
        _, place, num = torch.stack([node, rel_type]).unique(
            dim=1, return_inverse=True, return_counts=True)
        return num[place] + 3

    return (count(head) + count(tail)).float().rsqrt()


def digests(data: KnowledgeGraph, triples: Iterable[Tensor]
            ) -> dict[str, Any]:
    r"""Returns the digests that identify a graph in a training. They cover the
    training triples in their order, the parts of the graph, and its features.
    """
    order = hashlib.sha256()
    for x in triples:
        order.update(x.cpu().numpy().tobytes())
    return {'data': order.hexdigest(), 'graph': fingerprint(data),
            'features': features_digest(data)}


def features_digest(data: KnowledgeGraph) -> dict[str, str]:
    r"""Returns the SHA-256 of the features and the mask of each modality."""
    masks = data.masks()
    return {name: digest({'x': x, 'mask': masks[name]}, '')
            for name, x in data.features().items()}


def plain_options(model: torch.nn.Module) -> dict[str, Any]:
    r"""Returns the arguments of a model's constructor that the model keeps as
    attributes with plain values.
    """
    values = {name: getattr(model, name, None)
              for name in arguments_of(type(model))}
    return {name: value for name, value in values.items()
            if _is_plain(value)}


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):  # Such as the modality weights of OTKGE.
        return all(isinstance(key, str) and _is_plain(item)
                   for key, item in value.items())
    return isinstance(value, (bool, int, float, str))
