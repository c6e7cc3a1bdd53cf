r"""Adapters that express :pyg:`PyG`'s models as queries and keys."""
from __future__ import annotations

from typing import Any, Optional

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Module
from torch_geometric.nn import kge

from pyg_mmkgc.nn.functional import complex_product, rotate
from pyg_mmkgc.nn.kge.base import TripleModel
from pyg_mmkgc.nn.kge.query import QueryForms
from pyg_mmkgc.nn.similarity import (
    Distance,
    InnerProduct,
    Similarity,
    norm_distance,
)
from pyg_mmkgc.typing import Side


class PyGModel(QueryForms):
    r"""An abstract base class of adapters to :pyg:`PyG`'s models."""
    similarity: Similarity = InnerProduct()

    def __init__(self, model: Any) -> None:
        self.model = model
        self.num_nodes = model.num_nodes
        self.num_relations = model.num_relations

    def embed(self, index: Tensor) -> dict[str, Tensor]:
        return {'structure': self.model.node_emb(index)}

    def encode(self, index: Optional[Tensor] = None) -> Tensor:
        if index is None:
            index = torch.arange(self.num_nodes,
                                 device=self.model.node_emb.weight.device)
        return self.fuse(self.embed(index))


class TransE(PyGModel):
    r"""The adapter to TransE, which divides only entities by their norms."""
    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.similarity = norm_distance(model.p_norm)

    def fuse(self, views: dict[str, Tensor]) -> Tensor:
        return F.normalize(views['structure'], p=self.model.p_norm, dim=-1)

    def query(self, x: Tensor, rel_type: Tensor, side: Side) -> Tensor:
        rel = self.model.rel_emb(rel_type)
        return x + rel if side == 'tail' else x - rel


class DistMult(PyGModel):
    r"""The adapter to DistMult."""
    def query(self, x: Tensor, rel_type: Tensor, side: Side) -> Tensor:
        return x * self.model.rel_emb(rel_type)


class ComplEx(PyGModel):
    r"""The adapter to ComplEx, which has two tables per embedding."""
    def embed(self, index: Tensor) -> dict[str, Tensor]:
        return {'structure': torch.cat([self.model.node_emb(index),
                                        self.model.node_emb_im(index)], -1)}

    def query(self, x: Tensor, rel_type: Tensor, side: Side) -> Tensor:
        rel = torch.cat([self.model.rel_emb(rel_type),
                         self.model.rel_emb_im(rel_type)], dim=-1)
        return complex_product(x, rel, conjugate=side == 'head')


class RotatE(ComplEx):
    r"""The adapter to RotatE, which takes one Euclidean norm over all complex
    channels instead of summing their moduli.
    """
    similarity = Distance()

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.margin = model.margin

    def query(self, x: Tensor, rel_type: Tensor, side: Side) -> Tensor:
        return rotate(x, self.model.rel_emb(rel_type), side == 'head')


def triple_model(model: Module) -> Optional[TripleModel]:
    r"""Returns a model with the interface of this library: the model itself if
    it has this interface, an adapter if the model uses :meth:`forward` of a
    :pyg:`PyG` model, and :obj:`None` otherwise. TransE with a norm other than
    :math:`L_1` and :math:`L_2` has no adapter.
    """
    if isinstance(model, TripleModel):
        return model
    if getattr(model, 'p_norm', 2) not in (1, 2):
        return None
    for adapter in (TransE, DistMult, ComplEx, RotatE):
        cls = getattr(kge, adapter.__name__)
        # Subclasses and instances that override `forward` may have a
        # different score.
        if isinstance(model, cls) and 'forward' not in vars(model) and (
                type(model).forward is cls.forward):
            return adapter(model)
    return None
