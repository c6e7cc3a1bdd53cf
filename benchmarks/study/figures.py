"""The style of all figures, legible in grey and safe for colour-blind
readers.
"""

from __future__ import annotations

import argparse
from typing import Any

from pyg_mmkgc.io import atomic_path

# Okabe and Ito's colours. Markers and dashes distinguish lines without them.
COLORS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9',
          '#000000', '#7F7F7F', '#F0E442')
MARKERS = ('o', 's', '^', 'D', 'v', 'P', 'X', '<', '>')
DASHES = ('-', '--', '-.', ':')


def axes(width: float = 6.4, height: float = 4.0, **options: Any) -> Any:
    """Creates a figure and its axes."""
    import matplotlib
    matplotlib.use('Agg')
    from matplotlib import pyplot

    figure, ax = pyplot.subplots(figsize=(width, height), **options)
    for one in (ax.flat if hasattr(ax, 'flat') else [ax]):
        one.grid(True, color='0.9')
        one.set_axisbelow(True)
        for side in ('top', 'right'):
            one.spines[side].set_visible(False)
    return figure, ax


def style(i: int, dashed: bool | None = None) -> dict[str, Any]:
    """Returns the colour, marker and dash of the i-th line. Markers are
    hollow on dashed lines, which share their colour with a solid line.
    """
    dash = DASHES[i % len(DASHES)] if dashed is None else DASHES[int(dashed)]
    out = {'color': COLORS[i % len(COLORS)], 'linestyle': dash,
           'marker': MARKERS[i % len(MARKERS)], 'markersize': 5}
    return out | ({'markerfacecolor': 'white'} if dashed else {})


def log_scale(ax: Any) -> None:
    """Makes the x axis logarithmic, with ticks at 1, 2 and 5 in plain
    numbers.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    ax.set_xscale('log')
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter('{x:g}')
    ax.xaxis.set_minor_formatter(NullFormatter())


def save(figure: Any, study: str, args: argparse.Namespace,
         part: str = '') -> str:
    """Writes a PNG file next to the results and returns its name."""
    name = f'{study}_{args.dataset}{part}.png'
    # The temporary path has no ending, so the format is passed.
    with atomic_path(args.results / name) as path:
        figure.savefig(path, format='png', dpi=150, bbox_inches='tight',
                       metadata={'Software': None})
    from matplotlib import pyplot
    pyplot.close(figure)
    return name
