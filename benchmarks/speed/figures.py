"""Figures of the results, in the colours of Okabe and Ito, which are safe for
colour-blind readers. Markers and labels differ as well.
"""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

BLUE, ORANGE, GREEN, PURPLE, GREY = ('#0072B2', '#E69F00', '#009E73',
                                     '#CC79A7', '#999999')
COLOURS = (BLUE, ORANGE, GREEN, PURPLE)
MARKERS = 'os^D'
LABELS = {'K': 'negatives of each positive K', 'D': 'complex channels D',
          'B': 'positives in a step B', 'E': 'training triples E',
          'N': 'nodes N'}

Groups = dict[str, dict[str, Any]]


def draw(part: str, groups: Groups, folder: Path) -> list[str]:
    """Draws the figures of a part and returns the names of the files."""
    if part == 'growth':
        return [_growth(groups, folder)]
    if part == 'roofline':
        return [_roofline(name, group, folder)
                for name, group in groups.items()]
    if part != 'memory':
        return [path for name, group in groups.items()
                for path in (_curves if name == 'loss_curves' else _times)(
                    part, name, group, folder)]
    return _memory(groups, folder)


def _save(figure: Any, folder: Path, name: str) -> str:
    figure.savefig(folder / f'{name}.png', dpi=120, bbox_inches='tight')
    plt.close(figure)
    return f'{name}.png'


def _times(part: str, name: str, group: dict[str, Any],
           folder: Path) -> list[str]:
    """Draws times with their range and a mark at the required bar."""
    rows = [x for x in group['rows'] if x['unit'] in ('s', 'ms')]
    if len(rows) < 2:  # A table is enough.
        return []
    figure, axes = plt.subplots(figsize=(8, 0.8 + 0.3 * len(rows)))
    place = np.arange(len(rows))[::-1]
    scale = [1.0 if x['unit'] == 's' else 1e-3 for x in rows]
    median, low, high = (np.array([x[key] * s for x, s in
                                   zip(rows, scale, strict=True)])
                         for key in ('median', 'min', 'max'))
    # On a logarithmic axis, the length of a bar has no meaning.
    axes.errorbar(median, place, xerr=[median - low, high - median], fmt='o',
                  color=BLUE, ecolor=BLUE, capsize=2, linewidth=1)
    for y, x, s, value, top in zip(place, rows, scale, median, high,
                                   strict=True):
        bar = x['bar'][1] * s if 'bar' in x else value
        if 'bar' in x:
            axes.plot([bar] * 2, [y - 0.4, y + 0.4], color=ORANGE,
                      linewidth=2.5)
        # Text would overlap a mark close to the end of the bar.
        end = bar if top < bar < 1.5 * top else top
        axes.text(end * 1.06, y, _seconds(value), va='center', fontsize=8)
    axes.set_yticks(place, [x['name'] for x in rows], fontsize=8)
    axes.set_xscale('log')
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter('{x:g}')
    axes.xaxis.set_minor_formatter(NullFormatter())
    limits = [x['bar'][1] * s for x, s in zip(rows, scale, strict=True)
              if 'bar' in x]
    axes.set_xlim(min([*low, *limits]) / 1.5, max([*high, *limits]) * 4)
    marks = '; orange: the bar to meet' if any('bar' in x for x in rows) else (
        '')
    axes.set_xlabel(f'seconds (median, whiskers: range{marks})')
    _clean(axes)
    return [_save(figure, folder, f'{part}_{name.lower()}')]


def _curves(part: str, name: str, group: dict[str, Any],
            folder: Path) -> list[str]:
    """Draws the loss over epochs."""
    figure, axes = plt.subplots(figsize=(6, 3.4))
    rows = [x for x in group['rows'] if 'curve' in x.get('detail', {})]
    for i, x in enumerate(rows):
        curve = x['detail']['curve']
        axes.plot(range(1, 1 + len(curve)), curve, '-' + MARKERS[i],
                  color=COLOURS[i], markersize=8 - 4 * i, linewidth=1,
                  label=x['name'].partition(':')[0])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel('epoch')
    axes.set_ylabel('training loss')
    axes.legend(frameon=False)
    _clean(axes)
    return [_save(figure, folder, f'{part}_{name}')]


def _seconds(value: float) -> str:
    if value >= 1:
        return f'{value:.0f} s' if value >= 1000 else f'{value:.3g} s'
    return f'{1e3 * value:.3g} ms' if value >= 1e-3 else (
        f'{1e6 * value:.3g} µs')


