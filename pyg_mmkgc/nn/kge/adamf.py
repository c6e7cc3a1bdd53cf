from __future__ import annotations

import math
from typing import Any, Optional

import torch
from torch import Tensor
from torch.nn import Embedding
from torch_geometric.nn.inits import reset

from pyg_mmkgc.errors import ModelError, check_positive
from pyg_mmkgc.nn.encoder import have_features, make_encoders
from pyg_mmkgc.nn.fusion import AdaptiveFusion
from pyg_mmkgc.nn.kge.query import QueryModel
from pyg_mmkgc.nn.kge.rotate import Rotation


class AdaMF(Rotation, QueryModel):
    r"""The adaptive multi-modal fusion model of the `"Unleashing the Power of
    Imbalanced Modality Information for Multi-modal Knowledge Graph
    Completion" <https://arxiv.org/abs/2402.15444>`_ paper.

    Each modality is projected into the space of the structural embedding
    (eqs. (2) and (3)), and the views are fused with adaptive weights (eqs. (4)
    and (5)). The joint embeddings are scored with the query and the similarity
    of :class:`~pyg_mmkgc.nn.RotatE` (eq. (6)):

    .. math::
        s(h, r, t) = \gamma - \sum_{i=1}^{D} \left| h_{joint,i} \,
        e^{\mathrm{i} \theta_{r,i}} - t_{joint,i} \right|

    The paper prints a plain norm, while the sum of complex moduli follows
    RotatE and the released code. Without modalities, AdaMF equals
    :class:`~pyg_mmkgc.nn.RotatE`.

    Args:
        num_nodes (int): The number of nodes/entities :obj:`N` in the graph.
        num_relations (int): The number of relations in the graph.
        hidden_channels (int): The complex dimension :obj:`D`. Embeddings are
            :obj:`2 * D` real channels wide.
        modalities (dict[str, torch.Tensor], optional): The features
            :obj:`[N, F_m]` of each modality, by name. (default: :obj:`None`)
        masks (dict[str, torch.Tensor], optional): The mask :obj:`[N]` of the
            nodes that have each modality. (default: :obj:`None`)
        margin (float, optional): The margin :math:`\gamma`.
            (default: :obj:`12.0`)
        fusion (str, optional): The mode of
            :class:`~pyg_mmkgc.nn.AdaptiveFusion`.
            (default: :obj:`"adaptive"`)
        missing (str, optional): The policy for missing rows of
            :class:`~pyg_mmkgc.nn.ModalityEncoder`. (default: :obj:`"random"`)
        structure (bool, optional): If set to :obj:`False`, there is no
            structural embedding (V+T in table 3). (default: :obj:`True`)
        trainable_features (bool, optional): If set to :obj:`True`, the
            features are trained as well, as in the released code.
            (default: :obj:`False`)
        drop_unseen (bool, optional): If set to :obj:`True`, nodes without a
            training triple have no structural view, since their structural
            embedding was never trained. They are represented by the
            modalities that they have, and by filled rows if they have none.
            With :obj:`missing="drop"`, nodes without any modality keep their
            structural view. :meth:`prepare`, which a
            :class:`~pyg_mmkgc.training.Trainer` calls, finds the unseen
            nodes. (default: :obj:`False`)
        encoder_channels (dict[str, int], optional): The modalities whose
            projection has two layers, each with its hidden width, such as
            :obj:`{"numeric": 256}`. (default: :obj:`None`)
        structure_dropout (float, optional): The probability that a training
            step represents a node by its modalities alone, as if it were
            unseen. Without this dropout, modalities only learn to complement
            the structural view. Requires :obj:`drop_unseen`.
            (default: :obj:`0.0`)
        num_negatives (int, optional): The number of negatives in
            :meth:`loss`. (default: :obj:`128`)
        sparse (bool, optional): If set to :obj:`True`, gradients w.r.t.
            the embedding matrices will be sparse. (default: :obj:`False`)

    Raises:
        ModelError: If an argument is out of range or does not fit the other
            arguments, or if the model is trained with :obj:`drop_unseen`
            before :meth:`prepare` was called.
    """
    seen: Tensor  # [N], all False until the model is prepared.
    _prepared = False

    def __init__(self, num_nodes: int, num_relations: int,
                 hidden_channels: int,
                 modalities: Optional[dict[str, Tensor]] = None,
                 masks: Optional[dict[str, Tensor]] = None,
                 margin: float = 12.0, fusion: str = 'adaptive',
                 missing: str = 'random', structure: bool = True,
                 trainable_features: bool = False, drop_unseen: bool = False,
                 encoder_channels: Optional[dict[str, int]] = None,
                 structure_dropout: float = 0.0, num_negatives: int = 128,
                 sparse: bool = False) -> None:
        super().__init__(num_nodes, num_relations, hidden_channels, modalities,
                         num_negatives, sparse)
        self.margin, self.fusion, self.missing = margin, fusion, missing
        self.trainable_features = trainable_features
        self.structure, self.drop_unseen = structure, drop_unseen
        self.encoder_channels = encoder_channels
        self.structure_dropout = structure_dropout
        self.splits_batch = structure_dropout == 0
        check_positive(margin=margin)
        if not 0.0 <= structure_dropout < 1.0 or (structure_dropout > 0
                                                  and not drop_unseen):
            raise ModelError("Expected 'structure_dropout' to lie in [0, 1), "
                             'and to be 0 unless drop_unseen=True (got '
                             f'{structure_dropout} and drop_unseen='
                             f'{drop_unseen})')
        channels = 2 * hidden_channels
        names = ['structure'] * structure + self.modalities
        if not names:
            raise ModelError("Expected 'modalities' to hold at least one "
                             'modality with structure=False (got '
                             f'{modalities})')
        if drop_unseen and (not structure or not modalities):
            raise ModelError('Expected a structural embedding and at least '
                             'one modality with drop_unseen=True (got '
                             f'structure={structure} and modalities='
                             f'{self.modalities})')
        self.node_emb = Embedding(num_nodes if structure else 0, channels,
                                  sparse=sparse)
        self.encoders = make_encoders(
            modalities, masks, channels, encoder_channels, missing=missing,
            trainable_features=trainable_features)
        self.fuser = AdaptiveFusion(
            names, channels, fusion,
            skip_absent=missing == 'drop' or drop_unseen)
        if drop_unseen:
            self.register_buffer('seen', torch.zeros(num_nodes).bool())
        if missing == 'drop' and not structure and not bool(
                have_features(self.encoders).all()):
            raise ModelError("Expected a modality at every node with missing="
                             "'drop' and structure=False (got nodes without "
                             'any view)')
        # The initial phases of relations are uniform on [-pi, pi].
        self.phase_scale = math.pi * hidden_channels / (margin + 2.0)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        bound = (self.margin + 2.0) / self.hidden_channels
        torch.nn.init.uniform_(self.rel_emb.weight, -bound, bound)
        torch.nn.init.uniform_(self.node_emb.weight, -bound / 2, bound / 2)
        reset(self.encoders)
        self.fuser.reset_parameters()

    def embed(self, index: Tensor) -> dict[str, Tensor]:
        views = {name: encoder(index)
                 for name, encoder in self.encoders.items()}
        if not self.structure:
            return views
        if self.num_nodes > self.node_emb.num_embeddings:  # See `extend`.
            last = self.node_emb.num_embeddings - 1
            views = super().embed(index.clamp(max=last)) | views
        else:
            views = super().embed(index) | views
        if not self.drop_unseen or not self._prepared:
            return views
        encoders: dict[str, Any] = dict(self.encoders.items())
        there = {name: encoder.has_rows(index)
                 for name, encoder in encoders.items()}
        described = torch.stack(list(there.values())).any(dim=0)
        unseen = ~self.seen[index]
        if self.training and self.structure_dropout > 0:
            unseen |= described & (torch.rand(
                unseen.shape, device=unseen.device) < self.structure_dropout)
        # A filled row stands for a missing modality only if all are missing.
        absent = {'structure': unseen} | {
            name: unseen & described & ~rows for name, rows in there.items()
            if not encoders[name].complete}
        return views | {name: views[name].masked_fill(
            rows.unsqueeze(-1), 0.0) for name, rows in absent.items()}

    @property
    def inductive(self) -> bool:
        return self.drop_unseen or not self.structure

    def extend(self, data: Any) -> AdaMF:
        out = super().extend(data)
        if self.drop_unseen:
            if not self._prepared:
                raise ModelError('Expected a trained model to score new nodes '
                                 "(got one before 'prepare' was called)")
            out.seen = torch.cat([self.seen, self.seen.new_zeros(
                out.num_nodes - self.num_nodes)])
        return out

    def fuse(self, views: dict[str, Tensor]) -> Tensor:
        return self.fuser(views)

    def modality_weights(self, index: Tensor,
                         rel_type: Tensor) -> dict[str, Tensor]:
        alpha = self.fuser.weights(self.embed(index))
        return dict(zip(self.fuser.names, alpha.unbind(dim=-1), strict=True))

    def prepare(self, edge_index: Tensor, edge_type: Tensor) -> None:
        if not self.drop_unseen:
            return
        self.seen.fill_(False)[edge_index.flatten()] = True
        if self.missing == 'drop':  # Every node keeps at least one view.
            self.seen |= ~have_features(self.encoders)
        self._prepared = True

    def before_step(self, head_index: Tensor, rel_type: Tensor,
                    tail_index: Tensor) -> None:
        if self.drop_unseen and not self._prepared:
            raise ModelError(f'Expected {type(self).__name__}(drop_unseen='
                             'True) to receive the training triples before '
                             'training (got none). Pass them to '
                             "'prepare(edge_index, edge_type)' first.")

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str,
                              *args: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        if prefix + 'seen' in state_dict:
            self._prepared = bool(state_dict[prefix + 'seen'].any())
