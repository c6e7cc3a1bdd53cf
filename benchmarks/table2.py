"""Table 2 of AdaMF-MAT: link prediction by all methods of the paper, by later
methods that the package implements, and by PyG's own models.

    python benchmarks/table2.py --dataset mkg_y --data-root DIR

The settings of each method are searched on validation with the same budget,
and the result file lists all trials. A paired bootstrap over the test queries
shows which differences from AdaMF-MAT are significant.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from published import TABLE_2
from study.budgets import apply_budget
from study.cells import Cell
from study.methods import METHODS
from study.queries import check_add, with_differences, write_queries
from study.report import (
    Table,
    by_row,
    metric_cells,
    protocol,
    read_results,
    trials_of,
    validation_mrr,
    write_results,
    write_table,
)
from study.runner import main, run_cells, wanted
from study.search import tune

from pyg_mmkgc.evaluation.compare import spread

STUDY = 'table2'
REFERENCE = 'AdaMF-MAT'


def train(args: argparse.Namespace) -> None:
    """Searches settings, trains over seeds and writes the result files."""
    apply_budget(args)
    check_add(STUDY, args)
    methods = [METHODS[row] for row in wanted(list(METHODS), args)]
    chosen, tried = tune(methods, args.dataset, args)
    cells = [Cell(m.row, f'{m.config}/{args.dataset}', chosen[m.row], seed)
             for m in methods for seed in args.seeds]
    results = run_cells(cells, args)
    write_queries(STUDY, results, cells, args)
    write_results(STUDY, results, args, tried=tried)


def report(args: argparse.Namespace) -> None:
    """Creates the tables from the result files."""
    head, results = read_results(STUDY, args)
    published = TABLE_2.get(args.dataset, {})
    found = by_row(results)
    rows: list[Sequence[str]] = [
        [row, *metric_cells(x, published.get(row)), validation_mrr(x),
         spread([one['minutes'] for one in x], 1),
         f"{max(one['gigabytes'] for one in x):.1f}"]
        for row, x in found.items()]
    note = ' In italics: the published row, one run.' if published else ''
    table = Table(
        protocol(head, results) + note + ' Minutes: of training, without '
        'evaluation. GB: largest resident memory of the process, about 0.5 of '
        'them libraries.',
        ['model', 'seeds', 'MRR', 'Hits@1', 'Hits@3', 'Hits@10',
         'validation MRR', 'minutes', 'GB'], rows)
    with_differences(table, found, 6, STUDY, args, REFERENCE)
    write_table(STUDY, f'Link prediction on {args.dataset}', table, args,
                tried_notes(head, found))


def tried_notes(head: dict[str, Any], found: dict[str, list[dict[str, Any]]]
                ) -> list[str]:
    """Returns a list of the trials, and of the methods without a search."""
    rest = {row: x[0]['overrides'] for row, x in found.items()
            if row not in trials_of(head)}
    lines = _tried(head['tried'])
    if not lines and not any(rest.values()):
        return ['No settings were searched: they are the settings of the '
                'shipped configurations.']
    if not lines:
        lines = ['No settings were searched: they are the settings of the '
                 'shipped configurations, except for the following.', '']
    for row, options in rest.items():
        words = f"`{' '.join(options)}`" if options else 'as shipped'
        lines.append(f'- {row}, not searched: {words}')
    return lines


def _tried(tried: list[dict[str, Any]]) -> list[str]:
    if not tried:
        return []
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
