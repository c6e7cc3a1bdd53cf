"""Rankings with and without an entity that occurs in no training triple.

    mmkgc train adamf/mkg_y --data-root DATA --seed 0 --output RUNS/0 --set ...
    python benchmarks/unseen.py RUNS/* --data-root DATA --dataset mkg_y \
        --results DIR

Runs are folders written by `mmkgc train`. Runs that only differ in their seed
form one row of the table. The first row is the neighbour baseline, on the
graph of the first run. `--report` creates the table from an existing result
file.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from runs import PLACES, flat
from study.report import Table, path_of, short, write_table

from pyg_mmkgc.config import load_config
from pyg_mmkgc.evaluation import evaluate
from pyg_mmkgc.io.atomic import read_json, write_atomic
from pyg_mmkgc.nn import NeighborBaseline
from pyg_mmkgc.runs import Run
from pyg_mmkgc.runs.run import provenance

STUDY = 'unseen'
METRICS = ('mrr', 'hits@1', 'hits@10')
SEED = 'training.seed'


def read(folder: Path) -> dict[str, Any]:
    """Reads a finished run as a line of the result file."""
    found = read_json(folder / 'metrics.json')
    settings = flat(load_config(str(folder / 'config.yaml')).to_dict())
    return {'settings': {key: value for key, value in settings.items()
                         if key not in PLACES
                         and not key.startswith('dataset.features')},
            'val': found['val'], 'test': found['test'],
            'commit': found['commit'], 'modalities': found['modalities'],
            'platform': found['platform']}


def measure(args: argparse.Namespace) -> None:
    """Reads the runs, ranks by the baseline, and writes the result file."""
    lines = [read(path) for path in args.runs
             if (path / 'metrics.json').is_file()]
    if not lines:
        raise SystemExit('Expected folders of finished runs (got none)')
    graph = Run.open(str(args.runs[0]), args.data_root).graph
    baseline = NeighborBaseline.from_data(graph)
    lines.insert(0, {
        'settings': {'model.name': 'NeighborBaseline',
                     'model.temperature': baseline.temperature},
        'val': evaluate(baseline, graph, 'val').metrics(),
        'test': evaluate(baseline, graph, 'test').to_dict(),
        **{key: value for key, value in provenance().items()
           if key in ('commit', 'platform')},
        'modalities': lines[0]['modalities']})
    write_atomic(path_of(STUDY, args).with_suffix('.jsonl'), ''.join(
        json.dumps(line) + '\n' for line in lines))


def report(args: argparse.Namespace) -> None:
    """Creates the table from the result file."""
    path = path_of(STUDY, args).with_suffix('.jsonl')
    lines = [json.loads(x) for x in path.read_text().splitlines()]
    rows: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        key = json.dumps({key: value for key, value
                          in line['settings'].items() if key != SEED})
        rows.setdefault(key, []).append(line)
    trained = [json.loads(key) for key in list(rows)[1:]]
    common = [key for key in trained[0]
              if all(row.get(key) == trained[0][key] for row in trained)]
    cells, counts = [], {}
    for key, found in rows.items():
        settings = json.loads(key)
        own = [f'{name}={value}' for name, value in settings.items()
               if name not in common or name == 'model.name']
        row = [f"`{' '.join(own)}`", str(len(found))]
        for group in ('unseen', 'seen', None):
            parts = [line['test']['metrics'] if group is None else
                     line['test']['slices']['entities'][group]
                     for line in found]
            counts[group] = parts[0].get('count')
            row += [_spread([100 * part[m] for part in parts])
                    for m in (METRICS if group != 'seen' else METRICS[:1])]
        cells.append(row)
    columns = ['', 'seeds', 'unseen MRR', 'Hits@1', 'Hits@10', 'others MRR',
               'all MRR', 'Hits@1', 'Hits@10']
    p = lines[1]['test']['protocol']
    shared = [f'{key}={json.dumps(trained[0][key])}' for key in common
              if trained[0][key] is not None and key != 'model.name']
    write_table(STUDY, f'Unseen entities of {args.dataset}', Table(
        f"{counts['unseen']} of the {p['num_rankings']} rankings of "
        f"{p['split']} triples have an entity that is in no training triple "
        f"(head or tail). Filter: {p['filter']}, {p['ties']} ranks, in "
        'percent; mean and sample standard deviation over seeds 0, 1, ...; '
        'epoch chosen by validation MRR. Features: '
        f"{' + '.join(lines[1]['modalities'])}. {args.note} "
        f"Machine: {lines[1]['platform']}; commit "
        f"{', '.join(sorted({short(str(x['commit'])) for x in lines}))}. "
        f"Common to the trained rows: `{' '.join(shared)}`.", columns, cells),
        args)


def _spread(values: list[float]) -> str:
    mean = f'{statistics.fmean(values):.2f}'
    return (mean if len(values) == 1 else
            f'{mean} ± {statistics.stdev(values):.2f}')


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('runs', nargs='*', type=Path, metavar='RUN')
    parser.add_argument('--dataset', required=True)
    parser.add_argument('--data-root')
    parser.add_argument('--results', type=Path, required=True)
    parser.add_argument('--note', default='', help='a note on the features')
    parser.add_argument('--report', action='store_true')
    given = parser.parse_args()
    if not given.report:
        measure(given)
    report(given)
