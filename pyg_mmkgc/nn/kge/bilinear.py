from __future__ import annotations

from typing import Optional

import torch
from torch import Tensor
from torch.nn import Embedding

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn.fast_paths import FastPaths
from pyg_mmkgc.nn.functional import cubes, inner_products
from pyg_mmkgc.nn.kernel import candidate_product
from pyg_mmkgc.nn.kge.base import MMKGEModel
from pyg_mmkgc.nn.loss import BCELoss


class BilinearScore(FastPaths):
    r"""The score :math:`s(h, r, t) = \langle q(\mathbf{h}, r), \mathbf{t}
    \rangle`, linear in both nodes, whose fast forms are matrix products. A
    subclass writes :meth:`query`.

    With reciprocal relations, as in `Canonical Tensor Decomposition for
    Knowledge Base Completion <https://arxiv.org/abs/1806.07297>`_, the heads
    of :math:`(?, r, t)` are the tails of :math:`(t, r + R, ?)`.
    """
    num_relations: int
    reciprocal: bool

    def query(self, x: Tensor, rel_type: Tensor,
              adjoint: bool = False) -> Tensor:
        r""":math:`q(\mathbf{x}, r)`, :obj:`[*, C]`, or its adjoint
        :math:`q'`: :math:`\langle q(\mathbf{h}, r), \mathbf{t} \rangle =
        \langle \mathbf{h}, q'(\mathbf{t}, r) \rangle`.
        """
        raise NotImplementedError

    def inverse(self, rel_type: Tensor) -> Tensor:
        r"""The reciprocal relations of relations :obj:`[*]`."""
        return (rel_type + self.num_relations) % (2 * self.num_relations)

    def score(self, head: Tensor, rel_type: Tensor, tail: Tensor) -> Tensor:
        return (self.query(head, rel_type) * tail).sum(dim=-1)

    def score_candidates(self, table: Tensor, head: Tensor, rel_type: Tensor,
                         tail: Tensor, index: Tensor,
                         corrupt_head: Tensor) -> Tensor:
        return candidate_product(self.query(head, rel_type),
                                 self.query(tail, rel_type, adjoint=True),
                                 table, index, corrupt_head)

    def score_tails(self, head_index: Tensor, rel_type: Tensor,
                    table: Optional[Tensor] = None) -> Tensor:
        table = self.encode() if table is None else table
        return inner_products(self.query(table[head_index], rel_type), table)

    def score_heads(self, rel_type: Tensor, tail_index: Tensor,
                    table: Optional[Tensor] = None) -> Tensor:
        table = self.encode() if table is None else table
        tail = table[tail_index]
        query = (self.query(tail, self.inverse(rel_type)) if self.reciprocal
                 else self.query(tail, rel_type, adjoint=True))
        return inner_products(query, table)


class Bilinear(BilinearScore, MMKGEModel):
    r"""An abstract base class of bilinear models: tables of nodes and of
    relations, and the regularisers of the literature.

    Args:
        channels (int): The width :obj:`C` of a node's row.
        reciprocal (bool, optional): If set to :obj:`True`, each relation has
            a reciprocal one, for the heads. (default: :obj:`False`)
        n3 (float, optional): The weight of N3, :math:`\frac{1}{B} \sum
            (|\mathbf{h}|^3 + |\mathbf{r}|^3 + |\mathbf{t}|^3)` over the
            positives. (default: :obj:`0.0`)
        l3 (float, optional): The weight of L3, the cubes of both tables, as
            RotatE's code has it. (default: :obj:`0.0`)
        blocks (int, optional): The number of relation rows :obj:`[C]` that
            lie side by side. (default: :obj:`1`)
    """
    #: The real channels of a factor that N3 takes the modulus of.
    group = 2

    def __init__(self, num_nodes: int, num_relations: int,
                 hidden_channels: int, channels: int,
                 modalities: Optional[dict[str, Tensor]] = None,
                 reciprocal: bool = False, n3: float = 0.0, l3: float = 0.0,
                 num_negatives: int = 128, sparse: bool = False,
                 blocks: int = 1) -> None:
        super().__init__(num_nodes, num_relations, hidden_channels, modalities,
                         num_negatives, sparse)
        if not n3 >= 0 or not l3 >= 0:
            raise ModelError('expected n3 >= 0 and l3 >= 0, got '
                             f'{n3} and {l3}')
        if sparse and l3 > 0:
            raise ModelError('expected sparse=False with L3, whose gradient '
                             'reaches all rows')
        self.reciprocal, self.n3, self.l3 = reciprocal, n3, l3
        self.criterion = BCELoss()
        self.node_emb = Embedding(num_nodes, channels, sparse=sparse)
        self.blocks = blocks
        self.rel_emb = Embedding((1 + reciprocal) * num_relations,
                                 blocks * channels, sparse=sparse)

    def reset_parameters(self) -> None:
        torch.nn.init.xavier_uniform_(self.node_emb.weight)
        torch.nn.init.xavier_uniform_(self.rel_emb.weight)

    def loss(self, head_index: Tensor, rel_type: Tensor,
             tail_index: Tensor) -> Tensor:
        if self.reciprocal:
            head_index, rel_type, tail_index = (
                torch.cat([head_index, tail_index]),
                torch.cat([rel_type, self.inverse(rel_type)]),
                torch.cat([tail_index, head_index]))
        return super().loss(head_index, rel_type, tail_index)

    def factors(self, x: Tensor, rel_type: Tensor) -> Tensor:
        r"""What N3 sees of representations :obj:`[B, C]`."""
        return x

    def regularization(self, views: dict[str, Tensor], table: Tensor,
                       head: Tensor, rel_type: Tensor,
                       tail: Tensor) -> Optional[Tensor]:
        if self.n3 == 0 and self.l3 == 0:
            return None
        out = table.new_zeros(())
        if self.n3 > 0:
            both = torch.stack([rel_type, self.inverse(rel_type)]
                               if self.reciprocal else [rel_type])
            total = self._cubes(self.rel_emb(both)) / both.size(0)
            for index in (head, tail):
                total = total + self._cubes(
                    self.factors(table[index], rel_type))
            out = out + self.n3 / head.numel() * total
        if self.l3 > 0:
            out = out + self.l3 * (cubes(self.node_emb.weight) +
                                   cubes(self.rel_emb.weight))
        return out

    def _cubes(self, x: Tensor) -> Tensor:
        return cubes(x.unflatten(-1, (self.blocks, -1)), self.group)
