r"""The similarity of queries and keys in three equivalent forms: for single
pairs, for the candidates of a batch, and for a whole table.
"""
from __future__ import annotations

from typing import Optional

from torch import Tensor

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.kernels.candidates import candidate_scores, pair_scores
from pyg_mmkgc.kernels.dense import dense_scores


class Similarity:
    r"""A similarity that the kernels compute. Higher values mean more similar.

    Args:
        group (int, optional): The number of channels in a norm. The
            similarity is the negated sum of the norms of all groups, see
            :obj:`moduli_distance`. If set to
            :obj:`0`, it is the inner product. (default: :obj:`None`, one norm
            over all channels)
    """
    def __init__(self, group: Optional[int] = None) -> None:
        self.group = group
        #: If :obj:`True`, a model adds its margin to the similarity.
        self.has_margin = group != 0

    def __call__(self, query: Tensor, key: Tensor) -> Tensor:
        r"""Returns the similarities :obj:`[*]` of queries and keys
        :obj:`[*, C]`, which broadcast.
        """
        return self._signed(pair_scores(query, key, self._channels(key)))

    def candidates(self, query: Tensor, key: Tensor, index: Tensor,
                   corrupt_head: Tensor,
                   scale: Optional[Tensor] = None) -> Tensor:
        r"""Returns the similarities :obj:`[B, K]` of queries to the rows
        :obj:`index` of keys :obj:`[U, C]`. The queries :obj:`[2, B, C]` ask
        first for a tail, then for a head. If :obj:`scale` :obj:`[2, B, C]` is
        given, it is multiplied with the channels of the keys.
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
    r"""The negated sum :math:`-\sum_i \| \mathbf{q}_i - \mathbf{k}_i \|_2` of
    norms over groups of channels. Groups of one channel result in the
    :math:`L_1` distance, groups of two in the sum of complex moduli, and one
    group of all channels in the Euclidean distance.
    """


def norm_distance(p_norm: float) -> Distance:
    r"""Returns the negated :math:`L_1` or Euclidean distance.

    Raises:
        ModelError: If :obj:`p_norm` is neither one nor two.
    """
    if p_norm not in (1, 2):
        raise ModelError(f"Expected 'p_norm' to be 1 or 2 (got {p_norm!r})")
    return Distance(group=1 if p_norm == 1 else None)
