"""Table 2 of AdaMF-MAT: link prediction by every method of the paper, those
of its successors that the package has, and PyG's own models.

    python benchmarks/table2.py --dataset mkg_y --data-root DIR

The settings of each method are searched with one budget on validation; what
was tried is in the result file. A paired bootstrap over the test queries says
which differences from AdaMF-MAT are more than luck.
"""

from __future__ import annotations

import argparse
from typing import Any

from published import TABLE_2
from study.budgets import apply_budget
from study.cells import Cell
from study.methods import METHODS
from study.queries import (
    BOOTSTRAP,
    difference,
    read_queries,
    write_queries,
)
from study.report import (
    Table,
    by_row,
    metric_cells,
    protocol,
    read_results,
    validation_mrr,
    write_results,
    write_table,
)
from study.runner import main, run_cells, wanted
from study.search import tune
from study.stats import spread

STUDY = 'table2'
REFERENCE = 'AdaMF-MAT'


def train(args: argparse.Namespace) -> None:
    """Searches, trains over seeds, writes the result files."""
    apply_budget(args)
    methods = [METHODS[row] for row in wanted(list(METHODS), args)]
    chosen, tried = tune(methods, args.dataset, args)
    cells = [Cell(m.row, f'{m.config}/{args.dataset}', chosen[m.row], seed)
             for m in methods for seed in args.seeds]
    results = run_cells(cells, args)
    write_results(STUDY, results, args, tried=tried)
    write_queries(STUDY, results, cells, args)


def report(args: argparse.Namespace) -> None:
    """Makes the tables from the result files."""
    head, results = read_results(STUDY, args)
    queries = read_queries(STUDY, args)
    published = TABLE_2.get(args.dataset, {})
    rows = []
    for row, found in by_row(results).items():
        rows.append([row, *metric_cells(found, published.get(row)),
                     difference(queries, row, REFERENCE),
                     validation_mrr(found),
                     spread([x['minutes'] for x in found], 1),
                     f'{max(x["gigabytes"] for x in found):.1f}'])
    note = ' In italics: the published row, one run. ' if published else ' '
    table = Table(
        protocol(head, results) + note + BOOTSTRAP.format(REFERENCE)
        + ' Minutes: of training, without evaluation. GB: largest resident '
        'memory of the process, about 0.5 of them libraries.',
        ['model', 'seeds', 'MRR', 'Hits@1', 'Hits@3', 'Hits@10',
         f'difference from {REFERENCE}', 'validation MRR', 'minutes', 'GB'],
        rows)
    write_table(STUDY, f'Link prediction on {args.dataset}', table, args,
                tried_notes(head['tried']))


def tried_notes(tried: list[dict[str, Any]]) -> list[str]:
    """What the search tried, as a list."""
    if not tried:
        return ['No settings were searched: they are those of the shipped '
                'configurations.']
    shared: dict[str, set[str]] = {}
    for x in tried:
        options = set(x['overrides'])
        shared[x['row']] = shared.get(x['row'], options) & options
    lines = ['## What was tried', '', 'Validation MRR with one seed, for a '
             'part of the epochs.', '']
    for x in tried:
        own = [o for o in x['overrides'] if o not in shared[x['row']]]
        score = ('diverged' if x['val_mrr'] is None
                 else f"{100 * x['val_mrr']:.2f}")
        words = f"`{' '.join(own)}`" if own else 'as shipped'
        lines.append(f"- {x['row']}, {words}: {score}")
    for row, options in shared.items():
        order = next(x['overrides'] for x in tried if x['row'] == row)
        last = dict(o.split('=', 1) for o in order if o in options)
        words = ' '.join(f'{key}={value}' for key, value in last.items())
        lines.append(f'- {row}, in all of them: `{words}`')
    return lines


if __name__ == '__main__':
    main(__doc__, train, report)
