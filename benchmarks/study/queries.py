"""The reciprocal rank of every test query, for paired tests."""

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
    """Checks before any training that ``--add`` finds the queries of the
    results.
    """
    file = _file(study, args)
    results = path_of(study, args).with_suffix('.jsonl')
    if args.add and results.is_file() and not file.is_file():
        raise SystemExit(
            f"Expected '{file}' with the ranks of the rows in '{results}' for "
            '--add (got no such file). Leave --add out and train all rows, or '
            'pass another --results.')


def write_queries(study: str, results: list[dict[str, Any]],
                  cells: list[Cell], args: argparse.Namespace) -> None:
    """Writes one number per query for each row: the mean over seeds."""
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
            raise SystemExit('Expected the queries of the first training in '
                             f"'{folder}' (got other queries)")
        values.setdefault(result['row'], []).append(1 / found['rank'].float())
    rows = {row: torch.stack(x).mean(dim=0) for row, x in values.items()}
    file = _file(study, args)
    if args.add and file.is_file():
        rows = load_tensors(file)[0] | rows
        if len({x.numel() for x in rows.values()}) != 1:
            raise SystemExit(f"Expected the queries of {', '.join(values)} in "
                             f"'{file}' (got other queries). Pass another "
                             '--results.')
    save_tensors(file, rows, {})


def read_queries(study: str, args: argparse.Namespace
                 ) -> dict[str, np.ndarray]:
    """Reads the numbers of :func:`write_queries`, which are empty if the
    file is missing.
    """
    file = _file(study, args)
    if not file.is_file():
        return {}
    return {row: x.numpy() for row, x in load_tensors(file)[0].items()}


def with_differences(table: Table, found: dict[str, list[dict[str, Any]]],
                     column: int, study: str, args: argparse.Namespace,
                     reference: str) -> None:
    """Adds the differences between one row and all others to a table and its
    caption. The caption says so if there are no differences.
    """
    queries = read_queries(study, args)
    for row, runs in found.items():
        mrr = np.mean([x['test']['mrr'] for x in runs])
        # If the process is killed between writing the two files, one is
        # outdated.
        if row in queries and abs(queries[row].mean() - mrr) > 1e-5:
            raise SystemExit(
                f'Expected the ranks of the same trainings of {row} in '
                f"'{_file(study, args)}' as in the results (got other "
                'trainings). Repeat the command that trained them.')
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
    """Returns the difference in MRR between two rows, in points, with its
    interval.
    """
    if row == reference or row not in queries:
        return ''
    return str(Difference(*map(float, paired_bootstrap(
        queries[row], queries[reference]))))


#: The description of :func:`difference` for captions.
BOOTSTRAP = (
    'Difference: MRR minus the MRR of {}, with the 95 % interval of a paired '
    'bootstrap over the test queries (10,000 draws, reciprocal ranks averaged '
    'over seeds). It covers the variation over queries, not over seeds.')
