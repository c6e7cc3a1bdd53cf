r"""Features of nodes in models that pass messages along paths."""
from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Linear, ModuleDict

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.kernels.host import on_host
from pyg_mmkgc.nn.encoder import present_mean
from pyg_mmkgc.nn.path.score import row_by_row

#: The channels in which the features of two nodes are compared.
CHANNELS = 128
# A cosine is at most one, but a softmax over all nodes needs larger scores.
SCALE = 20.0


class NodeFeatures(NamedTuple):
    r"""The features of the nodes of a graph.

    Args:
        x (dict): The features :obj:`[N, F_m]` of each modality.
        mask (dict): :obj:`True` for nodes that have the modality,
            :obj:`[N]`.
        mean (dict): The mean of the rows of these nodes, :obj:`[F_m]`, see
            :meth:`with_mean`.
    """
    x: dict[str, Tensor]
    mask: dict[str, Tensor]
    mean: dict[str, Tensor]

    def to(self, device: torch.device) -> NodeFeatures:
        r"""Returns the same features on another device."""
        return NodeFeatures(*({name: x.to(device) for name, x in part.items()}
                              for part in self))

    def equal(self, other: NodeFeatures) -> bool:
        r"""Returns :obj:`True` if other features are the same."""
        return all(a.keys() == b.keys() and all(
            a[name] is b[name] or torch.equal(
                a[name], b[name].to(a[name].device)) for name in a)
            for a, b in zip(self[:2], other[:2], strict=True))

    def with_mean(self) -> NodeFeatures:
        r"""Returns the features with their mean."""
        # Equal rows must differ from their mean by exactly zero, hence the
        # sum in double precision.
        return self._replace(mean={
            name: present_mean(x, self.mask[name]).float()
            for name, x in self.x.items()})

    def without(self, name: str) -> NodeFeatures:
        r"""Returns the features with all rows of one modality replaced by
        their mean.
        """
        x = self.mean[name].expand_as(self.x[name])
        return self._replace(x={**self.x, name: x})


def read_features(data: Any, modalities: dict[str, int]) -> NodeFeatures:
    r"""Returns the features of some modalities of a
    :class:`~pyg_mmkgc.data.KnowledgeGraph`. Several rows of a node are
    averaged.

    Raises:
        ModelError: If the graph lacks a modality, or its features have
            another width.
    """
    features, masks = data.features(), data.masks()
    lacking = [name for name in modalities if name not in features]
    if lacking:
        raise ModelError(f'Expected the modalities {list(modalities)} in the '
                         f'graph (got {list(features)})')
    out = NodeFeatures({}, {}, {})
    for name, width in modalities.items():
        x, mask = features[name], masks[name]
        if x.size(-1) != width or x.size(0) != data.num_nodes:
            raise ModelError(
                f'Expected features of {name!r} with {width} channels for '
                f'{data.num_nodes} nodes (got shape {list(x.shape)})')
        if x.dim() == 3:
            mask = mask.view(mask.size(0), -1).expand(x.shape[:2])
            weight = mask / mask.sum(dim=1, keepdim=True).clamp(min=1)
            x = torch.einsum('nif,ni->nf', x.float(), weight.float())
            mask = mask.any(dim=1)
        out.x[name], out.mask[name] = x, mask
    return out


class FeatureTables(NamedTuple):
    r"""The projected features of all nodes.

    Args:
        value (torch.Tensor): The rows that enter as messages,
            :obj:`[M, N, D]`.
        key (torch.Tensor): The rows that are compared, :obj:`[M, N, C]`.
    """
    value: Tensor
    key: Tensor


