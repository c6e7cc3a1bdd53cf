r"""Filtered ranks of targets among candidates, and metrics over ranks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pyg_mmkgc.errors import ConfigError, NonFiniteError


class Ranks(NamedTuple):
    r"""The ranks of :math:`Q` targets, from :obj:`1` for the best.

    With :math:`n` candidates after filtering (including the target), every
    rank lies in :math:`[1, n]`. All tensors have type :obj:`int64` and shape
    :math:`[Q]`.

    Args:
        optimistic (torch.Tensor): The rank of the target if it comes first
            among all candidates with the same score.
        pessimistic (torch.Tensor): The rank of the target if it comes last
            among all candidates with the same score.
        num_candidates (torch.Tensor): The number of candidates :math:`n` of
            each query.
    """
    optimistic: Tensor
    pessimistic: Tensor
    num_candidates: Tensor

    @property
    def realistic(self) -> Tensor:
        r"""The mean of the optimistic and the pessimistic rank.

        It is the expected rank under a random order of ties, as
        :obj:`float64`.
        """
        return (self.optimistic + self.pessimistic).to(torch.float64) / 2

    def by_ties(self, ties: str) -> Tensor:
        r"""Returns the ranks under one treatment of ties as :obj:`float64`.

        Args:
            ties (str): :obj:`"realistic"`, :obj:`"optimistic"` or
                :obj:`"pessimistic"`.

        Raises:
            ConfigError: If :obj:`ties` is another value.
        """
        if ties == 'realistic':
            return self.realistic
        if ties == 'optimistic':
            return self.optimistic.to(torch.float64)
        if ties == 'pessimistic':
            return self.pessimistic.to(torch.float64)
        raise ConfigError(f"Expected 'ties' to be 'realistic', 'optimistic' "
                          f"or 'pessimistic' (got '{ties}')")

    def select(self, index: Tensor) -> Ranks:
        r"""Returns the ranks of some of the queries.

        Args:
            index (torch.Tensor): The queries as positions or as a mask.
        """
        return Ranks(*(value[index] for value in self))


def rank_targets(
    scores: Tensor,
    target: Tensor,
    filter_index: tuple[Tensor, Tensor] | None = None,
) -> Ranks:
    r"""Ranks one target per query among all candidates that are not filtered.

    Filtering does not mask or copy any scores: better candidates are counted
    over the whole row, and filtered candidates are subtracted. The target is
    never filtered.

    Args:
        scores (torch.Tensor): The candidate scores, of shape
            :math:`[Q, N]`. Higher is better. Scores in half precision are
            compared in half precision.
        target (torch.Tensor): The target candidate of each query, of shape
            :math:`[Q]`.
        filter_index (tuple, optional): The candidates to filter, as a pair
            :obj:`(row, node)` of query positions and candidates, both of
            shape :math:`[M]`, in any order. (default: :obj:`None`)

    Raises:
        NonFiniteError: If any score is NaN or infinite, even if its candidate
            is filtered.
    """
    assert_finite(scores)
    if filter_index is not None:
        row, node = _distinct(*filter_index, scores.size(1))
        keep = node != target[row]
        filter_index = row[keep], node[keep]
    better, not_worse, counts = count_rivals(
        scores, scores.gather(1, target.view(-1, 1)).view(-1), filter_index)
    # Only `not_worse` counts the target itself.
    return Ranks(better + 1, not_worse, counts)


def count_rivals(
    scores: Tensor,
    truth: Tensor,
    filter_index: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Counts the candidates with a higher score than the target, the
    candidates with a score that is not lower, and all candidates.

    The counts of disjoint sets of candidates can be added.

    Args:
        scores (torch.Tensor): The scores of candidates, of shape
            :math:`[Q, N]`.
        truth (torch.Tensor): The score of the target of each query, of shape
            :math:`[Q]`.
        filter_index (tuple, optional): The candidates to filter, as for
            :meth:`rank_targets`, without duplicates. (default: :obj:`None`)

    Returns:
        The three counts, each of shape :math:`[Q]`.
    """
    better = _count_rows(scores > truth.view(-1, 1))
    not_worse = _count_rows(scores >= truth.view(-1, 1))
    counts = torch.full_like(better, scores.size(1))
    if filter_index is None:
        return better, not_worse, counts
    row, node = filter_index
    return without_known((better, not_worse, counts), row, scores[row, node],
                         truth[row])


