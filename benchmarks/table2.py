"""Table 2 of AdaMF-MAT: link prediction by every method of the paper, those
of its successors that the package has, and PyG's own models.

    python benchmarks/table2.py --dataset mkg_y --data-root DIR

The settings of each method are searched with one budget on validation; what
was tried is in the result file. A paired bootstrap over the test queries says
which differences from AdaMF-MAT are more than luck.
"""

from __future__ import annotations

import argparse
import fnmatch
from typing import Any

import numpy as np
from published import TABLE_2
from study.budgets import apply_budget
from study.cells import Cell
from study.methods import METHODS
from study.report import (
    Table,
    by_row,
    path_of,
    protocol,
    read_results,
    write_results,
    write_table,
)
from study.runner import folder_of, parse, run_cells
from study.search import tune
from study.stats import paired_bootstrap, spread

STUDY = 'table2'
METRICS = ('mrr', 'hits@1', 'hits@3', 'hits@10')
REFERENCE = 'AdaMF-MAT'


def train(args: argparse.Namespace) -> None:
    """Searches, trains over seeds, writes the result files."""
    from pyg_mmkgc.io import save_tensors

    apply_budget(args)
    methods = [m for m in METHODS.values()
               if any(fnmatch.fnmatch(m.row, x) for x in args.rows)]
    if not methods:
        raise SystemExit(f'--rows: expected some of {", ".join(METHODS)}')
    chosen, tried = tune(methods, args.dataset, args)
    cells = [Cell(m.row, f'{m.config}/{args.dataset}', chosen[m.row], seed)
             for m in methods for seed in args.seeds]
    results = run_cells(cells, args)
    write_results(STUDY, results, args, tried=tried)
    ranks = query_values(results, cells, args)
    save_tensors(ranks_file(args), ranks)


def ranks_file(args: argparse.Namespace) -> Any:
    """Where the reciprocal ranks of the queries are kept."""
    path = path_of(STUDY, args)
    return path.with_name(path.name + '_queries.safetensors')


def query_values(results: list[dict[str, Any]], cells: list[Cell],
                 args: argparse.Namespace) -> dict[str, Any]:
    """The reciprocal rank of every test query by row, mean over seeds."""
    import torch

    from pyg_mmkgc.io import load_tensors

    folders = {cell.digest: folder_of(cell, args) for cell in cells}
    triples: Any = None
    out: dict[str, list[Any]] = {}
    for result in results:
        if 'test' not in result:
            continue
        found, _ = load_tensors(
            folders[result['digest']] / 'ranks.safetensors')
        asked = torch.stack([found[name] for name in (
            'head_index', 'rel_type', 'tail_index')])
        triples = asked if triples is None else triples
        if not torch.equal(asked, triples):
            raise SystemExit(f'{folders[result["digest"]]}: other queries '
                             'than the first training')
        out.setdefault(result['row'], []).append(1 / found['rank'].double())
    return {row: torch.stack(values).mean(dim=0).float()
            for row, values in out.items()}


def report(args: argparse.Namespace) -> None:
    """Makes the tables from the result files."""
    from pyg_mmkgc.io import load_tensors

    head, results = read_results(STUDY, args)
    queries = {row: x.numpy() for row, x
               in load_tensors(ranks_file(args))[0].items()}
    published = TABLE_2.get(args.dataset, {})
    rows = []
    for row, found in by_row(results).items():
        cells = [row, str(len(found))]
        for i, metric in enumerate(METRICS):
            text = spread([100 * x['test'][metric] for x in found])
            if row in published:
                text += f' (*{published[row][i]:.2f}*)'
            cells.append(text)
        cells += [difference(queries, row),
                  spread([100 * x['val']['mrr'] for x in found]),
                  spread([x['minutes'] for x in found], 1),
                  f'{max(x["gigabytes"] for x in found):.1f}']
        rows.append(cells)
    table = Table(
        protocol(head, results) + ' In italics: the published row, one run. '
        f'Difference: MRR less that of {REFERENCE}, with the 95 % interval '
        'of a paired bootstrap over the test queries (10,000 draws, ranks '
        'averaged over seeds); it holds for these seeds. Minutes: of '
        'training, without evaluation. GB: largest resident memory of the '
        'process, about 0.5 of them libraries.',
        ['model', 'seeds', 'MRR', 'Hits@1', 'Hits@3', 'Hits@10',
         f'difference from {REFERENCE}', 'validation MRR', 'minutes', 'GB'],
        rows)
    write_table(STUDY, f'Link prediction on {args.dataset}', table, args,
                tried_notes(head['tried']))


def difference(queries: dict[str, np.ndarray], row: str) -> str:
    """Of the MRR of a row, in points."""
    if row == REFERENCE or REFERENCE not in queries:
        return ''
    mean, low, high, p = paired_bootstrap(queries[row], queries[REFERENCE])
    return (f'{100 * mean:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}], p '
            f'{"< 0.001" if p < 0.001 else f"= {p:.3f}"}')


def tried_notes(tried: list[dict[str, Any]]) -> list[str]:
    """What the search tried, as a list."""
    if not tried:
        return ['No settings were searched: they are those of the shipped '
                'configurations.']
    lines = ['## What was tried', '', 'Validation MRR with the first seed; '
             'the first of each method is the shipped configuration.', '']
    for x in tried:
        score = ('diverged' if x['val_mrr'] is None
                 else f"{100 * x['val_mrr']:.2f}")
        lines.append(f"- {x['row']} `{' '.join(x['overrides'])}`: {score}")
    return lines


def main() -> None:
    args = parse(__doc__)
    if not args.report:
        train(args)
    report(args)


if __name__ == '__main__':
    main()
