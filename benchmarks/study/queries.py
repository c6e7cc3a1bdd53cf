"""The reciprocal rank of every test query: what a paired test needs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pyg_mmkgc.evaluation.compare import Difference, paired_bootstrap
from pyg_mmkgc.io import load_tensors, save_tensors
from study.cells import Cell
from study.report import Table, path_of
from study.runner import folder_of


def _file(study: str, args: argparse.Namespace) -> Path:
    path = path_of(study, args)
    return path.with_name(path.name + '_queries.safetensors')


def check_add(study: str, args: argparse.Namespace) -> None:
    """Refuses ``--add`` to results whose queries are not there, before
    anything is trained.
    """
    file = _file(study, args)
    results = path_of(study, args).with_suffix('.jsonl')
    if args.add and results.is_file() and not file.is_file():
        raise SystemExit(
            f'--add: {results} is there, but {file} is not, which has the '
            'ranks of its rows; leave --add out and give all rows, or give '
            'another --results')


def write_queries(study: str, results: list[dict[str, Any]],
                  cells: list[Cell], args: argparse.Namespace) -> None:
    """Keeps, for each row, one number per query: the mean over seeds."""
    folders = {cell.digest: folder_of(cell, args) for cell in cells}
    triples: torch.Tensor | None = None
    values: dict[str, list[torch.Tensor]] = {}
    for result in results:
        if 'test' not in result:
            continue
        folder = folders[result['digest']]
        found, _ = load_tensors(folder / 'ranks.safetensors')
        asked = torch.stack([found[name] for name in (
            'head_index', 'rel_type', 'tail_index')])
        triples = asked if triples is None else triples
        if not torch.equal(asked, triples):
            raise SystemExit(f'{folder}: other queries than in the first '
                             'training')
        values.setdefault(result['row'], []).append(1 / found['rank'].float())
    rows = {row: torch.stack(x).mean(dim=0) for row, x in values.items()}
    file = _file(study, args)
    if args.add and file.is_file():
        rows = load_tensors(file)[0] | rows
        if len({x.numel() for x in rows.values()}) != 1:
            raise SystemExit(f'{file}: other queries than those of '
                             f'{", ".join(values)}; give another --results')
    save_tensors(file, rows, {})


def read_queries(study: str, args: argparse.Namespace
                 ) -> dict[str, np.ndarray]:
    """What :func:`write_queries` kept; nothing where the file is missing."""
    file = _file(study, args)
    if not file.is_file():
        return {}
    return {row: x.numpy() for row, x in load_tensors(file)[0].items()}


def with_differences(table: Table, found: dict[str, list[dict[str, Any]]],
                     column: int, study: str, args: argparse.Namespace,
                     reference: str) -> None:
    """Puts the differences of the rows from one of them into a table and
    its caption, which says so where there are none.
    """
    queries = read_queries(study, args)
    for row, runs in found.items():
        mrr = np.mean([x['test']['mrr'] for x in runs])
        # The two files are written one after the other.
        if row in queries and abs(queries[row].mean() - mrr) > 1e-5:
            raise SystemExit(
                f'{_file(study, args)}: ranks of other trainings of {row} '
                'than the results; repeat the command that trained')
    if reference not in queries:
        table.caption += (f' No differences from {reference}: '
                          f'{_file(study, args).name} is missing or lacks '
                          'it.')
        return
    table.caption += ' ' + BOOTSTRAP.format(reference)
    lines = [[f'difference from {reference}'],
             *([difference(queries, row, reference)] for row in found)]
    table.columns, *table.rows = [
        [*x[:column], *line, *x[column:]]
        for x, line in zip([table.columns, *table.rows], lines, strict=True)]


def difference(queries: dict[str, np.ndarray], row: str,
               reference: str) -> str:
    """The MRR of a row less that of another, in points, with its interval."""
    if row == reference or row not in queries:
        return ''
    return str(Difference(*map(float, paired_bootstrap(
        queries[row], queries[reference]))))


#: What a caption says of :func:`difference`.
BOOTSTRAP = (
    'Difference: MRR less that of {}, with the 95 % interval of a paired '
    'bootstrap over the test queries (10,000 draws, reciprocal ranks averaged '
    'over seeds): it says what other queries, not other seeds, would do.')
