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


class TransD(QueryModel):
    r"""The TransD model from the `"Knowledge Graph Embedding via Dynamic
    Mapping Matrix" <https://aclanthology.org/P15-1067>`_ paper, which
    translates between projections of the entities. The projection matrix
    depends on both the entity and the relation.

    .. math::
        s(h, r, t) = \gamma - \| \mathbf{h}_{\perp} + \mathbf{r} -
        \mathbf{t}_{\perp} \|_p, \qquad
        \mathbf{e}_{\perp} = (\mathbf{r}_p \mathbf{e}_p^{\top} + \mathbf{I}) \,
        \mathbf{e} = \mathbf{e} + (\mathbf{e}_p^{\top} \mathbf{e}) \,
        \mathbf{r}_p

    Three details follow OpenKE instead of the paper. First,
    :math:`\mathbf{h}_{\perp}`, :math:`\mathbf{r}` and
    :math:`\mathbf{t}_{\perp}` are divided by their Euclidean norms, whereas
    the paper constrains these norms to at most one. Second, the distance is a
    :math:`p`-norm, whereas the paper uses the squared Euclidean distance.
    Third, entities and relations have the same width, whereas their widths may
    differ in the paper.

    Args:
        num_nodes (int): The number of nodes/entities :obj:`N` in the graph.
        num_relations (int): The number of relations :obj:`R` in the graph.
        hidden_channels (int): The hidden embedding size :obj:`D`. Entities and
            relations are :obj:`2 * D` channels wide, :obj:`[e | e_p]`.
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
        self.node_emb = Embedding(num_nodes, 2 * hidden_channels,
                                  sparse=sparse)
        self.rel_emb = Embedding(num_relations, 2 * hidden_channels,
                                 sparse=sparse)
        self.criterion = MarginRankingLoss(margin)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for weight in (self.node_emb.weight, self.rel_emb.weight):
            for part in weight.detach().chunk(2, dim=-1):
                torch.nn.init.xavier_uniform_(part)

    def fuse(self, views: dict[str, Tensor]) -> Tensor:
        # The score only needs the inner product of e_p and e, so the
        # representation is [*, D + 1].
        x, x_p = views['structure'].chunk(2, dim=-1)
        return torch.cat([x, (x_p * x).sum(dim=-1, keepdim=True)], dim=-1)

    def key(self, x: Tensor, rel_type: Tensor, side: Side) -> Tensor:
        r"""Returns the projections :math:`\mathbf{e}_{\perp}`,
        :obj:`[*, D]`, of representations :obj:`[*, D + 1]`.
        """
        rel_p = self.rel_emb(rel_type)[..., self.hidden_channels:]
        return F.normalize(torch.addcmul(x[..., :-1], x[..., -1:], rel_p),
                           dim=-1)

    def query(self, x: Tensor, rel_type: Tensor, side: Side) -> Tensor:
        rel = F.normalize(self.rel_emb(rel_type)[..., :self.hidden_channels],
                          dim=-1)
        x = self.key(x, rel_type, side)
        return x + rel if side == 'tail' else x - rel
