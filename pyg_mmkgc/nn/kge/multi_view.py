from __future__ import annotations

from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Embedding, ModuleDict
from torch_geometric.nn.inits import reset

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn.encoder import ModalityEncoder, check_masks
from pyg_mmkgc.nn.kge.base import MMKGEModel
from pyg_mmkgc.nn.pair_distance import PairDistance


class MultiViewModel(PairDistance, MMKGEModel):
    r"""An abstract base class of models whose energy is a sum of distances
    over pairs of views of the head and the tail, which share a relation.

    .. math::
        s(h, r, t) = \gamma - \sum_{(X, Y)} \| \hat{\mathbf{h}}_X +
        \hat{\mathbf{r}} - \hat{\mathbf{t}}_Y \|_1, \qquad
        \hat{\mathbf{x}} = \mathbf{x} / \| \mathbf{x} \|_2

    A subclass lists its views in :meth:`parts` and the positions
    :math:`(X, Y)` of each pair in :obj:`pairs`.

    Args:
        num_nodes (int): The number of nodes/entities :obj:`N` in the graph.
        num_relations (int): The number of relations in the graph.
        hidden_channels (int): The width of an embedding.
        modalities (dict[str, torch.Tensor]): The features :obj:`[N, F_m]` of
            each modality, at least one.
        masks (dict[str, torch.Tensor], optional): Who has it, :obj:`[N]`.
        margin (float, optional): :math:`\gamma`. (default: :obj:`12.0`)
        missing (str, optional): The policy for missing rows of
            :class:`~pyg_mmkgc.nn.ModalityEncoder`. With :obj:`"drop"`, the
            structural embedding is the view that is missing: leaving out
            distances would favour nodes that lack it.
            (default: :obj:`"random"`)
        trainable_features (bool, optional): If set to :obj:`True`, trains the
            features along, as the released code. (default: :obj:`False`)
        num_negatives (int, optional): Negatives of :meth:`loss`.
            (default: :obj:`128`)
        sparse (bool, optional): If set to :obj:`True`, gradients w.r.t. to
            the embedding matrices will be sparse. (default: :obj:`False`)
    """
    def __init__(
        self,
        num_nodes: int,
        num_relations: int,
        hidden_channels: int,
        modalities: Optional[dict[str, Tensor]] = None,
        masks: Optional[dict[str, Tensor]] = None,
        margin: float = 12.0,
        missing: str = 'random',
        trainable_features: bool = False,
        num_negatives: int = 128,
        sparse: bool = False,
    ) -> None:
        super().__init__(num_nodes, num_relations, hidden_channels, modalities,
                         num_negatives, sparse)
        self.margin = margin
        self.missing = missing
        self.trainable_features = trainable_features
        name = type(self).__name__
        if not modalities:
            raise ModelError(f'expected a modality: {name} compares the '
                             'structure with others')
        if not margin > 0:
            raise ModelError(f'expected margin > 0, got {margin}')
        check_masks(masks, self.modalities)
        channels = self.group * hidden_channels
        self.node_emb = Embedding(num_nodes, channels, sparse=sparse)
        self.encoders = ModuleDict({
            name: ModalityEncoder(x, channels, (masks or {}).get(name),
                                  missing, trainable_features)
            for name, x in modalities.items()})
        self.reset_parameters()

    def reset_parameters(self) -> None:
        torch.nn.init.xavier_uniform_(self.node_emb.weight)
        torch.nn.init.xavier_uniform_(self.rel_emb.weight)
        reset(self.encoders)

    def embed(self, index: Tensor) -> dict[str, Tensor]:
        return super().embed(index) | {
            name: encoder(index) for name, encoder in self.encoders.items()}

    def parts(self, views: dict[str, Tensor]) -> list[Tensor]:
        r"""The views :obj:`[*, C]` that :obj:`pairs` counts."""
        raise NotImplementedError

    def modal(self, views: dict[str, Tensor]) -> Tensor:
        r"""One view of all modalities: a linear map of their features, side
        by side, is the sum of linear maps of each.
        """
        return torch.stack(torch.broadcast_tensors(
            *(views[name] for name in self.modalities))).sum(dim=0)

    def normalize(self, x: Tensor) -> Tensor:
        r""":math:`\hat{\mathbf{x}}`, of views and relations."""
        return F.normalize(x, dim=-1)

    def relation(self, rel_type: Tensor) -> Tensor:
        return self.normalize(self.rel_emb(rel_type))

    def fuse(self, views: dict[str, Tensor]) -> Tensor:
        parts = self.parts(views)
        if self.missing == 'drop':
            parts = [torch.where((x == 0).all(dim=-1, keepdim=True),
                                 views['structure'], x) for x in parts]
        return self.side_by_side([self.normalize(x) for x in parts])
