from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Embedding

from pyg_mmkgc.errors import check_positive
from pyg_mmkgc.nn.kge.query import QueryModel
from pyg_mmkgc.nn.loss import MarginRankingLoss
from pyg_mmkgc.nn.similarity import norm_distance
from pyg_mmkgc.typing import Side


class TransH(QueryModel):
    r"""The TransH model from the `"Knowledge Graph Embedding by Translating on
    Hyperplanes" <https://ojs.aaai.org/index.php/AAAI/article/view/8870>`_
    paper, which translates between projections of the entities onto a
    hyperplane of the relation.

    .. math::
        s(h, r, t) = \gamma - \| \mathbf{h}_{\perp} + \mathbf{d}_r -
        \mathbf{t}_{\perp} \|_p, \qquad \mathbf{e}_{\perp} = \mathbf{e} -
        (\mathbf{w}_r^{\top} \mathbf{e}) \, \mathbf{w}_r, \quad
        \| \mathbf{w}_r \|_2 = 1

    The paper uses the squared Euclidean distance, and soft constraints that
    keep entities in the unit ball and :math:`\mathbf{d}_r` in the hyperplane.
    Here, as in OpenKE, there are no such constraints, and :math:`\mathbf{w}_r`
    is divided by its norm inside the score.

    Args:
        num_nodes (int): The number of nodes/entities :obj:`N` in the graph.
        num_relations (int): The number of relations :obj:`R` in the graph.
        hidden_channels (int): The hidden embedding size :obj:`D`. Relations
            are :obj:`2 * D` channels wide, :obj:`[d | w]`.
        margin (float, optional): The margin :math:`\gamma`, which is also the
            margin of the ranking loss in :meth:`loss`. (default: :obj:`1.0`)
        p_norm (float, optional): The order :math:`p` of the norm, one or two.
            (default: :obj:`1.0`)
        sparse (bool, optional): If set to :obj:`True`, gradients w.r.t.
            the embedding matrices will be sparse. (default: :obj:`False`)
        num_negatives (int, optional): The number of negatives in
            :meth:`loss`. (default: :obj:`128`)

    Raises:
        ModelError: If :obj:`margin` is not positive, or if :obj:`p_norm` is
            neither one nor two.
    """
    key_depends_on = 'relation'

    def __init__(self, num_nodes: int, num_relations: int,
                 hidden_channels: int, margin: float = 1.0,
                 p_norm: float = 1.0, sparse: bool = False,
                 num_negatives: int = 128) -> None:
        super().__init__(num_nodes, num_relations, hidden_channels,
                         num_negatives=num_negatives, sparse=sparse)
        check_positive(margin=margin)
        self.margin, self.p_norm = margin, p_norm
        self.similarity = norm_distance(p_norm)
        self.rel_emb = Embedding(num_relations, 2 * hidden_channels,
                                 sparse=sparse)
        self.criterion = MarginRankingLoss(margin)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        torch.nn.init.xavier_uniform_(self.node_emb.weight)
        for part in self.rel_emb.weight.detach().chunk(2, dim=-1):
            torch.nn.init.xavier_uniform_(part)

    def key(self, x: Tensor, rel_type: Tensor, side: Side) -> Tensor:
        normal = F.normalize(self.rel_emb(rel_type).chunk(2, dim=-1)[1],
                             dim=-1)
        return x - (x * normal).sum(dim=-1, keepdim=True) * normal

    def query(self, x: Tensor, rel_type: Tensor, side: Side) -> Tensor:
        rel = self.rel_emb(rel_type).chunk(2, dim=-1)[0]
        x = self.key(x, rel_type, side)
        return x + rel if side == 'tail' else x - rel
