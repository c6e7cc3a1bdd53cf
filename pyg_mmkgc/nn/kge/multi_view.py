from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Embedding
from torch_geometric.nn.inits import reset

from pyg_mmkgc.errors import ModelError, check_positive
from pyg_mmkgc.nn.encoder import make_encoders
from pyg_mmkgc.nn.kge.query import QueryModel
from pyg_mmkgc.nn.similarity import Distance
from pyg_mmkgc.typing import Side


class MultiViewModel(QueryModel):
    r"""An abstract base class of models whose energy sums distances over pairs
    of a view of the head and a view of the tail. All pairs share one relation
    embedding.

    .. math::
        s(h, r, t) = \gamma - \sum_{(X, Y)} \| \hat{\mathbf{h}}_X +
        \hat{\mathbf{r}} - \hat{\mathbf{t}}_Y \|_1, \qquad
        \hat{\mathbf{x}} = \mathbf{x} / \| \mathbf{x} \|_2

    The representation concatenates the views. Since the distances are sums
    over channels, their sum over pairs is the distance of concatenations: a
    query and a key concatenate the views of all pairs. A subclass lists its
    views in :meth:`parts`, and the positions :math:`(X, Y)` of each pair in
    :obj:`pairs`.

    Args:
        num_nodes (int): The number of nodes/entities :obj:`N` in the graph.
        num_relations (int): The number of relations in the graph.
        hidden_channels (int): The width of an embedding.
        modalities (dict[str, torch.Tensor]): The features :obj:`[N, F_m]` of
            each modality, at least one.
        masks (dict[str, torch.Tensor], optional): The mask :obj:`[N]` of the
            nodes that have each modality. (default: :obj:`None`)
        margin (float, optional): The margin :math:`\gamma`.
            (default: :obj:`12.0`)
        missing (str, optional): The policy for missing rows of
            :class:`~pyg_mmkgc.nn.ModalityEncoder`. With :obj:`"drop"`, the
            structural embedding replaces a missing view, since leaving out
            its distances would favour nodes without the view.
            (default: :obj:`"random"`)
        trainable_features (bool, optional): If set to :obj:`True`, the
            features are trained as well, as in the released code.
            (default: :obj:`False`)
        encoder_channels (dict[str, int], optional): The modalities whose
            projection has two layers, each with its hidden width, such as
            :obj:`{"numeric": 256}`. (default: :obj:`None`)
        num_negatives (int, optional): The number of negatives in
            :meth:`loss`. (default: :obj:`128`)
        sparse (bool, optional): If set to :obj:`True`, gradients w.r.t.
            the embedding matrices will be sparse. (default: :obj:`False`)

    Raises:
        ModelError: If :obj:`margin` is not positive, or there is no modality.
    """
    key_depends_on = 'side'
    #: The number of channels in a norm, which is one for the :math:`L_1`
    #: distance. The width of a view is :obj:`group * hidden_channels`.
    group: int = 1

    def __init__(self, num_nodes: int, num_relations: int,
                 hidden_channels: int,
                 modalities: Optional[dict[str, Tensor]] = None,
                 masks: Optional[dict[str, Tensor]] = None,
                 margin: float = 12.0, missing: str = 'random',
                 trainable_features: bool = False,
                 encoder_channels: Optional[dict[str, int]] = None,
                 num_negatives: int = 128, sparse: bool = False) -> None:
        super().__init__(num_nodes, num_relations, hidden_channels, modalities,
                         num_negatives, sparse)
        self.margin, self.missing = margin, missing
        self.similarity = Distance(self.group)
        self.trainable_features = trainable_features
        self.encoder_channels = encoder_channels
        name = type(self).__name__
        if not modalities:
            raise ModelError(f"Expected 'modalities' of {name} to hold at "
                             f'least one modality (got {modalities}). {name} '
                             'compares the structure with other modalities.')
        check_positive(margin=margin)
        channels = self.group * hidden_channels
        self.node_emb = Embedding(num_nodes, channels, sparse=sparse)
        self.encoders = make_encoders(
            modalities, masks, channels, encoder_channels, missing=missing,
            trainable_features=trainable_features)
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
        r"""The positions :math:`(X, Y)` of the views in each distance."""
        raise NotImplementedError

    def parts(self, views: dict[str, Tensor]) -> list[Tensor]:
        r"""Returns the views :obj:`[*, C]` that :obj:`pairs` refers to."""
        raise NotImplementedError

    def modal(self, views: dict[str, Tensor]) -> Tensor:
        r"""Returns a joint view of all modalities. A linear map of
        concatenated features equals the sum of one linear map per modality.
        """
        return torch.stack(torch.broadcast_tensors(
            *(views[name] for name in self.modalities))).sum(dim=0)

    def normalize(self, x: Tensor) -> Tensor:
        r"""Normalizes views and relations to :math:`\hat{\mathbf{x}}`."""
        return F.normalize(x, dim=-1)

    def relation(self, rel_type: Tensor) -> Tensor:
        r"""Returns the relation vectors :obj:`[*, hidden_channels]` that move
        views of the head to views of the tail.
        """
        return self.normalize(self.rel_emb(rel_type))

    def fuse(self, views: dict[str, Tensor]) -> Tensor:
        parts = self.parts(views)
        if self.missing == 'drop':
            parts = [torch.where((x == 0).all(dim=-1, keepdim=True),
                                 views['structure'], x) for x in parts]
        x = torch.stack(torch.broadcast_tensors(*map(self.normalize, parts)),
                        dim=-2)
        # Channels j of all views precede channels j + 1, as groups require.
        return x.unflatten(-1, (self.group, -1)).transpose(-3, -2).flatten(-3)

    def query(self, x: Tensor, rel_type: Tensor, side: Side) -> Tensor:
        rel = self.relation(rel_type)
        num_views = x.size(-1) // (self.group * self.hidden_channels)
        x = self.move(x, torch.cat([rel] * num_views, dim=-1), side)
        return self.key(x, rel_type, 'head' if side == 'tail' else 'tail')

    def key(self, x: Tensor, rel_type: Tensor, side: Side) -> Tensor:
        # Selects the view of each pair on this side.
        views = x.unflatten(-1, (self.group, -1, self.hidden_channels))
        return torch.cat([
            views[..., first if side == 'head' else second, :]
            for first, second in self.pairs], dim=-1).flatten(-2)

    def move(self, x: Tensor, rel: Tensor, side: Side) -> Tensor:
        r"""Moves the views :obj:`[*, group * V * D]` of all :obj:`V` parts
        along relations :obj:`[*, V * D]`, from the known side to
        :obj:`side`.
        """
        return x + rel if side == 'tail' else x - rel
