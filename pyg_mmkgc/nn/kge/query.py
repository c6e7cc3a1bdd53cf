from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, Optional

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from pyg_mmkgc.kernels.backend import parts
from pyg_mmkgc.kernels.host import (
    by_value,
    distinct_values,
    on_host,
    to_device,
)
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

    A query is computed once for all of its candidates. A model implements
    :meth:`query`, and also :meth:`key` if the key of a candidate differs from
    its representation.
    """
    #: The similarity of queries and keys, without the margin :math:`\gamma`.
    similarity: Similarity
    #: The margin :math:`\gamma`. Inner products do not use it.
    margin: float = 0.0
    #: The input of :meth:`key` in addition to the candidate. Keys are
    #: computed once for all nodes (:obj:`"nothing"`), once per side
    #: (:obj:`"side"`), or once per pair of node and relation, for both sides
    #: (:obj:`"relation"`).
    key_depends_on: Literal['nothing', 'side', 'relation'] = 'nothing'

    def query(self, x: Tensor, rel_type: Tensor, side: Side) -> Tensor:
        r"""Returns the queries :obj:`[*, C_q]` of known nodes with
        representations :obj:`[*, C]` and relations :obj:`[*]`. The answer is
        on :obj:`side`.
        """
        raise NotImplementedError

    def key(self, x: Tensor, rel_type: Tensor, side: Side) -> Tensor:
        r"""Returns the keys :obj:`[*, C_q]` of candidates with
        representations :obj:`[*, C]` on :obj:`side`. It may only use the
        relations with :obj:`key_depends_on="relation"`.
        """
        scale = self.key_scale(rel_type, side)
        return x if scale is None else x * scale

    def key_scale(self, rel_type: Tensor, side: Side) -> Optional[Tensor]:
        r"""Returns the factors :obj:`[*, C]` that scale the channels of
        candidates to obtain their keys, or :obj:`None` if keys are not scaled
        representations. The factors may depend on relation and side.
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
                             zip((head, tail), sides, strict=True)])
        scales = [x for x in (self.key_scale(rel_type, side)
                              for side in sides) if x is not None]
        scale = torch.stack(scales) if scales else None
        key = table
        if scale is None and self.key_depends_on == 'relation':
            # Recomputing the keys of each block in the backward pass limits
            # their memory.
            return self._add_margin(torch.cat([
                checkpoint(self._by_pair, table, query[:, part],
                           *distinct_pairs(table, *ids), corrupt_head[part],
                           use_reentrant=False)
                for part, ids in _parts_of_ids(rel_type, index,
                                               table.size(1))]))
        if self.key_depends_on == 'side':
            key = torch.cat([self.key(table, rel_type, side)
                             for side in sides])
            index = index + corrupt_head * table.size(0)
        elif scale is None:
            key = self.key(table, rel_type, 'tail')
        return self._add_margin(self.similarity.candidates(
            query, key, index, corrupt_head, scale))

    def _by_pair(self, table: Tensor, query: Tensor, node: Tensor,
                 rel: Tensor, place: Tensor, corrupt_head: Tensor) -> Tensor:
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
    r"""Returns the distinct pairs of candidates :obj:`[B, K]` with the
    relations :obj:`[B]` of their positives.

    Returns:
        The table rows :obj:`[P]` and the relations :obj:`[P]` of the pairs,
        and the position :obj:`[B, K]` of each candidate among the pairs.
    """
    size, device = table.size(0), table.device
    pair, place = distinct_values(
        on_host(rel_type).unsqueeze(-1) * size + on_host(index))
    return (to_device(pair % size, device), to_device(pair // size, device),
            to_device(place, device))


def _parts_of_ids(rel_type: Tensor, index: Tensor, channels: int
                  ) -> Iterator[tuple[slice, tuple[Tensor, Tensor]]]:
    r"""Yields parts of positives, with their relations and candidates on the
    host, whose keys of :obj:`channels` channels fit into a block.
    """
    rel_type, index = on_host(rel_type), on_host(index)
    for part in parts(index.size(0), index.size(1) * channels):
        yield part, (rel_type[part], index[part])


def by_relation(query: Tensor, rel_type: Tensor, table: Tensor,
                scores: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    r"""Returns the scores :obj:`[Q, N]` of queries :obj:`[Q, C]` with
    relations :obj:`[Q]` against a table :obj:`[N, *]`. :obj:`scores` is
    called once per relation, and maps all of its queries and the relation
    :obj:`[]` to their scores, so that it transforms the table only once.
    """
    rel, groups, back = by_value(rel_type, table.device)
    # The models ask for the relation on the host again.
    out = [scores(query[rows], to_device(r, table.device))
           for r, rows in zip(on_host(rel), groups, strict=True)]
    if not out:
        return table.new_empty(0, table.size(0))
    return torch.cat(out)[back]


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
