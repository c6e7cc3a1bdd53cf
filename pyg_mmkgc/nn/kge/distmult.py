from __future__ import annotations

from torch import Tensor

from pyg_mmkgc.nn.kge.bilinear import Bilinear
from pyg_mmkgc.nn.loss import MarginRankingLoss
from pyg_mmkgc.typing import Side


class DistMult(Bilinear):
    r"""The DistMult model from the `"Embedding Entities and Relations for
    Learning and Inference in Knowledge Bases"
    <https://arxiv.org/abs/1412.6575>`_ paper.

    .. math::
        s(h, r, t) = \sum_{i=1}^{D} h_i \, r_i \, t_i

    The arguments and the score are the same as in
    :class:`torch_geometric.nn.kge.DistMult`. :meth:`loss` also computes the
    margin loss of the paper, but against :obj:`num_negatives` negatives
    instead of one. The paper keeps entities on the unit sphere. Here, as in
    later code, N3 or L3 regularizes them instead.

    Args:
        num_nodes (int): The number of nodes/entities :obj:`N` in the graph.
        num_relations (int): The number of relations :obj:`R` in the graph.
        hidden_channels (int): The width :obj:`D` of an embedding.
        margin (float, optional): The margin of :meth:`loss`.
            (default: :obj:`1.0`)
        sparse (bool, optional): If set to :obj:`True`, gradients w.r.t.
            the embedding matrices will be sparse. (default: :obj:`False`)
        reciprocal (bool, optional): If set to :obj:`True`, each relation has
            a reciprocal relation to rank heads, and rankings are no longer
            symmetric in head and tail. (default: :obj:`False`)
        n3 (float, optional): The weight of the N3 regularizer, the cubed
            factors of each positive. (default: :obj:`0.0`)
        l3 (float, optional): The weight of the L3 regularizer, the sum of the
            cubed entries of both tables. (default: :obj:`0.0`)
        num_negatives (int, optional): The number of negatives in
            :meth:`loss`. (default: :obj:`128`)
    """
    group = width = 1

    def __init__(self, num_nodes: int, num_relations: int,
                 hidden_channels: int, margin: float = 1.0,
                 sparse: bool = False, reciprocal: bool = False,
                 n3: float = 0.0, l3: float = 0.0,
                 num_negatives: int = 128) -> None:
        super().__init__(num_nodes, num_relations, hidden_channels, None,
                         reciprocal, n3, l3, num_negatives, sparse)
        self.margin = margin
        self.criterion = MarginRankingLoss(margin)
        self.reset_parameters()

    def query(self, x: Tensor, rel_type: Tensor, side: Side) -> Tensor:
        return x * self.rel_emb(rel_type)
