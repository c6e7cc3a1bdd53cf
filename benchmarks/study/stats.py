"""The interval of a mean over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

#: The description of a figure's error bars for captions. Bars show
#: :func:`interval`, tables show ``spread``.
BARS = ("Bars in the figure: Student's 95 % intervals of the mean over seeds, "
        'where there are several; ± in the table: the sample standard '
        'deviation. ')


def interval(values: Sequence[float]) -> float:
    """Returns half the width of Student's 95 % interval of a mean."""
    if len(values) < 2:
        return float('nan')
    # The 0.975 quantiles for 1 to 9 degrees of freedom, then approximately 2.
    table = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
    t = table[min(len(values) - 2, len(table) - 1)]
    return t * statistics.stdev(values) / len(values) ** 0.5
