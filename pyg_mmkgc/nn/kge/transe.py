from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from pyg_mmkgc.errors import ModelError, check_positive
from pyg_mmkgc.nn.kge.query import QueryModel
from pyg_mmkgc.nn.loss import MarginRankingLoss
from pyg_mmkgc.nn.similarity import norm_distance
from pyg_mmkgc.typing import Side


class TransE(QueryModel):
    r"""The TransE model from the `"Translating Embeddings for Modeling
    Multi-Relational Data" <https://proceedings.neurips.cc/paper/2013/file/
    1cecc7a77928ca8133fa24680a88d2f9-Paper.pdf>`_ paper, which translates the
    head by the relation.

    .. math::
        s(h, r, t) = \gamma - \| \mathbf{h} + \mathbf{r} - \mathbf{t} \|_p

    The paper's score has no :math:`\gamma`, which cancels in its ranking loss.
    :pyg:`PyG`'s :class:`~torch_geometric.nn.kge.TransE` differs in two ways:
    it divides :math:`\mathbf{h}` and :math:`\mathbf{t}` by their
    :math:`p`-norms, and its :meth:`loss` uses one negative per positive.

    Args:
        num_nodes (int): The number of nodes/entities :obj:`N` in the graph.
        num_relations (int): The number of relations :obj:`R` in the graph.
        hidden_channels (int): The hidden embedding size :obj:`D`.
        margin (float, optional): The margin :math:`\gamma`, which is also the
            margin of the ranking loss in :meth:`loss`. (default: :obj:`1.0`)
        p_norm (float, optional): The order :math:`p` of the norm, one or two.
            (default: :obj:`1.0`)
        sparse (bool, optional): If set to :obj:`True`, gradients w.r.t.
            the embedding matrices will be sparse. (default: :obj:`False`)
        norm (str, optional): The normalization that keeps entities from
            growing. :obj:`"constraint"` divides all entities by their
            Euclidean norms before each step, as in the paper. :obj:`"score"`
            divides :math:`\mathbf{h}`, :math:`\mathbf{r}` and
            :math:`\mathbf{t}` by their Euclidean norms inside the score, as
            in OpenKE. :obj:`"none"` does not normalize, as in RotatE's code.
            (default: :obj:`"constraint"`)
        num_negatives (int, optional): The number of negatives in
            :meth:`loss`. (default: :obj:`128`)

    Raises:
        ModelError: If :obj:`margin` is not positive, if :obj:`p_norm` is
            neither one nor two, or if :obj:`norm` is unknown.
    """
    def __init__(self, num_nodes: int, num_relations: int,
                 hidden_channels: int, margin: float = 1.0,
                 p_norm: float = 1.0, sparse: bool = False,
                 norm: str = 'constraint', num_negatives: int = 128) -> None:
        super().__init__(num_nodes, num_relations, hidden_channels,
                         num_negatives=num_negatives, sparse=sparse)
        check_positive(margin=margin)
        if norm not in ('constraint', 'score', 'none'):
            raise ModelError("Expected 'norm' to be 'constraint', 'score' or "
                             f"'none' (got {norm!r})")
        self.margin, self.p_norm, self.norm = margin, p_norm, norm
        self.similarity = norm_distance(p_norm)
        self.criterion = MarginRankingLoss(margin)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        bound = 6.0 / math.sqrt(self.hidden_channels)
        if self.norm == 'none':  # The initial range in RotatE's code.
            bound = (self.margin + 2.0) / self.hidden_channels
        torch.nn.init.uniform_(self.node_emb.weight, -bound, bound)
        torch.nn.init.uniform_(self.rel_emb.weight, -bound, bound)
        if self.norm == 'constraint':
            _normalize_rows(self.rel_emb.weight)
            _normalize_rows(self.node_emb.weight)

    def before_step(self, head_index: Tensor, rel_type: Tensor,
                    tail_index: Tensor) -> None:
        if self.norm == 'constraint':
            _normalize_rows(self.node_emb.weight)

    def fuse(self, views: dict[str, Tensor]) -> Tensor:
        x = views['structure']
        return F.normalize(x, dim=-1) if self.norm == 'score' else x

    def relation(self, rel_type: Tensor) -> Tensor:
        r"""Returns the translations :math:`\mathbf{r}`, :obj:`[*, D]`."""
        rel = self.rel_emb(rel_type)
        return F.normalize(rel, dim=-1) if self.norm == 'score' else rel

    def query(self, x: Tensor, rel_type: Tensor, side: Side) -> Tensor:
        rel = self.relation(rel_type)
        return x + rel if side == 'tail' else x - rel


@torch.no_grad()
def _normalize_rows(weight: Tensor) -> None:
    weight.div_(weight.norm(dim=-1, keepdim=True).clamp_min(1e-12))
