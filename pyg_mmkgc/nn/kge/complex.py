from __future__ import annotations

from torch import Tensor

from pyg_mmkgc.nn.functional import complex_product
from pyg_mmkgc.nn.kge.bilinear import Bilinear
from pyg_mmkgc.typing import Side


class ComplEx(Bilinear):
    r"""The ComplEx model from the `"Complex Embeddings for Simple Link
    Prediction" <https://arxiv.org/abs/1606.06357>`_ paper.

    .. math::
        s(h, r, t) = \mathrm{Re} \Big( \sum_{i=1}^{D} h_i \, r_i \,
        \bar{t}_i \Big)

    The arguments and the score are the same as in
    :class:`torch_geometric.nn.kge.ComplEx`. Here, one table holds rows
    :obj:`[re | im]`, and :meth:`loss` computes the softplus loss of the paper
    against :obj:`num_negatives` negatives instead of one. The paper's L2
    regularizer is replaced by L3 or by N3, which is from `Canonical Tensor
    Decomposition for Knowledge Base Completion
    <https://arxiv.org/abs/1806.07297>`_.

    Args:
        num_nodes (int): The number of nodes/entities :obj:`N` in the graph.
        num_relations (int): The number of relations :obj:`R` in the graph.
        hidden_channels (int): The complex dimension :obj:`D`. Embeddings are
            :obj:`2 * D` real channels wide.
        sparse (bool, optional): If set to :obj:`True`, gradients w.r.t.
            the embedding matrices will be sparse. (default: :obj:`False`)
        reciprocal (bool, optional): If set to :obj:`True`, each relation has
            a reciprocal relation to rank heads. (default: :obj:`False`)
        n3 (float, optional): The weight of the N3 regularizer, the cubed
            moduli of the factors of each positive. (default: :obj:`0.0`)
        l3 (float, optional): The weight of the L3 regularizer, the sum of the
            cubed entries of both tables. (default: :obj:`0.0`)
        num_negatives (int, optional): The number of negatives in
            :meth:`loss`. (default: :obj:`128`)
    """
    def __init__(self, num_nodes: int, num_relations: int,
                 hidden_channels: int, sparse: bool = False,
                 reciprocal: bool = False, n3: float = 0.0, l3: float = 0.0,
                 num_negatives: int = 128) -> None:
        super().__init__(num_nodes, num_relations, hidden_channels, None,
                         reciprocal, n3, l3, num_negatives, sparse)
        self.reset_parameters()

    def query(self, x: Tensor, rel_type: Tensor, side: Side) -> Tensor:
        # Re(h r conj(t)) is the real inner product of h r and t, and also the
        # inner product of t conj(r) and h.
        return complex_product(x, self.rel_emb(rel_type),
                               conjugate=side == 'head')