def without_known(
    counts: tuple[Tensor, Tensor, Tensor],
    row: Tensor,
    rival: Tensor,
    own: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Subtracts filtered candidates from the counts of :func:`count_rivals`.

    Args:
        counts (tuple): The counts with the filtered candidates, each of shape
            :math:`[Q]`.
        row (torch.Tensor): The query of each filtered candidate, of shape
            :math:`[M]`.
        rival (torch.Tensor): The score of each filtered candidate, of shape
            :math:`[M]`.
        own (torch.Tensor): The score of the target of its query, of shape
            :math:`[M]`.

    Returns:
        The three counts without the filtered candidates.
    """
    better, not_worse, total = counts
    if row.numel() == 0:
        return counts
    return (better - _count(row, rival > own, better),
            not_worse - _count(row, rival >= own, better),
            total - _count(row, torch.ones_like(row, dtype=torch.bool),
                           better))


def assert_finite(scores: Tensor, first: int = 0,
                  nodes: Tensor | None = None) -> None:
    r"""Raises an error if a score is NaN or infinite.

    Args:
        scores (torch.Tensor): The scores, of shape :math:`[Q, N]`.
        first (int, optional): The id of the candidate in the first column.
            (default: :obj:`0`)
        nodes (torch.Tensor, optional): The candidates. If given,
            :obj:`first` is a position among them. (default: :obj:`None`)

    Raises:
        NonFiniteError: If a score is NaN or infinite.
    """
    if bool(torch.isfinite(scores.sum())):
        return
    bad = ~torch.isfinite(scores)
    if not bool(bad.any()):
        return
    row, column = bad.nonzero()[0].tolist()
    node = first + column
    if nodes is not None:
        node = int(nodes[node])
    raise NonFiniteError(
        f'Expected finite scores to rank (got {int(bad.sum())} non-finite '
        f'out of {scores.numel()}, the first is {float(scores[row, column])} '
        f'for candidate {node} of query {row})')


def _distinct(row: Tensor, node: Tensor, size: int) -> tuple[Tensor, Tensor]:
    # Duplicate pairs would be subtracted twice. The pairs of an index of known
    # triples are sorted and distinct, which is cheap to check.
    key = row * size + node
    if bool((key[1:] > key[:-1]).all()):
        return row, node
    key = key.unique()
    return torch.div(key, size, rounding_mode='floor'), key % size


def _count_rows(hit: Tensor) -> Tensor:
    if hit.device.type == 'cpu':  # Ten times faster than PyTorch.
        counts = np.count_nonzero(hit.numpy(), axis=1)
        return torch.from_numpy(counts.astype(np.int64, copy=False))
    return hit.sum(dim=1)


def _count(row: Tensor, hit: Tensor, like: Tensor) -> Tensor:
    return torch.zeros_like(like).index_add_(0, row, hit.to(like.dtype))


def mean_reciprocal_rank(ranks: Tensor) -> float:
    r"""Returns the mean reciprocal rank.

    .. math::
        \mathrm{MRR} = \frac{1}{Q} \sum_i \frac{1}{\mathrm{rank}_i}

    Args:
        ranks (torch.Tensor): The ranks, from :obj:`1`, of shape :math:`[Q]`.
    """
    return float(ranks.to(torch.float64).reciprocal().mean())


def mean_rank(ranks: Tensor) -> float:
    r"""Returns the mean rank
    :math:`\frac{1}{Q} \sum_i \mathrm{rank}_i`.

    Args:
        ranks (torch.Tensor): The ranks, from :obj:`1`, of shape :math:`[Q]`.
    """
    return float(ranks.to(torch.float64).mean())


def adjusted_mean_rank_index(ranks: Tensor, num_candidates: Tensor) -> float:
    r"""Returns the adjusted mean rank index.

    It was proposed in the `"On the Ambiguity of Rank-Based
    Evaluation of Entity Alignment or Link Prediction Methods"
    <https://arxiv.org/abs/2002.06914>`_ paper:

    .. math::
        \mathrm{AMRI} = 1 - \frac{\mathrm{MR} - 1}{\mathbb{E}[\mathrm{MR}] -
        1} = 1 - \frac{\sum_i (\mathrm{rank}_i - 1)}{\frac{1}{2} \sum_i (n_i
        - 1)},

    where :math:`n_i` is the number of candidates of query :math:`i`. It is
    :obj:`1` for perfect ranks, :obj:`0` on average for random scores, and
    negative for ranks worse than random. It is also :obj:`0` if all queries
    have a single candidate.

    Args:
        ranks (torch.Tensor): The ranks, from :obj:`1`, of shape :math:`[Q]`.
        num_candidates (torch.Tensor): The number of candidates of each
            query, of shape :math:`[Q]`.
    """
    expected = float((num_candidates.to(torch.float64) - 1).sum()) / 2
    if expected == 0.0:
        return 0.0
    return 1.0 - float((ranks.to(torch.float64) - 1).sum()) / expected


def hits_at_k(ranks: Tensor, k: int) -> float:
    r"""Returns the share of ranks that are at most :math:`k`.

    Args:
        ranks (torch.Tensor): The ranks, from :obj:`1`, of shape :math:`[Q]`.
        k (int): The last rank that counts as a hit.
    """
    return float((ranks <= k).to(torch.float64).mean())
