"""Runs cells of a study once, in parallel, and resumes interrupted cells."""

from __future__ import annotations

import argparse
import fnmatch
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from study.cells import Cell, read_run
from study.worker import run_cell

DATASETS = ('countries', 'mkg_w', 'mkg_y', 'db15k')
HERE = Path(__file__).resolve().parents[1]


def parse(description: str | None, unused: Sequence[str] = (),
          **numbers: Sequence[float]) -> argparse.Namespace:
    """Parses the options shared by all studies, except for unused options, and
    the lists of numbers that a study adds.
    """
    parser = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add('--dataset', choices=DATASETS, help='default: countries')
    add('--data-root', help='folder of the dataset files')
    add('--budget', default='full', choices=('full', 'quick', 'smoke'),
        help='full: the recipes with a search and several seeds; quick: all '
        'in minutes on countries; smoke: two epochs each')
    add('--seeds', nargs='+', type=int, help='default: by budget')
    add('--trials', type=int, help='number of settings to try per method; '
        'default: by budget')
    add('--rows', nargs='+', metavar='PATTERN',
        help="rows of the table, such as 'AdaMF*'")
    add('--cells', metavar='PATTERN', default='*',
        help="trainings to run, such as '*-seed0-*'; the table shows all "
        'finished trainings')
    add('--set', nargs='+', action='extend', default=[],
        metavar='[ROWS:]KEY=VALUE',
        help='overrides for every configuration, or for matching rows only')
    add('--workers', type=int, default=1, help='number of parallel trainings')
    add('--threads', type=int, help='threads per training; default: the cores '
        'divided by the workers')
    add('--device', help='cpu, cuda, ...')
    add('--runs', type=Path, default=Path('runs', 'study'),
        help='folder of the trainings, which studies share')
    add('--results', type=Path, default=HERE / 'results')
    add('--add', action='store_true',
        help='keep the rows of the result files that this command does not '
        'produce')
    add('--report', action='store_true',
        help='create tables and figures from the result files without '
        'training')
    for name, default in numbers.items():
        add(f'--{name}', nargs='+', type=type(default[0]), default=default)
    args = parser.parse_args()
    for name in unused:
        if getattr(args, name) is not None:
            parser.error(f'--{name}: {parser.prog} does not use this option; '
                         'leave it out')
    args.dataset = args.dataset or 'countries'
    args.rows = args.rows or ['*']
    if args.threads is None:
        args.threads = max(1, (os.cpu_count() or 1) // args.workers)
    return args


def main(description: str | None,
         train: Callable[[argparse.Namespace], None],
         report: Callable[[argparse.Namespace], None],
         unused: Sequence[str] = (), **numbers: Sequence[float]) -> None:
    """Trains unless ``--report`` is given, and writes the report."""
    from pyg_mmkgc.errors import MMKGCError

    args = parse(description, unused, **numbers)
    try:
        if not args.report:
            train(args)
        report(args)
    except MMKGCError as error:
        raise SystemExit(f'error: {error}') from None


def wanted(rows: list[str], args: argparse.Namespace) -> list[str]:
    """Returns the rows that ``--rows`` selects."""
    out = [row for row in rows
           if any(fnmatch.fnmatch(row, x) for x in args.rows)]
    if not out:
        raise SystemExit(f'Expected --rows to match some of {", ".join(rows)} '
                         f'(got {" ".join(args.rows)})')
    return out


def modalities(name: str, args: argparse.Namespace) -> list[str]:
    """Returns the modalities of a configuration whose features are
    available.
    """
    from pyg_mmkgc.config import build_graph, load_config

    config = load_config(f'{name}/{args.dataset}')
    return build_graph(config, root_of(args.dataset, args)).modalities


def root_of(dataset: str, args: argparse.Namespace) -> str | None:
    """Returns the folder of a dataset's files. One dataset ships with the
    package.
    """
    return None if dataset == 'countries' else args.data_root


def folder_of(cell: Cell, args: argparse.Namespace) -> Path:
    """Returns the folder in which a cell is trained."""
    return args.runs / cell.name


def run_cells(cells: list[Cell],
              args: argparse.Namespace) -> list[dict[str, Any]]:
    """Trains the unfinished cells and returns the results of all finished
    cells.

    A failing cell does not stop the others. At the end, failures are listed
    and the process exits with status 1.
    """
    from study.features import check_features

    root = root_of(args.dataset, args)
    todo: dict[str, Cell] = {}
    for cell in cells:
        folder = folder_of(cell, args)
        if (folder / 'cell.json').is_file():
            check_features(cell.resolved, folder, root)
        elif fnmatch.fnmatch(cell.name, args.cells):
            todo.setdefault(cell.name, cell)
    failed = _run(list(todo.values()), args) if todo else []
    if failed:
        names = '\n'.join(f'  {args.runs / name}.log' for name in failed)
        raise SystemExit(f'Expected {len(todo)} trainings to finish (got '
                         f'{len(failed)} failures). See the messages in\n'
                         f'{names}')
    return [read_run(cell, folder_of(cell, args), root)
            for cell in cells
            if (folder_of(cell, args) / 'cell.json').is_file()]


def _run(todo: list[Cell], args: argparse.Namespace) -> list[str]:
    for name in ('OMP_NUM_THREADS', 'NUMBA_NUM_THREADS'):
        os.environ[name] = str(args.threads)
    # A fork server that has imported everything saves seconds per training.
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['pyg_mmkgc.config', 'study.worker'])
    weight = {cell.name: cell.resolved.training.epochs for cell in todo}
    waiting, running = list(todo), {}
    failed: list[str] = []
    start, done = time.monotonic(), 0
    while waiting or running:
        while waiting and len(running) < args.workers:
            cell = waiting.pop(0)
            process = context.Process(target=run_cell, args=(
                cell, folder_of(cell, args), root_of(args.dataset, args),
                args.device, args.threads))
            process.start()
            running[process.sentinel] = (process, cell, time.monotonic())
        for sentinel in wait(list(running)):
            process, cell, begun = running.pop(sentinel)
            process.join()
            done += weight.pop(cell.name)
            now = time.monotonic()
            left = (now - start) / done * sum(weight.values())
            word = 'done'
            if process.exitcode != 0:
                failed.append(cell.name)
                word = f'FAILED (exit {process.exitcode})'
            print(f'[{len(todo) - len(weight)}/{len(todo)}] {cell.row}, '
                  f'{cell.name}: {word} in {_clock(now - begun)}, about '
                  f'{_clock(left)} left', file=sys.stderr, flush=True)
    return failed


def _clock(seconds: float) -> str:
    if seconds < 100:
        return f'{seconds:.0f} s'
    if seconds < 6000:
        return f'{seconds / 60:.1f} min'
    return f'{seconds / 3600:.1f} h'
