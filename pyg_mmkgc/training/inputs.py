r"""What a trainer is given."""
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
from pyg_mmkgc.io.pretrained import arguments_of, check_numbering
from pyg_mmkgc.io.tensors import digest
from pyg_mmkgc.nn.kge import MMKGEModel
from pyg_mmkgc.nn.loss import AllNodesLoss
from pyg_mmkgc.nn.path import PathModel
from pyg_mmkgc.sampler import NegativeSampler


def check_loss(model: KGEModel | PathModel, sampler: Optional[NegativeSampler],
               loss: Optional[torch.nn.Module]) -> None:
    r"""Raises :class:`~pyg_mmkgc.errors.ModelError` where the three do not
    fit each other.
    """
    if sampler is not None and not isinstance(sampler, NegativeSampler):
        raise ModelError('expected a NegativeSampler, made, as sampler, got '
                         f'{sampler!r}')
    if isinstance(model, PathModel) and not (sampler is None is loss):
        raise ModelError(f"Expected no sampler and no loss for "
                         f"'{type(model).__name__}', which takes its own: "
                         "'num_negatives' of the model says of how many nodes")
    if isinstance(loss, AllNodesLoss):
        if sampler is not None:
            raise ModelError(f'{type(loss).__name__} takes the scores of all '
                             'nodes: expected no sampler beside it')
        if not isinstance(model, MMKGEModel):
            raise ModelError(f'{type(loss).__name__} needs a MMKGEModel, '
                             'which scores all nodes with gradients, got '
                             f'{type(model).__name__}')
    elif sampler is None and loss is not None:
        raise ModelError('expected a sampler beside a loss: without one the '
                         "model's own loss is minimised")
    elif sampler is not None and getattr(model, 'reciprocal', False):
        raise ModelError('expected OneVsAllLoss, KvsAllLoss or no sampler: '
                         'a sampler corrupts heads and tails of one relation, '
                         f'but {type(model).__name__} has reciprocal ones')


def as_graph(data: Any, model: KGEModel | PathModel) -> KnowledgeGraph:
    r"""The graph of any data that a trainer takes, checked."""
    if isinstance(data, KGTripletLoader):
        data = KnowledgeGraph(
            torch.stack([data.head_index, data.tail_index]), data.rel_type,
            num_nodes=model.num_nodes, num_relations=model.num_relations)
    kg = KnowledgeGraph.from_pyg(data)
    kg.validate()
    if isinstance(model, PathModel):  # Of any number of nodes.
        model.attach(kg)
    if (model.num_nodes != kg.num_nodes
            or (model.num_relations or 0) < kg.num_relations):
        raise ModelError(
            f'expected a model of {kg.num_nodes} nodes and {kg.num_relations} '
            f'relations, as the graph has, got {model.num_nodes} and '
            f'{model.num_relations}')
    check_numbering(model, kg)
    return kg


def subsampling_weight(head: Tensor, rel_type: Tensor,
                       tail: Tensor) -> Tensor:
    r"""The weights :obj:`[E]` of triples in the loss.

    .. math::
        w(h, r, t) = \frac{1}{\sqrt{n(h, r) + n(r, t)}}

    where :math:`n` counts the triples that answer a query, plus three, as in
    the code of `RotatE <https://arxiv.org/abs/1902.10197>`_.
    """
    def count(node: Tensor) -> Tensor:
        _, place, num = torch.stack([node, rel_type]).unique(
            dim=1, return_inverse=True, return_counts=True)
        return num[place] + 3

    return (count(head) + count(tail)).float().rsqrt()


def digests(data: KnowledgeGraph, triples: Iterable[Tensor]
            ) -> dict[str, Any]:
    r"""What tells one graph from another for a training: its training
    triples in their order, its parts, its features.
    """
    order = hashlib.sha256()
    for x in triples:
        order.update(x.cpu().numpy().tobytes())
    return {'data': order.hexdigest(), 'graph': fingerprint(data),
            'features': features_digest(data)}


def features_digest(data: KnowledgeGraph) -> dict[str, str]:
    r"""The SHA-256 of the features and the mask of each modality."""
    masks = data.masks()
    return {name: digest({'x': x, 'mask': masks[name]}, '')
            for name, x in data.features().items()}


def plain_options(model: torch.nn.Module) -> dict[str, Any]:
    r"""Returns the arguments of a model's constructor that are plain values,
    which it keeps as attributes.
    """
    values = {name: getattr(model, name, None)
              for name in arguments_of(type(model))}
    return {name: value for name, value in values.items()
            if _is_plain(value)}


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):  # As OTKGE's weights of modalities.
        return all(isinstance(key, str) and _is_plain(item)
                   for key, item in value.items())
    return isinstance(value, (bool, int, float, str))
