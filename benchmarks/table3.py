"""Table 3 of AdaMF-MAT: an ablation of the parts of the method.

    python benchmarks/table3.py --dataset mkg_y --data-root DIR

Compares the full AdaMF-MAT with variants without adversarial training, with
equal instead of adaptive weights, without each of the modalities, and without
each kind of synthetic triples.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from published import TABLE_3
from study.budgets import apply_budget, settings
from study.cells import Cell
from study.queries import check_add, with_differences, write_queries
from study.report import (
    Table,
    by_row,
    metric_cells,
    protocol,
    read_results,
    write_results,
    write_table,
)
from study.runner import main, modalities, run_cells, wanted

STUDY = 'table3'
REFERENCE = 'AdaMF-MAT'
KINDS = {'head': '(h*, r, t)', 'tail': '(h, r, t*)', 'both': '(h*, r, t*)'}


def variants(names: list[str]) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Returns the configuration and overrides of each row, for a graph with
    the given modalities.
    """
    out: dict[str, tuple[str, tuple[str, ...]]] = {
        REFERENCE: ('adamf_mat', ()),
        'AdaMF': ('adamf', ()),
        'AdaMF, mean': ('adamf', ('model.fusion=mean',)),
    }
    for name in names:
        rest = ', '.join(x for x in names if x != name)
        out[f'AdaMF without {name}'] = (
            'adamf', (f'dataset.modalities=[{rest}]',))
    out['AdaMF without structure'] = ('adamf', ('model.structure=false',))
    for kind, triple in KINDS.items():
        rest = ', '.join(x for x in KINDS if x != kind)
        out[f'MAT without {triple}'] = (
            'adamf_mat', (f'adversary.kinds=[{rest}]',))
    return out


def train(args: argparse.Namespace) -> None:
    """Trains all variants over seeds and writes the result files."""
    apply_budget(args)
    check_add(STUDY, args)
    rows = variants(modalities('adamf', args))
    cells = [Cell(row, f'{rows[row][0]}/{args.dataset}',
                  (*rows[row][1], *settings(args, row)), seed)
             for row in wanted(list(rows), args) for seed in args.seeds]
    results = run_cells(cells, args)
    write_queries(STUDY, results, cells, args)
    write_results(STUDY, results, args)


def report(args: argparse.Namespace) -> None:
    """Creates the table from the result files."""
    head, results = read_results(STUDY, args)
    published = TABLE_3 if args.dataset == 'db15k' else {}
    found = by_row(results)
    rows: list[Sequence[str]] = [
        [row, *metric_cells(x, published.get(row))]
        for row, x in found.items()]
    note = (' In italics: the published row, one run.' if published else
            ' The paper has this table for DB15K alone.')
    table = Table(protocol(head, results) + note,
                  ['variant', 'seeds', 'MRR', 'Hits@1', 'Hits@3', 'Hits@10'],
                  rows)
    with_differences(table, found, 6, STUDY, args, REFERENCE)
    write_table(STUDY, f'Ablation on {args.dataset}', table, args)


if __name__ == '__main__':
    main(__doc__, train, report, unused=('trials',))
