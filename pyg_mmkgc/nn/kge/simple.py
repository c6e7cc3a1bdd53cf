from __future__ import annotations

import torch
from torch import Tensor

from pyg_mmkgc.nn.kge.bilinear import Bilinear
from pyg_mmkgc.typing import Side


class SimplE(Bilinear):
    r"""The SimplE model from the `"SimplE Embedding for Link Prediction in
    Knowledge Graphs" <https://arxiv.org/abs/1802.04868>`_ paper, in which an
    entity has a row as a head and another as a tail, and a relation has an
    inverse.

    .. math::
        s(h, r, t) = \tfrac{1}{2} \Big( \sum_{i=1}^{D} h_i \, r_i \, t'_i +
        \sum_{i=1}^{D} t_i \, r^{-1}_i \, h'_i \Big)

    The paper's L2 regulariser is replaced by N3, of `Canonical Tensor
    Decomposition for Knowledge Base Completion
    <https://arxiv.org/abs/1806.07297>`_, or L3; its loss is the softplus loss
    of :meth:`loss`.

    Args:
        num_nodes (int): The number of nodes/entities :obj:`N` in the graph.
        num_relations (int): The number of relations :obj:`R` in the graph.
        hidden_channels (int): The width :obj:`D` of a row; entities
            :obj:`[e | e']` and relations :obj:`[r | r^{-1}]` are
            :obj:`2 * D` channels wide.
        sparse (bool, optional): If set to :obj:`True`, gradients w.r.t. to
            the embedding matrices will be sparse. (default: :obj:`False`)
        n3 (float, optional): The weight of N3, the cubes of the factors of
            each positive. (default: :obj:`0.0`)
        l3 (float, optional): The weight of L3, the cubes of both tables.
            (default: :obj:`0.0`)
        num_negatives (int, optional): Negatives of :meth:`loss`.
            (default: :obj:`128`)
    """
    group = 1

    def __init__(self, num_nodes: int, num_relations: int,
                 hidden_channels: int, sparse: bool = False, n3: float = 0.0,
                 l3: float = 0.0, num_negatives: int = 128) -> None:
        super().__init__(num_nodes, num_relations, hidden_channels, None,
                         False, n3, l3, num_negatives, sparse)
        self.reset_parameters()

    def query(self, x: Tensor, rel_type: Tensor, side: Side) -> Tensor:
        # Asked for a tail, h r meets t' and h' r^-1 meets t; asked for a
        # head, t r^-1 meets h' and t' r meets h.
        rel, inverse = self.rel_emb(rel_type).chunk(2, dim=-1)
        first, second = x.chunk(2, dim=-1)
        if side == 'head':
            rel, inverse = inverse, rel
        return 0.5 * torch.cat([second * inverse, first * rel], dim=-1)