class FeatureGates(torch.nn.Module):
    r"""The features of nodes in the input and the score of a path model, with
    gates that depend on the relation :math:`q` of the query.

    .. math::
        \mathbf{x}^{(0)}_v &= [v = h]\, \mathbf{e}_q + \sum_m \gamma_{q,m}\,
        \mathrm{LayerNorm}(\mathbf{P}_m (\mathbf{f}_{v,m} -
        \bar{\mathbf{f}}_m))

        s(v) &= \mathrm{MLP}([\mathbf{x}^{(L)}_v ; \mathbf{e}_q]) + 20 \sum_m
        \delta_{q,m} \cos(\mathbf{c}_{q,m} \odot \mathbf{B}_m (\mathbf{f}_{h,m}
        - \bar{\mathbf{f}}_m) + \mathbf{d}_{q,m}, \mathbf{B}_m
        (\mathbf{f}_{v,m} - \bar{\mathbf{f}}_m))

    The features of an encoder have a large part in common, so their mean
    :math:`\bar{\mathbf{f}}_m` over the nodes of the graph is subtracted. The
    gates :math:`\gamma` and :math:`\delta` and the vectors :math:`\mathbf{c}`
    and :math:`\mathbf{d}` are linear functions of :math:`\mathbf{e}_q`. The
    term :math:`\mathbf{d}_{q,m}` represents the features that answers have
    regardless of the node of the query. Modalities that a node lacks are left
    out of the sums. Messages of the first iteration start from
    :math:`\mathbf{x}^{(0)}`, while the message that every iteration adds
    remains :math:`\mathbf{e}_q` at the node :math:`h` only.

    Args:
        modalities (dict): The number of channels :obj:`F_m` of each modality.
        channels (int): The number of channels :obj:`D` of a node.
    """
    def __init__(self, modalities: dict[str, int], channels: int) -> None:
        super().__init__()
        self.value: Any = ModuleDict({
            name: Linear(width, channels, bias=False)
            for name, width in modalities.items()})
        self.key: Any = ModuleDict({
            name: Linear(width, CHANNELS, bias=False)
            for name, width in modalities.items()})
        self.query: Any = ModuleDict({
            name: Linear(channels, 2 * CHANNELS) for name in modalities})
        self.gate = Linear(channels, 2 * len(modalities))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module. The gates are
        initially close to zero, since messages from all nodes would otherwise
        dominate the message from the node of the query, and :math:`\mathbf{c}`
        and :math:`\mathbf{d}` are close to one and zero, as for the similarity
        of two nodes.
        """
        for module in (*self.value.values(), *self.key.values(),
                       *self.query.values(), self.gate):
            module.reset_parameters()
        self.gate.weight.mul_(0.1)
        self.gate.bias.mul_(0.1)
        for module in self.query.values():
            module.weight.mul_(0.1)
            module.bias.copy_(torch.arange(2 * CHANNELS) < CHANNELS)

    def close(self) -> None:
        r"""Sets all gates to zero, as if there were no features."""
        torch.nn.init.zeros_(self.gate.weight)
        torch.nn.init.zeros_(self.gate.bias)

    def closed(self) -> bool:
        r"""Returns :obj:`True` if the gates :math:`\gamma` are zero for all
        queries.
        """
        first = self.gate.out_features // 2
        # A device is asked again only after a change of the weights.
        return not any(bool(on_host(x)[:first].any()) for x in (
            self.gate.weight, self.gate.bias))

    def gates(self, query: Tensor) -> tuple[Tensor, Tensor]:
        r"""Returns the gates :math:`\gamma` and :math:`\delta`, each
        :obj:`[Q, M]`, of queries :obj:`[Q, D]`.
        """
        first, last = self.gate(query).chunk(2, dim=-1)
        return first, last

    def tables(self, features: NodeFeatures) -> FeatureTables:
        r"""Returns the projected features of all nodes."""
        value, key = [], []
        for name, x in features.x.items():
            dtype = self.gate.weight.dtype
            x = x.to(dtype) - features.mean[name].to(dtype)
            lacking = ~features.mask[name].unsqueeze(-1)
            out = self.value[name](x)
            value.append(F.layer_norm(out, out.shape[-1:]).masked_fill(
                lacking, 0.0))
            key.append(F.normalize(self.key[name](x), dim=-1).masked_fill(
                lacking, 0.0))
        return FeatureTables(torch.stack(value), torch.stack(key))

    def rows(self, tables: FeatureTables, query: Tensor) -> Tensor:
        r"""Returns the part :obj:`[Q, N, D]` of the features in
        :math:`\mathbf{x}^{(0)}`, given the rows :math:`\mathbf{e}_q` of
        queries, :obj:`[Q, D]`.
        """
        gate, _ = self.gates(query)
        return torch.einsum('qm,mnd->qnd', gate, tables.value)

    def scores(self, tables: FeatureTables, node: Tensor, query: Tensor,
               count: Tensor) -> Tensor:
        r"""Returns the part :obj:`[Q, N]` of the features in the scores of all
        nodes for queries from nodes :obj:`[Q]`.

        Args:
            tables (FeatureTables): The projected features.
            node (torch.Tensor): The nodes of queries, :obj:`[Q]`.
            query (torch.Tensor): The rows :math:`\mathbf{e}_q` of groups of
                consecutive queries, :obj:`[G, D]`.
            count (torch.Tensor): The number of queries in each group,
                :obj:`[G]`.
        """
        _, gate = self.gates(query)
        Q = node.numel()
        gate = gate.repeat_interleave(count, dim=0, output_size=Q)
        out = query.new_zeros(Q, tables.key.size(1))
        for m, layer in enumerate(self.query.values()):
            scale, shift = layer(query).repeat_interleave(
                count, dim=0, output_size=Q).chunk(2, dim=-1)
            asked = F.normalize(scale * tables.key[m, node] + shift, dim=-1)
            out = out + SCALE * gate[:, m:m + 1] * _products(
                asked, tables.key[m])
        return out


def _products(a: Tensor, b: Tensor) -> Tensor:
    if row_by_row(a.device):
        return torch.stack([b @ row for row in a])
    return a @ b.t()
