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
    (eqs. (2) and (3)), the views are fused with adaptive weights (eqs. (4) and
    (5)), and the joint embeddings are scored as
    :class:`~pyg_mmkgc.nn.RotatE` does (eq. (6)), whose query it shares:

    .. math::
        s(h, r, t) = \gamma - \sum_{i=1}^{D} \left| h_{joint,i} \,
        e^{\mathrm{i} \theta_{r,i}} - t_{joint,i} \right|

    The paper prints a plain norm; the sum of complex moduli is RotatE's and
    the released code's. Without modalities, AdaMF is
    :class:`~pyg_mmkgc.nn.RotatE`.

    Args:
        num_nodes (int): The number of nodes/entities :obj:`N` in the graph.
        num_relations (int): The number of relations in the graph.
        hidden_channels (int): The complex dimension :obj:`D`; embeddings are
            :obj:`2 * D` real channels wide.
        modalities (dict[str, torch.Tensor], optional): The features
            :obj:`[N, F_m]` of each modality, by name. (default: :obj:`None`)
        masks (dict[str, torch.Tensor], optional): Who has it, :obj:`[N]`.
        margin (float, optional): :math:`\gamma`. (default: :obj:`12.0`)
        fusion (str, optional): The mode of
            :class:`~pyg_mmkgc.nn.AdaptiveFusion`.
        missing (str, optional): The policy for missing rows of
            :class:`~pyg_mmkgc.nn.ModalityEncoder`. (default: :obj:`"random"`)
        structure (bool, optional): If set to :obj:`False`, there is no
            structural embedding (V+T in table 3). (default: :obj:`True`)
        trainable_features (bool, optional): If set to :obj:`True`, trains the
            features along, as the released code. (default: :obj:`False`)
        drop_unseen (bool, optional): If set to :obj:`True`, nodes without a
            training triple have no structural view, which nothing has taught
            them: their modalities alone stand for them, or what fills
            missing ones; with :obj:`missing="drop"`, the structure of those
            that have none stays. :meth:`prepare` learns which; a
            :class:`~pyg_mmkgc.training.Trainer` calls it.
            (default: :obj:`False`)
        num_negatives (int, optional): Negatives of :meth:`loss`.
            (default: :obj:`128`)
        sparse (bool, optional): If set to :obj:`True`, gradients w.r.t. to
            the embedding matrices will be sparse. (default: :obj:`False`)

    Raises:
        ModelError: If an argument is out of range or does not fit the others;
            if it trains with :obj:`drop_unseen` before :meth:`prepare`.
    """
    seen: Tensor  # [N]; all False until the model is prepared.
    _prepared = False

    def __init__(self, num_nodes: int, num_relations: int,
                 hidden_channels: int,
                 modalities: Optional[dict[str, Tensor]] = None,
                 masks: Optional[dict[str, Tensor]] = None,
                 margin: float = 12.0, fusion: str = 'adaptive',
                 missing: str = 'random', structure: bool = True,
                 trainable_features: bool = False, drop_unseen: bool = False,
                 num_negatives: int = 128, sparse: bool = False) -> None:
        super().__init__(num_nodes, num_relations, hidden_channels, modalities,
                         num_negatives, sparse)
        self.margin, self.fusion, self.missing = margin, fusion, missing
        self.trainable_features = trainable_features
        self.structure, self.drop_unseen = structure, drop_unseen
        check_positive(margin=margin)
        channels = 2 * hidden_channels
        names = ['structure'] * structure + self.modalities
        if not names:
            raise ModelError('expected a modality where there is no structure')
        if drop_unseen and (not structure or not modalities):
            raise ModelError('expected structure and a modality beside it for '
                             'drop_unseen=True')
        self.node_emb = Embedding(num_nodes if structure else 0, channels,
                                  sparse=sparse)
        self.encoders = make_encoders(
            modalities, masks, channels, missing=missing,
            trainable_features=trainable_features)
        self.fuser = AdaptiveFusion(
            names, channels, fusion,
            skip_absent=missing == 'drop' or drop_unseen)
        if drop_unseen:
            self.register_buffer('seen', torch.zeros(num_nodes).bool())
        if missing == 'drop' and not structure and not bool(
                have_features(self.encoders).all()):
            raise ModelError("expected a modality at every node: missing="
                             "'drop' without structure leaves some with none")
        # The phases of the relations start uniform on [-pi, pi].
        self.phase_scale = math.pi * hidden_channels / (margin + 2.0)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        bound = (self.margin + 2.0) / self.hidden_channels
        torch.nn.init.uniform_(self.rel_emb.weight, -bound, bound)
        torch.nn.init.uniform_(self.node_emb.weight, -bound / 2, bound / 2)
        reset(self.encoders)
        self.fuser.reset_parameters()

    def embed(self, index: Tensor) -> dict[str, Tensor]:
        views = super().embed(index) if self.structure else {}
        if self.drop_unseen and self._prepared:
            views['structure'] = views['structure'].masked_fill(
                ~self.seen[index].unsqueeze(-1), 0.0)
        return views | {name: encoder(index)
                        for name, encoder in self.encoders.items()}

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
        if self.missing == 'drop':  # Something has to stand for a node.
            self.seen |= ~have_features(self.encoders)
        self._prepared = True

    def before_step(self, head_index: Tensor, rel_type: Tensor,
                    tail_index: Tensor) -> None:
        if self.drop_unseen and not self._prepared:
            raise ModelError("expected 'prepare(edge_index, edge_type)' with "
                             f'the training triples before '
                             f'{type(self).__name__}(drop_unseen=True) trains')

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str,
                              *args: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        if prefix + 'seen' in state_dict:
            self._prepared = bool(state_dict[prefix + 'seen'].any())
