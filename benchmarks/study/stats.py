"""Means over seeds, and which differences are real."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import numpy as np

DRAWS = 10_000
#: What a caption says of the bars of a figure, which has :func:`interval`
#: where its table has :func:`spread`.
BARS = ("Bars in the figure: Student's 95 % intervals of the mean over seeds, "
        'where there are several; ± in the table: the sample standard '
        'deviation. ')


def spread(values: Sequence[float], digits: int = 2) -> str:
    """The mean and, of several, the sample standard deviation."""
    text = f'{statistics.mean(values):.{digits}f}'
    if len(values) > 1:
        text += f' ± {statistics.stdev(values):.{digits}f}'
    return text


def paired_bootstrap(first: np.ndarray, second: np.ndarray,
                     seed: int = 0) -> tuple[float, float, float, float]:
    """The difference of two means over the same queries, its 95 % interval
    and the two-sided p value, from queries drawn with replacement.

    Args:
        first: One value per query, the mean over seeds.
        second: The same of the other method.
        seed: Of the draws.
    """
    if first.shape != second.shape:
        raise ValueError(f'expected the same queries, got {first.shape} and '
                         f'{second.shape}')
    difference = (first - second).astype(np.float64)
    generator = np.random.default_rng(seed)
    means = np.empty(DRAWS)
    for i in range(DRAWS):  # One row at a time: memory stays small.
        means[i] = difference[generator.integers(
            0, len(difference), len(difference))].mean()
    low, high = np.quantile(means, [0.025, 0.975])
    # The share of draws beyond zero; one draw more, so that none is zero.
    beyond = min((means <= 0).sum(), (means >= 0).sum())
    return (float(difference.mean()), float(low), float(high),
            min(1.0, float(2 * (beyond + 1) / (DRAWS + 1))))


def interval(values: Sequence[float]) -> float:
    """Half the width of the 95 % interval of a mean, by Student's t."""
    if len(values) < 2:
        return float('nan')
    # Quantiles 0.975 for 1 to 9 degrees of freedom, then nearly 2.
    table = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
    t = table[min(len(values) - 2, len(table) - 1)]
    return t * statistics.stdev(values) / len(values) ** 0.5
