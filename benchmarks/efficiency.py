"""Quality against time and memory: AdaMF-MAT, AdaMF, structural models.

    python benchmarks/efficiency.py --dataset mkg_y --data-root DIR

Shows the validation MRR over the seconds of training, for the shipped
configurations with ten validations each.
"""

from __future__ import annotations

import argparse

from study.budgets import apply_budget, settings
from study.cells import Cell
from study.figures import axes, log_scale, save, style
from study.methods import METHODS
from study.report import (
    Table,
    by_row,
    protocol,
    read_results,
    write_results,
    write_table,
)
from study.runner import main, run_cells, wanted

from pyg_mmkgc.evaluation.compare import spread

STUDY = 'efficiency'
ROWS = ['TransE', 'DistMult', 'ComplEx', 'RotatE', 'PairRE', 'AdaMF',
        'AdaMF-MAT']
POINTS = 10


def train(args: argparse.Namespace) -> None:
    """Trains with frequent validation and writes the result file."""
    apply_budget(args)
    cells = []
    for row in wanted(ROWS, args):
        cell = Cell(row, f'{METHODS[row].config}/{args.dataset}',
                    settings(args, row), args.seeds[0])
        every = max(1, cell.resolved.training.epochs // POINTS)
        cells.append(cell.set(f'training.valid_every={every}'))
    write_results(STUDY, run_cells(cells, args), args, workers=args.workers)


def report(args: argparse.Namespace) -> None:
    """Creates the figure and the table from the result file."""
    head, results = read_results(STUDY, args)
    figure, ax = axes()
    rows = []
    for i, (row, found) in enumerate(by_row(results).items()):
        one = found[0]
        ax.plot([x[1] for x in one['curve']],
                [100 * x[2] for x in one['curve']], label=row, **style(i))
        best = max(x[2] for x in one['curve'])
        close = next(x[1] for x in one['curve'] if x[2] >= 0.95 * best)
        rows.append([row, spread([60 * one['minutes'] / one['epochs']]),
                     f"{one['minutes']:.2f}", f'{close / 60:.2f}',
                     f"{100 * one['test']['mrr']:.2f}",
                     f"{one['parameters'] / 1e6:.1f}",
                     f"{one['gigabytes']:.1f}"])
    log_scale(ax)
    ax.set_xlabel('seconds of training')
    ax.set_ylabel('validation MRR (%)')
    ax.set_title(args.dataset)
    ax.legend(frameon=False, loc='center left', bbox_to_anchor=(1, 0.5))
    name = save(figure, STUDY, args)
    table = Table(
        'Seconds without validation. To 95 %: minutes to 95 % of the best '
        'validation MRR of the run. GB: largest resident memory of the '
        'process, libraries and ranking with it. '
        f"{head['workers']} training(s) at a time: others slow one down. "
        + protocol(head, results),
        ['model', 's an epoch', 'minutes', 'to 95 %', 'test MRR',
         'million parameters', 'GB'], rows)
    write_table(STUDY, f'Quality against time on {args.dataset}', table, args,
                figures=[name])


if __name__ == '__main__':
    main(__doc__, train, report, unused=('trials',))
