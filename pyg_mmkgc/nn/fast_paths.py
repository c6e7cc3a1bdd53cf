from __future__ import annotations

from typing import Any, Optional

import torch
from torch import Tensor

from pyg_mmkgc.nn.functional import blocks

FAST_PATHS = ('score_candidates', 'score_tails', 'score_heads')


class FastPaths:
    r"""The scores of many triples at once in their general form, and the rule
    that ties a faster form to the class that wrote the score.

    A subclass with a :meth:`score` of its own would inherit fast forms of
    another score. It gets the general ones, those of the first class that
    has them, unless it brings its own.
    """
    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if 'score' not in vars(cls):
            return
        for name in FAST_PATHS:
            if name not in vars(cls):
                general = [vars(base)[name] for base in cls.__mro__
                           if name in vars(base)][-1]
                setattr(cls, name, general)

    def encode(self, index: Optional[Tensor] = None) -> Tensor:
        raise NotImplementedError

    def score(self, head: Tensor, rel_type: Tensor, tail: Tensor) -> Tensor:
        raise NotImplementedError

    def experts(self, table: Tensor) -> list[tuple[FastPaths, Tensor]]:
        r"""What the model's own loss, and one on the scores of all nodes,
        trains, each with its part of a table :obj:`[N, C]`; the losses of
        several are added up. By default, the model itself.
        """
        return [(self, table)]

    def score_candidates(self, table: Tensor, head: Tensor, rel_type: Tensor,
                         tail: Tensor, index: Tensor,
                         corrupt_head: Tensor) -> Tensor:
        r"""The scores :obj:`[B, K]` of triples with rows :obj:`index` of
        :obj:`table` for their head where :obj:`corrupt_head`, else for their
        tail, both :obj:`[B, K]`.
        """
        node, side = table[index], corrupt_head.unsqueeze(-1)
        return self.score(torch.where(side, node, head.unsqueeze(1)),
                          rel_type.unsqueeze(1),
                          torch.where(side, tail.unsqueeze(1), node))

    def score_tails(self, head_index: Tensor, rel_type: Tensor,
                    table: Optional[Tensor] = None) -> Tensor:
        r"""The scores :obj:`[Q, N]` of all nodes as tails of queries
        :obj:`[Q]`, given the table of :meth:`encode`.
        """
        table = self.encode() if table is None else table
        head = table[head_index].unsqueeze(1)
        return torch.cat([self.score(head, rel_type.unsqueeze(1), rows)
                          for rows in blocks(table, head.size(0))], dim=-1)

    def score_heads(self, rel_type: Tensor, tail_index: Tensor,
                    table: Optional[Tensor] = None) -> Tensor:
        r"""The scores :obj:`[Q, N]` of all nodes as heads."""
        table = self.encode() if table is None else table
        tail = table[tail_index].unsqueeze(1)
        return torch.cat([self.score(rows, rel_type.unsqueeze(1), tail)
                          for rows in blocks(table, tail.size(0))], dim=-1)
