r"""Ranks and ranking metrics in pure tensor code."""

from .ranking import (
    Ranks,
    adjusted_mean_rank_index,
    assert_finite,
    count_rivals,
    hits_at_k,
    mean_rank,
    mean_reciprocal_rank,
    rank_targets,
    without_known,
)

__all__ = [
    'Ranks',
    'rank_targets',
    'assert_finite',
    'count_rivals',
    'without_known',
    'mean_reciprocal_rank',
    'mean_rank',
    'adjusted_mean_rank_index',
    'hits_at_k',
]
