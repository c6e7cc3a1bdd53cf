from __future__ import annotations

from typing import Any, Optional

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Embedding, Linear, ModuleDict
from torch_geometric.nn.inits import reset

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn.kernel import candidate_distance
from pyg_mmkgc.nn.kge.adamf import AdaMF
from pyg_mmkgc.nn.scaled import relation_distance

NEVER = -1e9  # The logit of a view that is left out.


class NativE(AdaMF):
    r"""The model of the `"NativE: Multi-modal Knowledge Graph Completion in
    the Wild" <https://arxiv.org/abs/2406.17605>`_ paper: the adaptive fusion
    of :class:`~pyg_mmkgc.nn.AdaMF`, guided by the relation.

    .. math::
        \alpha_m(e, r) = \frac{\exp(\mathbf{w}^{\top} \tanh(\mathbf{e}_m) /
        \sigma(g_r))}{\sum_n \exp(\mathbf{w}^{\top} \tanh(\mathbf{e}_n) /
        \sigma(g_r))}, \qquad \mathbf{e}_r = \sum_m \alpha_m(e, r)
        \mathbf{e}_m

        s(h, r, t) = \gamma - \sum_{i=1}^{D} \left| h_{r,i} \,
        e^{\mathrm{i} \theta_{r,i}} - t_{r,i} \right|

    where :math:`g_r` is a scalar and :math:`\mathbf{e}_m` the projection of
    the features by two layers with a ReLU. The representation holds the views
    side by side, and their logits; :meth:`score` fuses them. The paper's
    adversarial training is :class:`~pyg_mmkgc.training.CoMAT`. The released
    code also pools features to 256 channels, and trains some of them.

    Args:
        num_nodes (int): The number of nodes/entities :obj:`N` in the graph.
        num_relations (int): The number of relations in the graph.
        hidden_channels (int): The complex dimension :obj:`D`.
        modalities, masks, margin: As for :class:`~pyg_mmkgc.nn.AdaMF`.
        fusion (str, optional): :obj:`"shared"` has one :math:`\mathbf{w}`,
            :obj:`"adaptive"` one per view. (default: :obj:`"shared"`)
        **kwargs (optional): Additional arguments of
            :class:`~pyg_mmkgc.nn.AdaMF`.
    """
    def __init__(
        self,
        num_nodes: int,
        num_relations: int,
        hidden_channels: int,
        modalities: Optional[dict[str, Tensor]] = None,
        masks: Optional[dict[str, Tensor]] = None,
        margin: float = 12.0,
        fusion: str = 'shared',
        **kwargs: Any,
    ) -> None:
        if fusion == 'mean':
            raise ModelError("expected a fusion of 'shared' or 'adaptive', "
                             "got 'mean'")
        super().__init__(num_nodes, num_relations, hidden_channels, modalities,
                         masks, margin, fusion, **kwargs)
        C = 2 * hidden_channels
        self.lins = ModuleDict({m: Linear(C, C) for m in self.modalities})
        self.temperature = Embedding(num_relations, 1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        super().reset_parameters()
        if hasattr(self, 'temperature'):  # Not yet in AdaMF's constructor.
            bound = (self.margin + 2.0) / (2 * self.hidden_channels)
            torch.nn.init.uniform_(self.temperature.weight, -bound, bound)
            reset(self.lins)

    def embed(self, index: Tensor) -> dict[str, Tensor]:
        views = super().embed(index)
        for name, lin in self.lins.items():
            out = lin(views[name].relu()).to(views[name].dtype)
            if self.missing == 'drop':  # An embedding of zeros stays one.
                absent = (views[name] == 0).all(dim=-1, keepdim=True)
                out = out.masked_fill(absent, 0.0)
            views[name] = out
        return views

    def fuse(self, views: dict[str, Tensor]) -> Tensor:
        x = torch.stack(torch.broadcast_tensors(
            *(views[name] for name in self.fuser.names)), dim=-2)
        # Not in half precision: the softmax needs exact logits.
        with torch.autocast(x.device.type, enabled=False):
            logit = (x.tanh() * self.fuser.weight).sum(dim=-1)
        if self.fuser.skip_absent:
            logit = logit.masked_fill((x == 0).all(dim=-1), NEVER)
        return torch.cat([x.flatten(-2), logit], dim=-1)

    def weights(self, logit: Tensor, rel_type: Tensor) -> Tensor:
        r""":math:`\alpha`, :obj:`[*, M]`, of logits and relations."""
        return (logit / self.temperature(rel_type).sigmoid()).softmax(dim=-1)

    def modality_weights(self, index: Tensor,
                         rel_type: Tensor) -> dict[str, Tensor]:
        names = self.fuser.names
        alpha = self.weights(self.encode(index)[..., -len(names):], rel_type)
        return dict(zip(names, alpha.unbind(dim=-1), strict=True))

    def mix(self, x: Tensor, rel_type: Tensor) -> Tensor:
        r"""The joint embeddings :obj:`[*, 2 * D]` of representations
        :obj:`[*, M * (2 * D + 1)]` for relations :obj:`[*]`.
        """
        M = len(self.fuser.names)
        alpha = self.weights(x[..., -M:], rel_type)
        with torch.autocast(x.device.type, enabled=False):  # Not projections.
            return torch.einsum('...m,...mc->...c', alpha,
                                x[..., :-M].unflatten(-1, (M, -1)))

    def tail_query(self, head: Tensor, rel_type: Tensor) -> Tensor:
        return super().tail_query(self.mix(head, rel_type), rel_type)

    def head_query(self, rel_type: Tensor, tail: Tensor) -> Tensor:
        return super().head_query(rel_type, self.mix(tail, rel_type))

    def score(self, head: Tensor, rel_type: Tensor, tail: Tensor) -> Tensor:
        return super().score(head, rel_type, self.mix(tail, rel_type))

    def score_candidates(self, table: Tensor, head: Tensor, rel_type: Tensor,
                         tail: Tensor, index: Tensor,
                         corrupt_head: Tensor) -> Tensor:
        # A node is fused once for each relation that meets it.
        M, U = len(self.fuser.names), table.size(0)
        pair, place = torch.unique(rel_type[:, None] * U + index,
                                   return_inverse=True)
        rel, row = pair // U, pair % U
        alpha = self.weights(table[:, -M:][row], rel)
        views = table[:, :-M].unflatten(-1, (M, -1)).flatten(0, 1)
        joint = F.embedding_bag(
            row[:, None] * M + torch.arange(M, device=row.device), views,
            mode='sum', per_sample_weights=alpha)
        return self.margin - candidate_distance(
            self.tail_query(head, rel_type), self.head_query(rel_type, tail),
            joint, place, corrupt_head)

    def score_tails(self, head_index: Tensor, rel_type: Tensor,
                    table: Optional[Tensor] = None) -> Tensor:
        table = self.encode() if table is None else table
        query = self.tail_query(table[head_index], rel_type)
        return self.margin - relation_distance(
            query, rel_type, table, self.mix, self.group)

    def score_heads(self, rel_type: Tensor, tail_index: Tensor,
                    table: Optional[Tensor] = None) -> Tensor:
        table = self.encode() if table is None else table
        query = self.head_query(rel_type, table[tail_index])
        return self.margin - relation_distance(
            query, rel_type, table, self.mix, self.group)
