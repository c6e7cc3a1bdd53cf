"""GC-OTE in two stages, like its released code: OTE first, then GC-OTE from
the weights of OTE.

    python benchmarks/gc_ote.py --dataset mkg_w --data-root DIR

Table 2 trains GC-OTE from scratch, like every other method.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import torch
from published import TABLE_2
from study.budgets import apply_budget, settings
from study.cells import Cell, read_run
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
from study.runner import folder_of, main, root_of, run_cells
from study.worker import machine, open_run

from pyg_mmkgc.evaluation.compare import spread
from pyg_mmkgc.io import load_tensors, write_json

STUDY = 'gc_ote'
FIRST, SECOND = 'OTE', 'GC-OTE, from OTE'


def train(args: argparse.Namespace) -> None:
    """Trains both stages over seeds and writes the result file."""
    apply_budget(args)
    begun = [Cell(FIRST, f'ote/{args.dataset}', settings(args, FIRST), seed)
             for seed in args.seeds]
    results = run_cells(begun, args)
    for start in begun:
        cell = Cell(SECOND, f'gc_ote/{args.dataset}', settings(args, SECOND),
                    start.seed)
        results.append(go_on(cell, start, args))
    write_results(STUDY, results, args)


def go_on(cell: Cell, start: Cell, args: argparse.Namespace) -> dict[str, Any]:
    """Trains a cell from the weights of another cell, or reads its result."""
    root = root_of(args.dataset, args)
    folder = args.runs / f'{cell.name}-from-{start.digest}'
    if not (folder / 'cell.json').is_file():
        torch.set_num_threads(args.threads)
        run = open_run(cell, folder, root, args.device)
        if not run.finished:
            load(run.trainer.model, folder_of(start, args))
            run.train(progress=False)
        write_json(folder / 'cell.json', {
            'threads': args.threads, 'cores': os.cpu_count(),
            'machine': machine()})
    return read_run(cell, folder, root)


def load(model: torch.nn.Module, folder: Path) -> None:
    """Loads the weights of OTE into GC-OTE, which keeps its additional
    weights.
    """
    state, _ = load_tensors(folder / 'model' / 'model.safetensors')
    found = model.load_state_dict(state, strict=False)
    if found.unexpected_keys or (set(found.missing_keys)
                                 - {'dummy', 'edge_index', 'edge_type'}):
        raise SystemExit(f"Expected an OTE with the same settings in "
                         f"'{folder}' (got {found})")


def report(args: argparse.Namespace) -> None:
    """Creates the table from the result file."""
    head, results = read_results(STUDY, args)
    published = TABLE_2.get(args.dataset, {})
    rows = [[row, *metric_cells(x, published.get(row.split(',')[0])),
             validation_mrr(x), spread([one['minutes'] for one in x], 1)]
            for row, x in by_row(results).items()]
    table = Table(
        protocol(head, results) + ' In italics: the published row of GC-OTE, '
        'one run. Minutes: of the training of each stage alone.',
        ['model', 'seeds', 'MRR', 'Hits@1', 'Hits@3', 'Hits@10',
         'validation MRR', 'minutes'], rows)
    write_table(STUDY, f'GC-OTE in two stages on {args.dataset}', table, args)


if __name__ == '__main__':
    main(__doc__, train, report, unused=('trials', 'rows'))
