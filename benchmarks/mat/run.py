r"""RotatE, AdaMF and AdaMF-MAT side by side, over seeds.

Each cell of the grid is a run of ``mmkgc train`` in a folder of its own;
finished cells are skipped and interrupted ones resumed. The table is made
from the result files alone.
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
# Table 2 of the paper (structure + visual + text), in percent.
PUBLISHED = {
    ('mkg_w', 'RotatE'): (33.67, 26.80, 36.68, 46.73),
    ('mkg_w', 'AdaMF'): (34.27, 27.21, 37.86, 47.21),
    ('mkg_w', 'AdaMF-MAT'): (35.85, 29.04, 39.01, 48.42),
    ('mkg_y', 'RotatE'): (34.95, 29.10, 38.35, 45.30),
    ('mkg_y', 'AdaMF'): (38.06, 33.49, 40.44, 45.48),
    ('mkg_y', 'AdaMF-MAT'): (38.57, 34.34, 40.59, 45.76),
    ('db15k', 'RotatE'): (29.28, 17.87, 36.12, 49.66),
    ('db15k', 'AdaMF'): (32.51, 21.31, 39.67, 51.68),
    ('db15k', 'AdaMF-MAT'): (35.14, 25.30, 41.11, 52.92),
}


class Cell(NamedTuple):
    """One training."""
    row: str
    seed: int
    config: str
    overrides: tuple[str, ...]

    @property
    def name(self) -> str:
        return f'{self.row}-seed{self.seed}'.replace(' ', '_')


def cells(args: argparse.Namespace) -> list[Cell]:
    """The grid, seed by seed, so that a stop leaves whole comparisons."""
    out = []
    for seed in args.seeds:
        common = (f'training.seed={seed}', *args.set)
        for model in args.models:
            label = {'rotate': 'RotatE', 'adamf': 'AdaMF'}.get(model)
            config = f'{model}/{args.dataset}'
            if label is not None:
                out.append(Cell(label, seed, config, common))
                continue
            for weight in args.weights:
                out.append(Cell(f'AdaMF-MAT {weight}', seed, config, (
                    f'adversary.weight={weight}', *common)))
    return out


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


def table(dataset: str, results: list[dict[str, Any]]) -> str:
    """A Markdown table, a row per model, mean and deviation over seeds."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        rows.setdefault(result['row'], []).append(result)
    lines = ['| model | seeds | MRR | Hits@1 | Hits@3 | Hits@10 '
             '| validation MRR | best epoch | minutes |',
             '|---|---|---|---|---|---|---|---|---|']
    for row, found in rows.items():
        line = [row.replace('MAT ', 'MAT, lambda '), str(len(found))]
        for metric in METRICS:
            line.append(spread([100 * x['test']['metrics'][metric]
                                for x in found]))
        line.append(spread([100 * x['val']['mrr'] for x in found]))
        line.append(', '.join(str(x['best_epoch']) for x in found))
        line.append(spread([x['seconds']['train'] / 60 for x in found], 1))
        lines.append('| ' + ' | '.join(line) + ' |')
    for (name, row), values in PUBLISHED.items():
        if name == dataset:
            cols = ' | '.join(f'{value:.2f}' for value in values)
            lines.append(f'| *{row}, published, S+V+T* | 1 | {cols} | | | |')
    return '\n'.join(lines)


def spread(values: list[float], digits: int = 2) -> str:
    """The mean and the sample standard deviation."""
    text = f'{statistics.mean(values):.{digits}f}'
    if len(values) > 1:
        text += f' ± {statistics.stdev(values):.{digits}f}'
    return text


def main() -> None:
    """Trains what is missing and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--dataset', default='countries',
                        choices=('countries', 'mkg_w', 'mkg_y', 'db15k'))
    parser.add_argument('--data-root', help='folder of the dataset files')
    parser.add_argument('--models', nargs='+',
                        default=['rotate', 'adamf', 'adamf_mat'],
                        choices=('rotate', 'adamf', 'adamf_mat'))
    parser.add_argument('--weights', nargs='+', type=float, default=[0.01],
                        help='lambda of MAT')
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2])
    parser.add_argument('--set', action='append', default=[],
                        metavar='KEY=VALUE', help='for every configuration')
    parser.add_argument('--workers', type=int, default=1)
    parser.add_argument('--threads', type=int, default=os.cpu_count() or 1,
                        help='of each worker')
    parser.add_argument('--folder', type=Path, default=Path('runs', 'mat'),
                        help='where the runs go')
    parser.add_argument('--results', type=Path,
                        default=HERE.parent / 'results')
    args = parser.parse_args()
    with ThreadPoolExecutor(args.workers) as pool:
        results = list(pool.map(lambda cell: run(cell, args), cells(args)))
    local = {args.data_root: 'DATA', str(args.folder): 'RUNS',
             str(args.results): 'RESULTS'}
    words = [local.get(x, x) for x in sys.argv[1:]]
    summary = {
        'command': shlex.join(['python', 'benchmarks/mat/run.py', *words]),
        'machine': f'{platform.machine()}, {os.cpu_count()} cores, '
                   f'{args.workers} runs at a time, {args.threads} threads '
                   'each',
        'runs': results,
    }
    args.results.mkdir(parents=True, exist_ok=True)
    path = args.results / f'mat_{args.dataset}'
    path.with_suffix('.json').write_text(json.dumps(summary, indent=1) + '\n')
    text = table(args.dataset, results)
    protocol = results[0]['test']['protocol']
    path.with_suffix('.md').write_text('\n'.join([
        f'# RotatE, AdaMF and AdaMF-MAT on {args.dataset}', '', text, '',
        f"Command: `{summary['command']}`", '',
        f"Machine: {summary['machine']}. Commit: "
        f"{results[0].get('commit')}. Protocol: "
        f'`{json.dumps(protocol)}`. Mean and sample standard deviation over '
        'seeds; weights chosen on validation; each run is in the JSON file '
        'beside this one.', '']))
    print(text)


if __name__ == '__main__':
    main()
