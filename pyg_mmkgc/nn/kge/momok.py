from __future__ import annotations

from collections.abc import Callable
from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import (
    Embedding,
    LayerNorm,
    Linear,
    ModuleDict,
    ModuleList,
    Parameter,
)
from torch_geometric.nn.inits import reset

from pyg_mmkgc.errors import ModelError, check_whole
from pyg_mmkgc.nn.encoder import make_encoders
from pyg_mmkgc.nn.kge.base import TripleModel
from pyg_mmkgc.nn.kge.reciprocal import ReciprocalForms, ReciprocalModel
from pyg_mmkgc.nn.loss import BCELoss
from pyg_mmkgc.nn.tucker import tucker_by_relation
from pyg_mmkgc.typing import Side

HEADS = 2  # The number of attention heads of the joint view.
EPSILON = 1e-2  # The minimum noise of a gate, as in the released code.


class MoMoK(ReciprocalModel):
    r"""The MoMoK model from the `"Multiple Heads are Better than One: Mixture
    of Modality Knowledge Experts for Entity Representation Learning"
    <https://arxiv.org/abs/2405.16869>`_ paper. It mixes experts of each
    modality under the guidance of the relation, and combines the scores of all
    modalities.

    Each modality :math:`m`, including the structure, has :math:`K` experts.
    For the known entity of a query, they are weighted with a temperature that
    depends on a scalar :math:`\rho_r` of the relation. For candidates, the
    weights do not depend on the relation:

    .. math::
        \mathbf{v}_{m,i} &= \mathbf{W}_{m,i} (\mathbf{e}_m - \mathbf{b}_{m,i})
        \\
        \mathbf{h}_m &= \sum_i \mathrm{softmax}_i \left( \frac{g_{m,i}}
        {\sigma(\rho_r)} \right) \mathbf{v}_{m,i}, \qquad
        \mathbf{t}_m = \sum_i \mathrm{softmax}_i (g_{m,i}) \, \mathbf{v}_{m,i}

    with the gates :math:`g_{m,i} = \mathbf{u}_{m,i}^{\top} \mathbf{e}_m`, to
    which a training step adds noise with the standard deviation
    :math:`\mathrm{softplus}(\mathbf{n}_{m,i}^{\top} \mathbf{e}_m) + 0.01`. A
    :class:`JointView` fuses the modalities into an additional view. Each view
    has its own relation embeddings :math:`\mathbf{r}_m` and its own core
    tensor, and the probability of a triple is the mean over views:

    .. math::
        s_m(h, r, t) &= \mathrm{LN} \big( \mathcal{W}_m \times_1 \mathbf{r}_m
        \times_2 \mathrm{LN}(\mathbf{h}_m) \big) \cdot \mathbf{t}_m \\
        s(h, r, t) &= \mathrm{logit} \Big( \frac{1}{M} \sum_m
        \sigma(s_m(h, r, t)) \Big)

    The loss is computed for each :math:`s_m` and summed over :math:`m`, see
    :meth:`experts`. It should be :class:`~pyg_mmkgc.nn.KvsAllLoss`, as in the
    released code: a softmax over all nodes ignores a constant in :math:`s_m`,
    but the mean of probabilities does not. The mutual information of experts
    is minimized by :class:`~pyg_mmkgc.training.CLUB`.

    Four details differ from the released code. Layer norms :math:`\mathrm{LN}`
    replace its batch norms around the core tensor, so that the score of a
    triple does not depend on its batch. A single dropout rate replaces its
    rates from 0.2 to 0.5. Frozen features are projected to
    :math:`\mathbf{e}_m`, whereas the released code averages features to 256
    channels and trains them. And results are for one selected epoch, whereas
    the released code reports the best test result of all epochs for each
    metric.

    Args:
        num_nodes (int): The number of nodes/entities :obj:`N` in the graph.
        num_relations (int): The number of relations :obj:`R` in the graph.
        hidden_channels (int): The width of views and relation embeddings.
        modalities (dict[str, torch.Tensor]): The features :obj:`[N, F_m]` of
            each modality, at least one.
        masks (dict[str, torch.Tensor], optional): The mask :obj:`[N]` of the
            nodes that have each modality. (default: :obj:`None`)
        num_experts (int, optional): The number :math:`K` of experts of a
            modality. (default: :obj:`3`)
        dropout (float, optional): The dropout rate of the joint view, and of
            the inputs and outputs of core tensors. (default: :obj:`0.3`)
        missing (str, optional): The policy for missing rows of
            :class:`~pyg_mmkgc.nn.ModalityEncoder`. (default: :obj:`"random"`)
        encoder_channels (dict[str, int], optional): The modalities whose
            projection has two layers, each with its hidden width, such as
            :obj:`{"numeric": 256}`. (default: :obj:`None`)
        num_negatives (int, optional): The number of negatives in
            :meth:`loss`. (default: :obj:`128`)

    Raises:
        ModelError: If an argument is out of range, or there is no modality.
    """
    splits_batch = False

    def __init__(self, num_nodes: int, num_relations: int,
                 hidden_channels: int,
                 modalities: Optional[dict[str, Tensor]] = None,
                 masks: Optional[dict[str, Tensor]] = None,
                 num_experts: int = 3, dropout: float = 0.3,
                 missing: str = 'random',
                 encoder_channels: Optional[dict[str, int]] = None,
                 num_negatives: int = 128) -> None:
        super().__init__(num_nodes, num_relations, hidden_channels, modalities,
                         num_negatives)
        check_whole(num_experts=num_experts)
        if not 0 <= dropout < 1:
            raise ModelError("Expected 'dropout' to be in [0, 1) (got "
                             f'{dropout})')
        if not modalities:
            raise ModelError("Expected 'modalities' of MoMoK to hold at least "
                             f'one modality (got {modalities})')
        self.num_experts, self.dropout = num_experts, dropout
        self.missing, self.encoder_channels = missing, encoder_channels
        self.criterion = BCELoss()
        #: The modalities that have experts.
        self.names = ['structure', *self.modalities]
        D, M = hidden_channels, len(self.names)
        self.node_emb = Embedding(num_nodes, D)
        # The relation embeddings of all modalities, side by side.
        self.rel_emb = Embedding(2 * num_relations, M * D)
        self.temperature = Embedding(2 * num_relations, 1)
        self.encoders = make_encoders(modalities, masks, D, encoder_channels,
                                      missing=missing)
        self.mixtures = ModuleDict({
            name: ExpertMixture(D, num_experts) for name in self.names})
        self.joint = JointView(D, M, dropout)
        self.joint_rel = JointView(D, M, dropout)
        self.core = Parameter(torch.empty(M + 1, D, D, D))
        self.before, self.after = (
            ModuleList(LayerNorm(D) for _ in range(M + 1)) for _ in range(2))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        torch.nn.init.xavier_normal_(self.node_emb.weight)
        torch.nn.init.xavier_normal_(self.rel_emb.weight)
        torch.nn.init.normal_(self.temperature.weight)
        for core in self.core.detach():
            torch.nn.init.xavier_uniform_(core)
        for module in (self.encoders, self.mixtures, self.joint,
                       self.joint_rel, self.before, self.after):
            reset(module)

    def embed(self, index: Tensor) -> dict[str, Tensor]:
        return super().embed(index) | {
            name: encoder(index) for name, encoder in self.encoders.items()}

    def fuse(self, views: dict[str, Tensor]) -> Tensor:
        # The keys of all views are followed by the outputs and gates of all
        # experts, from which queries are mixed.
        rows = torch.broadcast_tensors(*(views[name] for name in self.names))
        mixed = [self.mixtures[name](x)
                 for name, x in zip(self.names, rows, strict=True)]
        keys = [mix(*pair) for pair in mixed]
        return torch.cat([
            *keys, self.joint(torch.stack(keys, dim=-2)),
            *(values.flatten(-2) for values, _ in mixed),
            *(gate for _, gate in mixed)], dim=-1)

    def expert_outputs(self, views: dict[str, Tensor]) -> dict[str, Tensor]:
        r"""Returns the outputs :math:`\mathbf{v}_{m,i}` of the experts of each
        modality, :obj:`[*, K, C]`.
        """
        return {name: self.mixtures[name](views[name])[0]
                for name in self.names}

    def heads(self, x: Tensor, rel_type: Tensor) -> Tensor:
        r"""Returns the views :math:`\mathbf{h}_m` of heads for relations
        :obj:`[*]`, :obj:`[*, M, C]`, without the joint view.

        Args:
            x (torch.Tensor): The representations, :obj:`[*, C_x]`.
            rel_type (torch.Tensor): The relations :obj:`[*]`, which
                broadcast.
        """
        M, K, D = len(self.names), self.num_experts, self.hidden_channels
        x = x[..., (M + 1) * D:]
        values = x[..., :M * K * D].unflatten(-1, (M, K, D))
        gate = x[..., M * K * D:].unflatten(-1, (M, K))
        warm = self.temperature(rel_type).sigmoid().unsqueeze(-1)
        return mix(values, gate / warm)

    def experts(self, table: Tensor) -> list[tuple[TripleModel, Tensor]]:
        return [(Decision(self, m), table)
                for m in range(len(self.names) + 1)]

    def modality_weights(self, index: Tensor,
                         rel_type: Tensor) -> dict[str, Tensor]:
        weight = self.joint.weights(self.heads(self.encode(index), rel_type))
        return dict(zip(self.names, weight.unbind(dim=-1), strict=True))

    def score(self, head: Tensor, rel_type: Tensor, tail: Tensor) -> Tensor:
        return self._decide(lambda expert, table: expert.score(
            head, rel_type, tail), head)

    def node_scores(self, x: Tensor, rel_type: Tensor, side: Side,
                    table: Tensor) -> Tensor:
        return self._decide(lambda expert, table: expert.node_scores(
            x, rel_type, side, table), table)

    def _decide(self, score: Callable[[TripleModel, Tensor], Tensor],
                table: Tensor) -> Tensor:
        scores = torch.stack([score(*pair) for pair in self.experts(table)])
        # The mean of probabilities would round small differences away, but its
        # logit, computed from logarithms, keeps them.
        return (F.logsigmoid(scores).logsumexp(dim=0) -
                F.logsigmoid(-scores).logsumexp(dim=0))


