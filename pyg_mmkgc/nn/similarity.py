r"""How similar a query is to the key of a candidate, in three forms that
give the same values: pair by pair, against the candidates of a batch, and
against a whole table.
"""
from __future__ import annotations

from typing import Optional

from torch import Tensor

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.kernels.candidates import candidate_scores, pair_scores
from pyg_mmkgc.kernels.dense import dense_scores


class Similarity:
    r"""A similarity that the kernels compute, higher is closer.

    Args:
        group (int, optional): The channels of a norm, whose sum over groups
            is negated, see :func:`~pyg_mmkgc.nn.functional.moduli_distance`;
            zero for the inner product. (default: :obj:`None`, all channels)
    """
    def __init__(self, group: Optional[int] = None) -> None:
        self.group = group
        #: Whether a model adds its margin to the similarity.
        self.has_margin = group != 0

    def __call__(self, query: Tensor, key: Tensor) -> Tensor:
        r"""Returns the similarities :obj:`[*]` of queries and keys
        :obj:`[*, C]`, which broadcast.
        """
        return self._signed(pair_scores(query, key, self._channels(key)))

    def candidates(self, query: Tensor, key: Tensor, index: Tensor,
                   corrupt_head: Tensor,
                   scale: Optional[Tensor] = None) -> Tensor:
        r"""Returns the similarities :obj:`[B, K]` of queries
        :obj:`[B, 2, C]`, for a tail and for a head, to rows :obj:`index` of
        keys :obj:`[U, C]`, whose channels are multiplied by :obj:`scale`
        :obj:`[B, 2, C]`.
        """
        return self._signed(candidate_scores(
            query, key, index, corrupt_head, self._channels(key), scale))

    def table(self, query: Tensor, key: Tensor) -> Tensor:
        r"""Returns the similarities :obj:`[Q, N]` of queries :obj:`[Q, C]` to
        all keys :obj:`[N, C]`.
        """
        return self._signed(dense_scores(query, key, self._channels(key)))

    def _channels(self, key: Tensor) -> int:
        return key.size(-1) if self.group is None else self.group

    def _signed(self, scores: Tensor) -> Tensor:
        return scores.neg_() if self.has_margin else scores


class InnerProduct(Similarity):
    r"""The inner product :math:`\langle \mathbf{q}, \mathbf{k} \rangle`."""
    def __init__(self) -> None:
        super().__init__(group=0)


class Distance(Similarity):
    r"""The negated sum of norms :math:`-\sum_i \| \mathbf{q}_i -
    \mathbf{k}_i \|_2` of groups of channels: one for the :math:`L_1`
    distance, two for complex moduli, all for the Euclidean distance.
    """


def norm_distance(p_norm: float) -> Distance:
    r"""Returns the negated :math:`L_1` or Euclidean distance.

    Raises:
        ModelError: If :obj:`p_norm` is neither one nor two.
    """
    if p_norm not in (1, 2):
        raise ModelError(f"Expected 'p_norm' to be 1 or 2 (got {p_norm!r})")
    return Distance(group=1 if p_norm == 1 else None)
