"""Figure 3 of AdaMF-MAT: modalities missing at random.

    python benchmarks/figure3.py --dataset mkg_y --data-root DIR

A share of the entities loses its modalities, with the same entities for all
modalities. If only some entities have a modality, the share refers to these.
Missing features are initialized at random, as in the paper. Compares AdaMF,
TBKGC and IKRL, each with and without MAT. Beyond the paper, it compares all
policies of the package for missing rows, applied to AdaMF.
"""

from __future__ import annotations

import argparse
from typing import Any

from study.budgets import apply_budget, settings
from study.cells import Cell
from study.figures import axes, save, style
from study.report import (
    Table,
    by_row,
    protocol,
    read_results,
    write_results,
    write_table,
)
from study.runner import main, modalities, run_cells, wanted
from study.stats import BARS, interval

from pyg_mmkgc.evaluation.compare import spread

STUDY = 'figure3'
RATIOS = (0.1, 0.3, 0.5, 0.7, 0.9)
SHIFT = 1.5  # The distance in percent between lines at the same ratio.
MAT = ('adversary.name=MAT', 'adversary.weight=0.01', 'adversary.lr=1e-4')
LINES: dict[str, tuple[str, tuple[str, ...]]] = {
    'AdaMF': ('adamf', ()), 'AdaMF + MAT': ('adamf_mat', ()),
    'TBKGC': ('tbkgc', ()), 'TBKGC + MAT': ('tbkgc', MAT),
    'IKRL': ('ikrl', ()), 'IKRL + MAT': ('ikrl', MAT),
}
POLICIES = ('zeros', 'mean', 'learned', 'drop')


def lines() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Returns the configuration and the overrides of all lines."""
    return LINES | {f'AdaMF, {policy}': ('adamf', (
        f'model.missing={policy}',)) for policy in POLICIES}


def train(args: argparse.Namespace) -> None:
    """Trains all lines at all ratios and writes the result file."""
    apply_budget(args)
    cells = []
    for row in wanted(list(lines()), args):
        config, overrides = lines()[row]
        names = modalities(config, args)
        if not names:
            raise SystemExit(f'Expected the features of {args.dataset}, some '
                             'of which are then removed (got none)')
        for ratio in args.ratios:
            dropped = ', '.join(f'{name}: {ratio}' for name in names)
            cells += [Cell(f'{row} @ {ratio}', f'{config}/{args.dataset}', (
                *overrides, f'dataset.drop_features={{{dropped}}}',
                *settings(args, row)), seed) for seed in args.seeds]
    write_results(STUDY, run_cells(cells, args), args)


def report(args: argparse.Namespace) -> None:
    """Creates the figure and the table from the result file."""
    head, results = read_results(STUDY, args)
    points: dict[str, dict[float, list[float]]] = {}
    for row, found in by_row(results).items():
        line, _, ratio = row.rpartition(' @ ')
        points.setdefault(line, {})[float(ratio)] = [
            100 * x['test']['mrr'] for x in found]
    figures = [plot(points, list(LINES), args, '', 'missing at random')]
    policies = [f'AdaMF, {x}' for x in POLICIES]
    if any(name in points for name in policies):
        figures.append(plot(points, ['AdaMF', *policies], args, '_policies',
                            'what stands for a missing row'))
    ratios = sorted({ratio for x in points.values() for ratio in x})
    rows = [[line, *(spread(x[r]) if r in x else '' for r in ratios)]
            for line, x in points.items()]
    table = Table(
        'Test MRR by the share of the entities that have lost their '
        'modalities. The seed determines these entities. Missing rows are '
        'drawn at random, as in the paper, except for lines that name another '
        'policy. The dashed line next to a line with MAT is without MAT. '
        'Lines are shifted sideways a little to keep all of them visible. '
        + BARS
        + epochs_set(results)
        + protocol(head, results),
        ['', *(f'{ratio:.0%}' for ratio in ratios)], rows)
    write_table(STUDY, f'Missing modalities on {args.dataset}', table, args,
                figures=[x for x in figures if x])


def epochs_set(results: list[dict[str, Any]]) -> str:
    """Returns the number of epochs if it differs from the configurations."""
    epochs = sorted({int(o.partition('=')[2]) for x in results
                     for o in x['overrides']
                     if o.startswith('training.epochs=')})
    return f"Epochs: {', '.join(map(str, epochs))}. " if epochs else ''


def plot(points: dict[str, Any], names: list[str], args: argparse.Namespace,
         part: str, title: str) -> str:
    """Plots curves, with 95 % intervals if there are several seeds."""
    names = [name for name in names if name in points]
    if not names:
        return ''
    figure, ax = axes()
    for i, name in enumerate(names):
        ratios = sorted(points[name])
        values = [points[name][ratio] for ratio in ratios]
        look = style(i) if part else style(i // 2, ' + MAT' not in name)
        shift = SHIFT * (i - (len(names) - 1) / 2)
        ax.errorbar([100 * r + shift for r in ratios],
                    [sum(x) / len(x) for x in values],
                    yerr=[interval(x) for x in values], capsize=3,
                    label=('AdaMF, random' if part and name == 'AdaMF'
                           else name), **look)
    ax.set_xticks(sorted({100 * r for name in names for r in points[name]}))
    ax.set_xlabel('entities without modalities (%)')
    ax.set_ylabel('test MRR (%)')
    ax.set_title(f'{args.dataset}: {title}')
    ax.legend(frameon=False, ncols=1, loc='center left',
              bbox_to_anchor=(1, 0.5))
    return save(figure, STUDY, args, part)


if __name__ == '__main__':
    main(__doc__, train, report, unused=('trials',), ratios=RATIOS)