class Decision(ReciprocalForms):
    r"""The score :math:`s_m` of one view of :class:`MoMoK`."""
    def __init__(self, model: MoMoK, view: int) -> None:
        self.num_relations = model.num_relations
        self.num_nodes = model.num_nodes
        self.model, self.view = model, view

    def query(self, x: Tensor, rel_type: Tensor) -> Tensor:
        model, D, m = self.model, self.model.hidden_channels, self.view
        # Scores stay in full precision.
        with torch.autocast(x.device.type, enabled=False):
            head = model.heads(x, rel_type)
            rel = model.rel_emb.weight.unflatten(-1, (-1, D))
            if m == len(model.names):
                head, table = model.joint(head), model.joint_rel(rel)
            else:
                head, table = head[..., m, :], rel[:, m]
            head = F.dropout(model.before[m](head), model.dropout,
                             model.training)
            out = tucker_by_relation(head, rel_type, table, model.core[m])
            return F.dropout(model.after[m](out), model.dropout,
                             model.training)

    def key(self, x: Tensor) -> Tensor:
        D = self.model.hidden_channels
        return x[..., self.view * D:(self.view + 1) * D]


class ExpertMixture(torch.nn.Module):
    r"""The experts of one modality of :class:`MoMoK` and their gates.

    Args:
        channels (int): The width :obj:`C` of inputs and outputs.
        num_experts (int): The number :math:`K` of experts.
    """
    def __init__(self, channels: int, num_experts: int) -> None:
        super().__init__()
        self.weight = Parameter(torch.empty(num_experts, channels, channels))
        self.bias = Parameter(torch.empty(num_experts, channels))
        self.gate = Linear(channels, num_experts, bias=False)
        self.noise = Linear(channels, num_experts, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        torch.nn.init.xavier_uniform_(self.weight)
        torch.nn.init.zeros_(self.bias)
        torch.nn.init.zeros_(self.gate.weight)
        torch.nn.init.zeros_(self.noise.weight)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        r"""Returns the outputs of the experts :obj:`[*, K, C]` and their
        gates :obj:`[*, K]` for views :obj:`[*, C]`.
        """
        shifted = x.unsqueeze(-2) - self.bias
        values = torch.einsum('...kc,kdc->...kd', shifted,
                              self.weight).to(x.dtype)
        gate = self.gate(x).to(x.dtype)
        if self.training:
            scale = F.softplus(self.noise(x).to(x.dtype)) + EPSILON
            gate = gate + torch.randn_like(gate) * scale
        return values, gate


class JointView(torch.nn.Module):
    r"""Fuses views :math:`\mathbf{v}_m` by attention with two heads, for
    entities or relations.

    .. math::
        \mathbf{v} = \sum_{k=1}^2 \sum_m \mathrm{softmax}_m (\mathbf{a}^{\top}
        \mathbf{u}_{m,k}) \, \mathbf{u}_{m,k}, \qquad
        \mathbf{u}_{m,k} = \max(0, \mathbf{A}_{m,k} \mathbf{v}_m +
        \mathbf{c}_{m,k})

    Args:
        channels (int): The width :obj:`C` of a view.
        num_views (int): The number :obj:`M` of views.
        dropout (float): The dropout rate of views.
    """
    def __init__(self, channels: int, num_views: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.weight = Parameter(torch.empty(num_views, HEADS, channels,
                                            channels))
        self.bias = Parameter(torch.empty(num_views, HEADS, channels))
        self.attention = Parameter(torch.empty(channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        bound = self.attention.numel() ** -0.5
        for param in self.parameters():
            torch.nn.init.uniform_(param, -bound, bound)

    def forward(self, views: Tensor) -> Tensor:
        r"""Returns the joint views :obj:`[*, C]` of views
        :obj:`[*, M, C]`.
        """
        hidden = self._hidden(F.dropout(views, self.dropout, self.training))
        return (self._attend(hidden).unsqueeze(-1) * hidden).sum(dim=(-3, -2))

    def weights(self, views: Tensor) -> Tensor:
        r"""Returns the weights :obj:`[*, M]` of views :obj:`[*, M, C]`, as the
        mean over heads.
        """
        return self._attend(self._hidden(views)).mean(dim=-1)

    def _hidden(self, views: Tensor) -> Tensor:
        out = torch.einsum('...mc,mkdc->...mkd', views, self.weight)
        return (out.to(views.dtype) + self.bias).relu()

    def _attend(self, hidden: Tensor) -> Tensor:
        return (hidden * self.attention).sum(dim=-1).softmax(dim=-2)


def mix(values: Tensor, gate: Tensor) -> Tensor:
    r"""Returns the mixtures :obj:`[*, C]` of the outputs of experts
    :obj:`[*, K, C]` with gates :obj:`[*, K]`.
    """
    return (gate.softmax(dim=-1).unsqueeze(-1) * values).sum(dim=-2)
