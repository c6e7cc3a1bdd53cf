from __future__ import annotations

from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Embedding
from torch.utils.checkpoint import checkpoint

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn.functional import BLOCK, moduli_distance
from pyg_mmkgc.nn.kernel import candidate_distance
from pyg_mmkgc.nn.kge.base import MMKGEModel
from pyg_mmkgc.nn.loss import MarginRankingLoss
from pyg_mmkgc.nn.scaled import relation_distance


class TransD(MMKGEModel):
    r"""The TransD model from the `"Knowledge Graph Embedding via Dynamic
    Mapping Matrix" <https://aclanthology.org/P15-1067>`_ paper, which projects
    both entities by a matrix of entity and relation before it translates.

    .. math::
        s(h, r, t) = \gamma - \| \mathbf{h}_{\perp} + \mathbf{r} -
        \mathbf{t}_{\perp} \|_p, \qquad
        \mathbf{e}_{\perp} = (\mathbf{r}_p \mathbf{e}_p^{\top} + \mathbf{I}) \,
        \mathbf{e} = \mathbf{e} + (\mathbf{e}_p^{\top} \mathbf{e}) \,
        \mathbf{r}_p

    Three things are OpenKE's. The paper keeps norms at most one by
    constraints, here :math:`\mathbf{h}_{\perp}`, :math:`\mathbf{r}` and
    :math:`\mathbf{t}_{\perp}` are divided by their Euclidean norms; its
    distance is the square of the Euclidean one; and entities and relations may
    there be of different widths.

    Args:
        num_nodes (int): The number of nodes/entities :obj:`N` in the graph.
        num_relations (int): The number of relations :obj:`R` in the graph.
        hidden_channels (int): The hidden embedding size :obj:`D`; entities and
            relations are :obj:`2 * D` channels wide, :obj:`[e | e_p]`.
        margin (float, optional): :math:`\gamma`, and the margin of the ranking
            loss of :meth:`loss`. (default: :obj:`1.0`)
        p_norm (float, optional): :math:`p`, one or two.
            (default: :obj:`1.0`)
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
        margin: float = 1.0,
        p_norm: float = 1.0,
        sparse: bool = False,
        num_negatives: int = 128,
    ) -> None:
        super().__init__(num_nodes, num_relations, hidden_channels,
                         num_negatives=num_negatives, sparse=sparse)
        if not margin > 0 or p_norm not in (1, 2):
            raise ModelError('expected margin > 0 and p_norm 1 or 2, got '
                             f'{margin} and {p_norm}')
        self.margin = margin
        self.p_norm = p_norm
        self.group = 1 if p_norm == 1 else hidden_channels
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
        # Of e_p, the score needs one number, [*, D + 1].
        x, x_p = views['structure'].chunk(2, dim=-1)
        return torch.cat([x, (x_p * x).sum(dim=-1, keepdim=True)], dim=-1)

    def project(self, x: Tensor, rel_type: Tensor) -> Tensor:
        r""":math:`\mathbf{e}_{\perp}`, :obj:`[*, D]`, of representations
        :obj:`[*, D + 1]`.
        """
        rel_p = self.rel_emb(rel_type)[..., self.hidden_channels:]
        return F.normalize(torch.addcmul(x[..., :-1], x[..., -1:], rel_p),
                           dim=-1)

    def relation(self, rel_type: Tensor) -> Tensor:
        r"""The translations :math:`\mathbf{r}`, :obj:`[*, D]`."""
        return F.normalize(self.rel_emb(rel_type)[..., :self.hidden_channels],
                           dim=-1)

    def score(self, head: Tensor, rel_type: Tensor, tail: Tensor) -> Tensor:
        query = self.project(head, rel_type) + self.relation(rel_type)
        return self.margin - moduli_distance(
            query, self.project(tail, rel_type), self.group)

    def score_candidates(self, table: Tensor, head: Tensor, rel_type: Tensor,
                         tail: Tensor, index: Tensor,
                         corrupt_head: Tensor) -> Tensor:
        queries = (self.project(head, rel_type) + self.relation(rel_type),
                   self.project(tail, rel_type) - self.relation(rel_type))
        # A block at a time, which the backward pass projects again.
        step = max(1, BLOCK // max(1, index.size(1) * table.size(1)))
        parts = zip(*(x.split(step) for x in (
            *queries, rel_type, index, corrupt_head)), strict=True)
        return self.margin - torch.cat([
            checkpoint(self._distances, table, *part, use_reentrant=False)
            for part in parts])

    def _distances(self, table: Tensor, tail_query: Tensor,
                   head_query: Tensor, rel_type: Tensor, index: Tensor,
                   corrupt_head: Tensor) -> Tensor:
        # Candidates that meet a relation several times are projected once.
        U = table.size(0)
        pair, place = (rel_type.unsqueeze(-1) * U + index).unique(
            return_inverse=True)
        return candidate_distance(
            tail_query, head_query, self.project(table[pair % U], pair // U),
            place, corrupt_head, self.group)

    def score_tails(self, head_index: Tensor, rel_type: Tensor,
                    table: Optional[Tensor] = None) -> Tensor:
        table = self.encode() if table is None else table
        query = self.project(table[head_index], rel_type)
        return self.margin - relation_distance(
            query + self.relation(rel_type), rel_type, table, self.project,
            self.group)

    def score_heads(self, rel_type: Tensor, tail_index: Tensor,
                    table: Optional[Tensor] = None) -> Tensor:
        table = self.encode() if table is None else table
        query = self.project(table[tail_index], rel_type)
        return self.margin - relation_distance(
            query - self.relation(rel_type), rel_type, table, self.project,
            self.group)
