"""Figure 4 of AdaMF-MAT: the number L of groups of synthetic triples and,
beyond the paper, the weight lambda of the adversarial loss.

    python benchmarks/figure4.py --dataset mkg_y --data-root DIR
"""

from __future__ import annotations

import argparse

from study.budgets import apply_budget, settings
from study.cells import Cell
from study.figures import axes, save, style
from study.report import (
    Table,
    by_row,
    protocol,
    read_results,
    validation_mrr,
    write_results,
    write_table,
)
from study.runner import main, run_cells
from study.stats import BARS, interval

from pyg_mmkgc.evaluation.compare import spread

STUDY = 'figure4'
GROUPS = (1, 2, 3, 4, 5)
WEIGHTS = (0.0001, 0.001, 0.01, 0.1, 1.0)


def train(args: argparse.Namespace) -> None:
    """Trains over groups, weights and seeds and writes the result file."""
    apply_budget(args)
    values = [('groups', x) for x in args.groups]
    values += [('weight', x) for x in args.weights]
    cells = [Cell(f'{key} = {x}', f'adamf_mat/{args.dataset}',
                  (f'adversary.{key}={x}', *settings(args, 'AdaMF-MAT')),
                  seed) for key, x in values for seed in args.seeds]
    cells += [Cell('without MAT', f'adamf/{args.dataset}',
                   settings(args, 'AdaMF'), seed) for seed in args.seeds]
    write_results(STUDY, run_cells(cells, args), args)


def report(args: argparse.Namespace) -> None:
    """Creates the figure and the table from the result file."""
    head, results = read_results(STUDY, args)
    rows = by_row(results)
    figure, axs = axes(9.0, 3.6, ncols=2)
    labels = {'groups': 'groups of synthetic triples, L',
              'weight': 'weight of the adversarial loss, λ'}
    for ax, (key, label) in zip(axs, labels.items(), strict=True):
        points = {float(row.rpartition(' = ')[2]): found
                  for row, found in rows.items() if row.startswith(key)}
        for i, metric in enumerate(('mrr', 'hits@1')):
            values = [[100 * x['test'][metric] for x in found]
                      for found in points.values()]
            ax.errorbar(list(points), [sum(x) / len(x) for x in values],
                        yerr=[interval(x) for x in values], capsize=3,
                        label=('MRR', 'Hits@1')[i], **style(i))
            without = [100 * x['test'][metric]
                       for x in rows.get('without MAT', [])]
            if without:
                ax.axhline(sum(without) / len(without), linewidth=1,
                           color=style(i)['color'], linestyle=':',
                           label=('MRR', 'Hits@1')[i] + ' without MAT')
        ax.set_xlabel(label)
        ax.set_ylabel('test (%)')
    axs[0].xaxis.get_major_locator().set_params(integer=True)
    axs[1].set_xscale('log')
    axs[1].legend(frameon=False, loc='center left', bbox_to_anchor=(1, 0.5))
    figure.suptitle(f'AdaMF-MAT on {args.dataset}')
    figure.tight_layout()
    name = save(figure, STUDY, args)
    table = Table(
        'AdaMF-MAT with L groups (at the weight of its configuration) and '
        'with other weights λ (at one group). ' + BARS
        + protocol(head, results),
        ['', 'seeds', 'MRR', 'Hits@1', 'Hits@10', 'validation MRR'],
        [[row, str(len(found)), *(
            spread([100 * x['test'][m] for x in found])
            for m in ('mrr', 'hits@1', 'hits@10')),
          validation_mrr(found)]
         for row, found in rows.items()])
    write_table(STUDY, f'Groups and weight of MAT on {args.dataset}', table,
                args, figures=[name])


if __name__ == '__main__':
    main(__doc__, train, report, unused=('rows', 'trials'), groups=GROUPS,
         weights=WEIGHTS)