def _clean(axes: Any) -> None:
    axes.grid(color='0.9', linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ('top', 'right'):
        axes.spines[side].set_visible(False)


def _growth(groups: Groups, folder: Path) -> str:
    """Draws a panel for each growing size, with the fitted lines."""
    figure, panels = plt.subplots(1, len(groups), squeeze=False,
                                  figsize=(3.3 * len(groups), 3.1))
    for axes, group in zip(panels[0], groups.values(), strict=True):
        points: dict[str, list[tuple[float, float]]] = {}
        for row in group['rows']:
            detail = row.get('detail', {})
            if 'axis' in detail:
                axis = detail['axis']
                points.setdefault(detail['series'], []).append(
                    (detail['x'], row['median']))
        ticks = []
        for i, (series, found) in enumerate(points.items()):
            x, y = (np.array(v) for v in zip(*found, strict=True))
            slope, start = np.polyfit(np.log(x), np.log(y), 1)
            ticks = list(x)
            axes.plot(x, np.exp(start) * x**slope, color=COLOURS[i],
                      linewidth=1)
            axes.plot(x, y, MARKERS[i], color=COLOURS[i], markersize=5,
                      label=f'{series}: exponent {slope:.2f}')
        axes.set_xscale('log')
        axes.set_yscale('log')
        axes.set_xticks(ticks, [_count(v) for v in ticks])
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(LABELS[axis])
        # Leave room for the legend, with the same span in every panel.
        low, high = axes.get_ylim()
        middle = np.sqrt(low * high)
        span = max(high / low, 30.0)
        axes.set_ylim(middle / span**0.5, middle * span**0.5 * 1.5)
        axes.legend(fontsize=8, frameon=False, loc='upper left')
        _clean(axes)
    panels[0][0].set_ylabel('seconds of a training step')
    figure.tight_layout()
    return _save(figure, folder, 'growth')


def _count(value: float) -> str:
    if value >= 1e6:
        return f'{value / 1e6:g}M'
    return f'{value / 1e3:g}k' if value >= 1e4 else f'{value:,g}'


def _roofline(name: str, group: dict[str, Any], folder: Path) -> str:
    """Draws the time of each part next to its time at the ceiling."""
    rows = [x for x in group['rows'] if 'ceiling_ms' in x.get('detail', {})]
    figure, axes = plt.subplots(figsize=(8, 0.9 + 0.36 * len(rows)))
    place = np.arange(len(rows))[::-1]
    time = [x['median'] for x in rows]
    ceiling = [x['detail']['ceiling_ms'] for x in rows]
    axes.hlines(place, ceiling, time, color=GREY, linewidth=1)
    axes.plot(time, place, 'o', color=BLUE, label='measured')
    axes.plot(ceiling, place, 'D', color=ORANGE,
              label='at the ceiling of the machine')
    for y, value, x in zip(place, time, rows, strict=True):
        factor = x['detail']['times_the_ceiling']
        axes.text(max(value, x['detail']['ceiling_ms']) * 1.25, y,
                  f'{factor:.3g}×', va='center', fontsize=8)
    axes.set_yticks(place, [x['name'] for x in rows], fontsize=8)
    axes.set_xscale('log')
    axes.set_xlim(min(ceiling + time) / 2, max(ceiling + time) * 4)
    axes.set_xlabel('milliseconds in a training step')
    axes.legend(fontsize=8, frameon=False, ncols=2, loc='lower left',
                bbox_to_anchor=(0, 1))
    _clean(axes)
    return _save(figure, folder, f'roofline_{name}')


def _memory(groups: Groups, folder: Path) -> list[str]:
    rows = [x for group in groups.values() for x in group['rows']
            if x['unit'] == 'GB' and x['name'].endswith(': peak')]
    others = {x['name']: x for group in groups.values()
              for x in group['rows'] if x['unit'] == 'GB'}
    if not rows:
        return []
    figure, axes = plt.subplots(figsize=(8, 0.9 + 0.34 * len(rows)))
    place = np.arange(len(rows))[::-1]
    peak = np.array([x['median'] for x in rows])
    work = np.array([others[x['name'].replace(
        ': peak', ': beside what was there')]['median'] for x in rows])
    axes.barh(place, peak - work, color=GREY, height=0.62,
              label='libraries, model, data')
    axes.barh(place, work, left=peak - work, color=BLUE, height=0.62,
              label='beside them, at the peak')
    for y, value, x in zip(place, peak, rows, strict=True):
        axes.text(value + 0.01 * max(peak), y, f'{value:.2f} GB',
                  va='center', fontsize=8)
        if 'bar' in x:
            axes.plot([x['bar'][1]] * 2, [y - 0.4, y + 0.4], color=ORANGE,
                      linewidth=2.5)
    axes.set_yticks(place, [x['name'].removesuffix(': peak') for x in rows],
                    fontsize=8)
    axes.set_xlim(0, 1.15 * max([*peak, *(x['bar'][1] for x in rows
                                          if 'bar' in x)]))
    axes.set_xlabel('peak memory in GB (orange: the bar to meet)')
    axes.legend(fontsize=8, frameon=False, ncols=2, loc='lower left',
                bbox_to_anchor=(0, 1))
    _clean(axes)
    return [_save(figure, folder, 'memory')]
