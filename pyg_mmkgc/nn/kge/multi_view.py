from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Embedding, ModuleDict
from torch_geometric.nn.inits import reset

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn.encoder import ModalityEncoder
from pyg_mmkgc.nn.functional import moduli_distance
from pyg_mmkgc.nn.kernel import candidate_distance, dense_distance
from pyg_mmkgc.nn.kge.base import MMKGEModel


class MultiViewModel(MMKGEModel):
    r"""An abstract base class of models whose energy is a sum of distances
    over pairs of views of the head and the tail, which share a relation.

    .. math::
        s(h, r, t) = \gamma - \sum_{(X, Y)} \| \hat{\mathbf{h}}_X +
        \hat{\mathbf{r}} - \hat{\mathbf{t}}_Y \|_1, \qquad
        \hat{\mathbf{x}} = \mathbf{x} / \| \mathbf{x} \|_2

    A subclass lists its views in :meth:`parts` and the pairs :math:`(X, Y)`
    of their positions in :obj:`pairs`. The representation holds the views
    side by side. The :math:`L_1` norms of the pairs add up to one of their
    concatenation, so that all pairs are scored by a single call.

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
    #: Channels of a norm; one for the :math:`L_1` distance.
    group = 1

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
        if hidden_channels < 1 or not margin > 0:
            raise ModelError('expected hidden_channels >= 1 and margin > 0, '
                             f'got {hidden_channels} and {margin}')
        if not set(masks or {}) <= set(self.modalities):
            raise ModelError(f'expected masks of {self.modalities}, got '
                             f'{list(masks or {})}')
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

    @property
    def pairs(self) -> Sequence[tuple[int, int]]:
        r"""The views :math:`(X, Y)` of head and tail in each distance."""
        raise NotImplementedError

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
        r"""What moves a view of the head to one of the tail, :obj:`[*, D]`."""
        return self.normalize(self.rel_emb(rel_type))

    def move(self, x: Tensor, rel: Tensor, inverse: bool = False) -> Tensor:
        r"""Moves views :obj:`[*, V * C]` along :obj:`[*, V * D]`."""
        return x - rel if inverse else x + rel

    def fuse(self, views: dict[str, Tensor]) -> Tensor:
        parts = self.parts(views)
        if self.missing == 'drop':
            parts = [torch.where((x == 0).all(dim=-1, keepdim=True),
                                 views['structure'], x) for x in parts]
        x = torch.stack(torch.broadcast_tensors(*map(self.normalize, parts)),
                        dim=-2).unflatten(-1, (self.group, -1))
        # Channel j of the groups of all views is before their channel j + 1.
        return x.transpose(-3, -2).flatten(-3)

    def _side(self, x: Tensor, which: int) -> Tensor:
        # The views of one side of all pairs: [*, V * C] to [*, P * C].
        views = x.unflatten(-1, (self.group, -1, self.hidden_channels))
        return torch.cat([views[..., pair[which], :] for pair in self.pairs],
                         dim=-1).flatten(-2)

    def _query(self, x: Tensor, rel_type: Tensor, which: int) -> Tensor:
        rel = self.relation(rel_type)
        num_views = x.size(-1) // (self.group * self.hidden_channels)
        return self._side(self.move(x, torch.cat([rel] * num_views, dim=-1),
                                    inverse=which == 1), which)

    def score(self, head: Tensor, rel_type: Tensor, tail: Tensor) -> Tensor:
        return self.margin - moduli_distance(
            self._query(head, rel_type, 0), self._side(tail, 1), self.group)

    def score_candidates(self, table: Tensor, head: Tensor, rel_type: Tensor,
                         tail: Tensor, index: Tensor,
                         corrupt_head: Tensor) -> Tensor:
        # A candidate shows other views as a head than as a tail.
        rows = torch.cat([self._side(table, 1), self._side(table, 0)])
        return self.margin - candidate_distance(
            self._query(head, rel_type, 0), self._query(tail, rel_type, 1),
            rows, index + corrupt_head * table.size(0), corrupt_head,
            self.group)

    def score_tails(self, head_index: Tensor, rel_type: Tensor,
                    table: Optional[Tensor] = None) -> Tensor:
        table = self.encode() if table is None else table
        return self.margin - dense_distance(
            self._query(table[head_index], rel_type, 0), self._side(table, 1),
            self.group)

    def score_heads(self, rel_type: Tensor, tail_index: Tensor,
                    table: Optional[Tensor] = None) -> Tensor:
        table = self.encode() if table is None else table
        return self.margin - dense_distance(
            self._query(table[tail_index], rel_type, 1), self._side(table, 0),
            self.group)
