from __future__ import annotations

from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Embedding

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn.functional import moduli_distance
from pyg_mmkgc.nn.kge.base import MMKGEModel
from pyg_mmkgc.nn.scaled import relation_distance, scaled_candidate_distance


class PairRE(MMKGEModel):
    r"""The PairRE model from the `"PairRE: Knowledge Graph Embeddings via
    Paired Relation Vectors" <https://arxiv.org/abs/2011.03798>`_ paper, which
    scales the head and the tail by a vector of the relation each.

    .. math::
        s(h, r, t) = \gamma - \| \mathbf{h} \circ \mathbf{r}^H -
        \mathbf{t} \circ \mathbf{r}^T \|_1, \qquad
        \| \mathbf{h} \|_2 = \| \mathbf{t} \|_2 = 1

    As in the original code, entities are divided by their norm inside the
    score, and no constraint is on relations. That code also weighs triples by
    the frequency of their queries.

    Args:
        num_nodes (int): The number of nodes/entities :obj:`N` in the graph.
        num_relations (int): The number of relations :obj:`R` in the graph.
        hidden_channels (int): The hidden embedding size :obj:`D`; relations
            are :obj:`2 * D` channels wide.
        margin (float, optional): :math:`\gamma`. (default: :obj:`6.0`)
        sparse (bool, optional): If set to :obj:`True`, gradients w.r.t. to
            the embedding matrices will be sparse. (default: :obj:`False`)
        num_negatives (int, optional): Negatives of :meth:`loss`.
            (default: :obj:`128`)
    """
    def __init__(
        self,
        num_nodes: int,
        num_relations: int,
        hidden_channels: int,
        margin: float = 6.0,
        sparse: bool = False,
        num_negatives: int = 128,
    ) -> None:
        super().__init__(num_nodes, num_relations, hidden_channels,
                         num_negatives=num_negatives, sparse=sparse)
        if not margin > 0:
            raise ModelError(f'expected margin > 0, got {margin}')
        self.margin = margin
        self.rel_emb = Embedding(num_relations, 2 * hidden_channels,
                                 sparse=sparse)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        bound = (self.margin + 2.0) / self.hidden_channels
        torch.nn.init.uniform_(self.node_emb.weight, -bound, bound)
        torch.nn.init.uniform_(self.rel_emb.weight, -bound, bound)

    def fuse(self, views: dict[str, Tensor]) -> Tensor:
        return F.normalize(views['structure'], dim=-1)

    def scales(self, rel_type: Tensor) -> tuple[Tensor, Tensor]:
        r""":math:`\mathbf{r}^H` and :math:`\mathbf{r}^T`, :obj:`[*, D]`."""
        return self.rel_emb(rel_type).chunk(2, dim=-1)

    def score(self, head: Tensor, rel_type: Tensor, tail: Tensor) -> Tensor:
        scale_h, scale_t = self.scales(rel_type)
        return self.margin - moduli_distance(head * scale_h, tail * scale_t,
                                             group=1)

    def score_candidates(self, table: Tensor, head: Tensor, rel_type: Tensor,
                         tail: Tensor, index: Tensor,
                         corrupt_head: Tensor) -> Tensor:
        scale_h, scale_t = self.scales(rel_type)
        return self.margin - scaled_candidate_distance(
            torch.stack([head * scale_h, tail * scale_t], dim=1),
            torch.stack([scale_t, scale_h], dim=1), table, index,
            corrupt_head, group=1)

    def score_tails(self, head_index: Tensor, rel_type: Tensor,
                    table: Optional[Tensor] = None) -> Tensor:
        table = self.encode() if table is None else table
        return self.margin - relation_distance(
            table[head_index] * self.scales(rel_type)[0], rel_type, table,
            lambda x, r: x * self.scales(r)[1], group=1)

    def score_heads(self, rel_type: Tensor, tail_index: Tensor,
                    table: Optional[Tensor] = None) -> Tensor:
        table = self.encode() if table is None else table
        return self.margin - relation_distance(
            table[tail_index] * self.scales(rel_type)[1], rel_type, table,
            lambda x, r: x * self.scales(r)[0], group=1)
