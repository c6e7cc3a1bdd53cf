from __future__ import annotations

from typing import Any, Optional

import torch
from torch import Tensor
from torch.nn import Embedding, Linear, ReLU, Sequential

from pyg_mmkgc.errors import ModelError, check_whole
from pyg_mmkgc.kernels.relational import RelationalGraph
from pyg_mmkgc.nn.path.base import PathModel
from pyg_mmkgc.nn.path.conv import RelationalConv
from pyg_mmkgc.nn.path.prune import pruned_scores


class NBFNet(PathModel):
    r"""The NBFNet model from the `"Neural Bellman-Ford Networks: A General
    Graph Neural Network Framework for Link Prediction"
    <https://arxiv.org/abs/2106.06935>`_ paper.

    Messages start at the node :math:`h` of a query :math:`(h, q)` and pass
    along up to :math:`L` edges. The messages that reach a node determine its
    score (eqs. (4) to (6), with the layer normalization and the skip
    connections of the released code):

    .. math::
        \mathbf{x}^{(0)}_v &= [v = h]\, \mathbf{e}_q

        \mathbf{x}^{(l)}_v &= \mathrm{ReLU}(\mathrm{LayerNorm}(\mathbf{W}_l
        [\mathbf{x}^{(l-1)}_v ; \mathbf{m}^{(l)}_v] + \mathbf{b}_l)) +
        \mathbf{x}^{(l-1)}_v, \quad \mathbf{m}^{(l)}_v =
        \bigoplus_{(u, r, v) \in \mathcal{E}} \mathbf{w}^{(l)}_r \odot
        \mathbf{x}^{(l-1)}_u \oplus \mathbf{x}^{(0)}_v

        s(v) &= \mathrm{MLP}([\mathbf{x}^{(L)}_v ; \mathbf{e}_q])

    The model has embeddings of relations, but not of nodes, so it applies to
    any graph with the same relations.

    Args:
        num_relations (int): The number of relations :obj:`R`.
        hidden_channels (int, optional): The number of channels of nodes and
            relations. (default: :obj:`32`)
        num_layers (int, optional): The number of iterations, which is the
            number of edges in the longest path. (default: :obj:`6`)
        message (str, optional): The operator :math:`\odot`, either
            :obj:`"product"` (DistMult), :obj:`"sum"` (TransE) or
            :obj:`"rotation"` (RotatE). (default: :obj:`"product"`)
        reduce (str, optional): The operator :math:`\bigoplus`, either
            :obj:`"sum"`, :obj:`"mean"` or :obj:`"max"`.
            (default: :obj:`"sum"`)
        dependent (bool, optional): If set to :obj:`False`,
            :math:`\mathbf{w}^{(l)}_r` is an embedding instead of a linear
            function of :math:`\mathbf{e}_q`. (default: :obj:`True`)
        num_active (int, optional): The number of nodes that pass messages on
            in each layer, see
            :func:`~pyg_mmkgc.nn.path.prune.pruned_scores`. The cost of a query
            is proportional to the edges of these nodes.
            (default: :obj:`None`, all nodes)
        num_negatives (int, optional): See
            :class:`~pyg_mmkgc.nn.path.PathModel`. (default: :obj:`None`)
        remove_one_hop (bool, optional): See
            :class:`~pyg_mmkgc.nn.path.PathModel`. (default: :obj:`False`)
        modalities (dict, optional): See
            :class:`~pyg_mmkgc.nn.path.PathModel`. (default: :obj:`None`)
        structure_dropout (float, optional): See
            :class:`~pyg_mmkgc.nn.path.PathModel`. (default: :obj:`0.0`)

    Raises:
        ModelError: If an argument is out of range or unknown, or if both
            :obj:`num_active` and :obj:`modalities` are given.
    """
    num_relations: int

    def __init__(self, num_relations: int, hidden_channels: int = 32,
                 num_layers: int = 6, message: str = 'product',
                 reduce: str = 'sum', dependent: bool = True,
                 num_active: Optional[int] = None,
                 num_negatives: Optional[int] = None,
                 remove_one_hop: bool = False,
                 modalities: Optional[dict[str, int]] = None,
                 structure_dropout: float = 0.0) -> None:
        check_whole(num_relations=num_relations, num_layers=num_layers)
        check_whole(optional=True, num_active=num_active)
        super().__init__(hidden_channels, num_negatives, remove_one_hop,
                         modalities, structure_dropout)
        if modalities and num_active is not None:
            raise ModelError("Expected 'num_active' to be None for a model "
                             'with modalities, since the features of every '
                             f'node are messages (got {num_active})')
        if message == 'rotation' and hidden_channels % 2:
            raise ModelError("Expected 'hidden_channels' to be even for "
                             f"message='rotation' (got {hidden_channels})")
        self.num_relations = num_relations
        self.num_layers, self.message, self.reduce = (num_layers, message,
                                                      reduce)
        self.dependent, self.num_active = dependent, num_active
        R, D = 2 * num_relations, hidden_channels
        self.query_emb = Embedding(R, D)
        self.layers = torch.nn.ModuleList(
            RelationalConv(D, message, reduce) for _ in range(num_layers))
        self.relations: Any = torch.nn.ModuleList(
            Linear(D, R * D) if dependent else Embedding(R, D)
            for _ in range(num_layers))
        self.mlp = Sequential(Linear(2 * D, 2 * D), ReLU(), Linear(2 * D, 1))

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        for module in (self.query_emb, *self.layers, *self.relations,
                       self.mlp[0], self.mlp[2]):
            module.reset_parameters()
        if self.features is not None:
            self.features.reset_parameters()

    def condition(self, rel_type: Tensor) -> tuple[Tensor, list[Tensor]]:
        query = self.query_emb(rel_type)
        shape = query.size(0), *self.query_emb.weight.shape
        return query, [
            relation(query).view(shape) if self.dependent else
            relation.weight.expand(shape) for relation in self.relations]

    def score_conditioned(self, graph: RelationalGraph, node: Tensor,
                          start: Tensor, weights: list[Tensor],
                          others: Optional[Tensor] = None) -> Tensor:
        if self.num_active is None:
            return super().score_conditioned(graph, node, start, weights,
                                             others)
        start, *weights = (x.expand(node.numel(), *x.shape[1:])
                           for x in (start, *weights))
        return pruned_scores(self.layers, self.mlp, weights, graph, node,
                             start, self.num_active)
