from __future__ import annotations

import torch
from torch import Tensor

from pyg_mmkgc.nn.kge.bilinear import Bilinear
from pyg_mmkgc.typing import Side


class SimplE(Bilinear):
    r"""The SimplE model from the `"SimplE Embedding for Link Prediction in
    Knowledge Graphs" <https://arxiv.org/abs/1802.04868>`_ paper. An entity has
    one embedding as a head and another as a tail, and each relation has an
    inverse.

    .. math::
        s(h, r, t) = \tfrac{1}{2} \Big( \sum_{i=1}^{D} h_i \, r_i \, t'_i +
        \sum_{i=1}^{D} t_i \, r^{-1}_i \, h'_i \Big)

    The paper's L2 regularizer is replaced by L3 or by N3, which is from
    `Canonical Tensor Decomposition for Knowledge Base Completion
    <https://arxiv.org/abs/1806.07297>`_. :meth:`loss` computes the softplus
    loss of the paper.

    Args:
        num_nodes (int): The number of nodes/entities :obj:`N` in the graph.
        num_relations (int): The number of relations :obj:`R` in the graph.
        hidden_channels (int): The width :obj:`D` of a row. Entities
            :obj:`[e | e']` and relations :obj:`[r | r^{-1}]` are
            :obj:`2 * D` channels wide.
        sparse (bool, optional): If set to :obj:`True`, gradients w.r.t.
            the embedding matrices will be sparse. (default: :obj:`False`)
        n3 (float, optional): The weight of the N3 regularizer, the cubed
            factors of each positive. (default: :obj:`0.0`)
        l3 (float, optional): The weight of the L3 regularizer, the sum of the
            cubed entries of both tables. (default: :obj:`0.0`)
        num_negatives (int, optional): The number of negatives in
            :meth:`loss`. (default: :obj:`128`)
    """
    group = 1

    def __init__(self, num_nodes: int, num_relations: int,
                 hidden_channels: int, sparse: bool = False, n3: float = 0.0,
                 l3: float = 0.0, num_negatives: int = 128) -> None:
        super().__init__(num_nodes, num_relations, hidden_channels, None,
                         False, n3, l3, num_negatives, sparse)
        self.reset_parameters()

    def query(self, x: Tensor, rel_type: Tensor, side: Side) -> Tensor:
        # The query for a tail compares h' r^-1 with t and h r with t'. The
        # query for a head compares t' r with h and t r^-1 with h'.
        rel, inverse = self.rel_emb(rel_type).chunk(2, dim=-1)
        first, second = x.chunk(2, dim=-1)
        if side == 'head':
            rel, inverse = inverse, rel
        return 0.5 * torch.cat([second * inverse, first * rel], dim=-1)
