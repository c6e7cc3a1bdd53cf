from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Optional

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from pyg_mmkgc.kernels.backend import parts
from pyg_mmkgc.nn.deprecated import DeprecatedQueries, check_queries
from pyg_mmkgc.nn.kge.base import MMKGEModel, TripleModel
from pyg_mmkgc.nn.similarity import Similarity
from pyg_mmkgc.typing import Side


class QueryForms(DeprecatedQueries, TripleModel):
    r"""A score that compares a query with a key.

    .. math::
        s(h, r, t) = \gamma + \mathrm{sim}(q_{tail}(\mathbf{h}, r),
        k_{tail}(\mathbf{t}, r)) = \gamma + \mathrm{sim}(q_{head}(\mathbf{t},
        r), k_{head}(\mathbf{h}, r))

    A query is computed once for all of its candidates. A model writes
    :meth:`query`, and :meth:`key` unless candidates answer as they are.
    """
    #: How queries and keys are compared; :math:`\gamma` is not part of it.
    similarity: Similarity
    #: :math:`\gamma`, which inner products do without.
    margin: float = 0.0
    #: What :meth:`key` depends on beside the candidate, and thus what is
    #: computed once: keys of all nodes, keys for each side, or a key for each
    #: pair of node and relation (whatever the side).
    key_depends_on: Literal['nothing', 'side', 'relation'] = 'nothing'

    def query(self, x: Tensor, rel_type: Tensor, side: Side) -> Tensor:
        r"""Returns what nodes with representations :obj:`[*, C]` ask for with
        relations :obj:`[*]`, :obj:`[*, C_q]`; :obj:`side` is the side of the
        answer.
        """
        raise NotImplementedError

    def key(self, x: Tensor, rel_type: Tensor, side: Side) -> Tensor:
        r"""Returns what candidates with representations :obj:`[*, C]` answer
        with on a side, :obj:`[*, C_q]`. The relations may be read only with
        :obj:`key_depends_on="relation"`.
        """
        scale = self.key_scale(rel_type, side)
        return x if scale is None else x * scale

    def key_scale(self, rel_type: Tensor, side: Side) -> Optional[Tensor]:
        r"""Returns the factors :obj:`[*, C]` of the channels of a candidate,
        where these are all that a key depends on; they may depend on the
        relation and on the side.
        """
        return None

    def score(self, head: Tensor, rel_type: Tensor, tail: Tensor) -> Tensor:
        return self._add_margin(self.similarity(
            self.query(head, rel_type, 'tail'),
            self.key(tail, rel_type, 'tail')))

    def candidate_scores(self, table: Tensor, head: Tensor, rel_type: Tensor,
                         tail: Tensor, index: Tensor,
                         corrupt_head: Tensor) -> Tensor:
        sides: tuple[Side, Side] = 'tail', 'head'
        query = torch.stack([self.query(x, rel_type, side) for x, side in
                             zip((head, tail), sides, strict=True)], dim=1)
        scales = [x for x in (self.key_scale(rel_type, side)
                              for side in sides) if x is not None]
        scale = torch.stack(scales, dim=1) if scales else None
        key = table
        if scale is None and self.key_depends_on == 'relation':
            # A block at a time, whose keys the backward pass computes again.
            return self._add_margin(torch.cat([
                checkpoint(self._by_pair, table, query[part], rel_type[part],
                           index[part], corrupt_head[part],
                           use_reentrant=False)
                for part in parts(index.size(0),
                                  index.size(1) * table.size(1))]))
        if self.key_depends_on == 'side':
            key = torch.cat([self.key(table, rel_type, side)
                             for side in sides])
            index = index + corrupt_head * table.size(0)
        elif scale is None:
            key = self.key(table, rel_type, 'tail')
        return self._add_margin(self.similarity.candidates(
            query, key, index, corrupt_head, scale))

    def _by_pair(self, table: Tensor, query: Tensor, rel_type: Tensor,
                 index: Tensor, corrupt_head: Tensor) -> Tensor:
        node, rel, place = distinct_pairs(table, rel_type, index)
        key = self.key(table[node], rel, 'tail')
        return self.similarity.candidates(query, key, place, corrupt_head)

    def node_scores(self, x: Tensor, rel_type: Tensor, side: Side,
                    table: Tensor) -> Tensor:
        query = self.query(x, rel_type, side)
        if self.key_depends_on == 'relation':
            return self._add_margin(by_relation(
                query, rel_type, table, lambda query, rel:
                self.similarity.table(query, self.key(table, rel, side))))
        return self._add_margin(self.similarity.table(
            query, self.key(table, rel_type, side)))

    def _add_margin(self, scores: Tensor) -> Tensor:
        if not self.similarity.has_margin:
            return scores
        return (scores + self.margin if scores.requires_grad else
                scores.add_(self.margin))


def distinct_pairs(table: Tensor, rel_type: Tensor,
                   index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    r"""Returns the rows of a table and the relations of the distinct pairs,
    each :obj:`[P]`, in which candidates :obj:`[B, K]` meet the relation
    :obj:`[B]` of their positive, and the candidates as places in them.
    """
    size = table.size(0)
    pair, place = (rel_type.unsqueeze(-1) * size + index).unique(
        return_inverse=True)
    return pair % size, pair // size, place


def by_relation(query: Tensor, rel_type: Tensor, table: Tensor,
                scores: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    r"""Returns the scores :obj:`[Q, N]` of queries :obj:`[Q, C]` with
    relations :obj:`[Q]` against a table :obj:`[N, *]`, which is transformed
    once for all queries of a relation: :obj:`scores` maps these queries and
    their relation :obj:`[]` to their scores.
    """
    order = rel_type.argsort(stable=True)
    rel, count = rel_type[order].unique_consecutive(return_counts=True)
    out = [scores(query[rows], r) for r, rows in zip(
        rel, order.split(count.tolist()), strict=True)]
    if not out:
        return table.new_empty(0, table.size(0))
    return torch.cat(out)[order.argsort()]


class QueryModel(QueryForms, MMKGEModel):
    r"""An abstract base class of models whose score compares a query with a
    key. All forms of the score follow from :meth:`query`, :meth:`key` and
    :attr:`similarity`.

    .. code-block:: python

        class TransE(QueryModel):
            similarity = Distance(group=1)

            def query(self, x, rel_type, side):
                rel = self.rel_emb(rel_type)
                return x + rel if side == 'tail' else x - rel

    Args:
        *args: Arguments of :class:`~pyg_mmkgc.nn.MMKGEModel`.
        **kwargs (optional): Additional arguments of
            :class:`~pyg_mmkgc.nn.MMKGEModel`.
    """
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        check_queries(type(self))
