"""The interval of a mean over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

#: What a caption says of the bars of a figure, which has :func:`interval`
#: where its table has ``spread``.
BARS = ("Bars in the figure: Student's 95 % intervals of the mean over seeds, "
        'where there are several; ± in the table: the sample standard '
        'deviation. ')


def interval(values: Sequence[float]) -> float:
    """Half the width of the 95 % interval of a mean, by Student's t."""
    if len(values) < 2:
        return float('nan')
    # Quantiles 0.975 for 1 to 9 degrees of freedom, then nearly 2.
    table = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
    t = table[min(len(values) - 2, len(table) - 1)]
    return t * statistics.stdev(values) / len(values) ** 0.5
