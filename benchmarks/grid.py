"""A grid of trainings by ``mmkgc train``, and a table of their results.

Each cell is a run in a folder of its own; finished cells are skipped and
interrupted ones resumed. Tables are made from the result files alone.
"""

import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
METRICS = ('mrr', 'hits@1', 'hits@3', 'hits@10')


class Cell(NamedTuple):
    """One training."""
    row: str
    seed: int
    config: str
    overrides: tuple[str, ...]
    trial: str = ''

    @property
    def name(self) -> str:
        words = [self.row, *([self.trial] if self.trial else []),
                 f'seed{self.seed}']
        return '-'.join(words).replace(' ', '_').replace('/', '_')


def add_arguments(parser: argparse.ArgumentParser, folder: str) -> None:
    """Options of every grid."""
    parser.add_argument('--dataset', default='countries',
                        choices=('countries', 'mkg_w', 'mkg_y', 'db15k'))
    parser.add_argument('--data-root', help='folder of the dataset files')
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2])
    parser.add_argument('--set', action='append', default=[],
                        metavar='KEY=VALUE', help='for every configuration')
    parser.add_argument('--workers', type=int, default=1)
    parser.add_argument('--threads', type=int, default=os.cpu_count() or 1,
                        help='of each worker')
    parser.add_argument('--folder', type=Path, default=Path('runs', folder),
                        help='where the runs go')
    parser.add_argument('--results', type=Path, default=HERE / 'results')


def run(cell: Cell, args: argparse.Namespace) -> dict[str, Any]:
    """Trains a cell, unless its result is there."""
    folder = args.folder / args.dataset / cell.name
    command = [sys.executable, '-m', 'pyg_mmkgc.cli', 'train']
    if (folder / 'config.yaml').is_file():
        command += ['--resume', str(folder)]
    else:
        command += [cell.config, '--output', str(folder)]
        for override in cell.overrides:
            command += ['--set', override]
    if args.data_root is not None:
        command += ['--data-root', args.data_root]
    if not (folder / 'metrics.json').is_file():
        start = time.perf_counter()
        done = subprocess.run(
            command, capture_output=True, text=True,
            env={**os.environ, 'OMP_NUM_THREADS': str(args.threads),
                 'NUMBA_NUM_THREADS': str(args.threads)})
        if done.returncode != 0:
            raise SystemExit(f'{cell.name}: {done.stderr[-2000:]}')
        minutes = (time.perf_counter() - start) / 60
        print(f'{cell.name}: {minutes:.1f} minutes', flush=True)
    found = json.loads((folder / 'metrics.json').read_text())
    words = ['mmkgc', 'train', cell.config,
             *(word for x in cell.overrides for word in ('--set', x))]
    if args.data_root is not None:
        words += ['--data-root', 'DATA']
    found['test'] = {key: found['test'][key]
                     for key in ('protocol', 'metrics')}
    return {'row': cell.row, 'command': shlex.join(words), **found}


def run_all(cells: list[Cell],
            args: argparse.Namespace) -> list[dict[str, Any]]:
    """Trains the cells, some at a time."""
    with ThreadPoolExecutor(args.workers) as pool:
        return list(pool.map(lambda cell: run(cell, args), cells))


def spread(values: list[float], digits: int = 2) -> str:
    """The mean and the sample standard deviation."""
    text = f'{statistics.mean(values):.{digits}f}'
    if len(values) > 1:
        text += f' ± {statistics.stdev(values):.{digits}f}'
    return text


def table(results: list[dict[str, Any]],
          published: dict[str, tuple[float, ...]], note: str) -> str:
    """A Markdown table, a row per model, mean and deviation over seeds;
    published rows stand below, marked by ``note``.
    """
    rows: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        rows.setdefault(result['row'], []).append(result)
    lines = ['| model | seeds | MRR | Hits@1 | Hits@3 | Hits@10 '
             '| validation MRR | best epoch | minutes |',
             '|---|---|---|---|---|---|---|---|---|']
    for row, found in rows.items():
        line = [row, str(len(found))]
        for metric in METRICS:
            line.append(spread([100 * x['test']['metrics'][metric]
                                for x in found]))
        line.append(spread([100 * x['val']['mrr'] for x in found]))
        line.append(', '.join(str(x['best_epoch']) for x in found))
        line.append(spread([x['seconds']['train'] / 60 for x in found], 1))
        lines.append('| ' + ' | '.join(line) + ' |')
    for row, values in published.items():
        cols = ' | '.join(f'{value:.2f}' for value in values)
        lines.append(f'| *{row}, {note}* | 1 | {cols} | | | |')
    return '\n'.join(lines)


def write(name: str, title: str, script: str, text: str,
          results: list[dict[str, Any]], args: argparse.Namespace,
          **extra: Any) -> None:
    """Writes what was measured as JSON, and ``text`` with its protocol as
    Markdown.
    """
    local = {args.data_root: 'DATA', str(args.folder): 'RUNS',
             str(args.results): 'RESULTS'}
    words = [local.get(x, x) for x in sys.argv[1:]]
    summary = {
        'command': shlex.join(['python', script, *words]),
        'machine': f'{platform.machine()}, {os.cpu_count()} cores, '
                   f'{args.workers} runs at a time, {args.threads} threads '
                   'each',
        **extra,
        'runs': results,
    }
    args.results.mkdir(parents=True, exist_ok=True)
    path = args.results / name
    path.with_suffix('.json').write_text(json.dumps(summary, indent=1) + '\n')
    path.with_suffix('.md').write_text('\n'.join([
        f'# {title}', '', text, '',
        f"Command: `{summary['command']}`", '',
        f"Machine: {summary['machine']}. Commit: "
        f"{results[0].get('commit')}. Protocol: "
        f"`{json.dumps(results[0]['test']['protocol'])}`. Mean and sample "
        'standard deviation over seeds; weights chosen on validation; each '
        'run is in the JSON file beside this one.', '']))
    print(text)
