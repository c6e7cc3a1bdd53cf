"""A table of all finished runs on a dataset.

    python benchmarks/runs.py runs/* --dataset mkg_w --results DIR
    python benchmarks/runs.py --dataset mkg_w --results DIR --report

Runs are folders written by `mmkgc train`. Each line of the table shows the
settings in which a run differs from others, and the best run on validation
comes first. `--report` creates the table from an existing result file.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from study.report import Table, path_of, short, write_table

from pyg_mmkgc.config import load_config
from pyg_mmkgc.io.atomic import read_json, write_atomic

STUDY = 'runs'
COLUMNS = ('settings', 'validation MRR', 'Hits@1', 'test MRR', 'Hits@1',
           'Hits@3', 'Hits@10', 'minutes')
# Neither key describes the training.
PLACES = ('dataset.root', 'training.device')


def read(folder: Path, found: dict[str, Any]) -> dict[str, Any]:
    """Reads a finished run and its metrics as a line of the result file."""
    history = read_json(folder / 'history.json')
    settings = flat(load_config(str(folder / 'config.yaml')).to_dict())
    return {
        'settings': {key: value for key, value in settings.items()
                     if key not in PLACES},
        'val': found['val'], 'test': found['test']['metrics'],
        'protocol': found['test']['protocol'], 'commit': found['commit'],
        'modalities': found['modalities'], 'platform': found['platform'],
        'versions': found['versions'],
        'minutes': sum(x['seconds'] for x in history['epochs']) / 60}


def flat(values: dict[str, Any], prefix: str = '') -> dict[str, Any]:
    """Flattens nested keys by joining them with dots."""
    out: dict[str, Any] = {}
    for key, value in values.items():
        out |= (flat(value, f'{prefix}{key}.') if isinstance(value, dict)
                else {prefix + key: value})
    return out


def train(args: argparse.Namespace) -> None:
    """Reads the runs and writes the result file."""
    done = {path: read_json(path / 'metrics.json') for path in args.runs
            if (path / 'metrics.json').is_file()}
    found = [read(path, metrics) for path, metrics in done.items()
             if metrics['test'] is not None]
    if not found:
        raise SystemExit('Expected folders of finished runs with test '
                         'triples (got none)')
    for key in ('dataset.name', 'dataset.valid'):
        names = {x['settings'].get(key) for x in found}
        if len(names) > 1:
            raise SystemExit(f'Expected runs of one {key} (got '
                             f'{sorted(map(str, names))})')
    write_atomic(path_of(STUDY, args).with_suffix('.jsonl'), ''.join(
        json.dumps(x) + '\n' for x in found))


def report(args: argparse.Namespace) -> None:
    """Creates the table from the result file."""
    path = path_of(STUDY, args).with_suffix('.jsonl')
    if not path.is_file():
        raise SystemExit(f"Expected a result file (got '{path}', which does "
                         'not exist). Pass runs to create it.')
    found = [json.loads(x) for x in path.read_text().splitlines()]
    found.sort(key=lambda x: -x['val']['mrr'])
    features = [' + '.join(['structure', *x['modalities']]) for x in found]
    for x, names in zip(found, features, strict=True):
        if len(set(features)) > 1:
            x['settings'] = {'features': names} | x['settings']
    keys = dict.fromkeys(key for x in found for key in x['settings'])
    values = {key: {json.dumps(x['settings'].get(key)) for x in found}
              for key in keys}
    common = [f'{key}={_word(found[0], key)}' for key in keys
              if len(values[key]) == 1 and values[key] != {'null'}]
    rows = []
    for x in found:
        own = [f'{key}={_word(x, key)}' for key in keys
               if len(values[key]) > 1 and x['settings'].get(key) is not None]
        rows.append([f"`{' '.join(own)}`" if own else 'as below', *(
            f'{100 * x[split][metric]:.2f}' for split, metric in (
                ('val', 'mrr'), ('val', 'hits@1'), ('test', 'mrr'),
                ('test', 'hits@1'), ('test', 'hits@3'), ('test', 'hits@10'))),
            f"{x['minutes']:.1f}"])
    p = found[0]['protocol']
    commits = ', '.join(sorted({short(str(x['commit'])) for x in found}))
    platforms = ', '.join(sorted({x['platform'] for x in found}))
    same = f'Features: {features[0]}. ' if len(set(features)) == 1 else ''
    write_table(STUDY, f'Runs on {args.dataset}', Table(
        f"{len(found)} runs of `mmkgc train`, one line each; {p['split']} "
        f"triples ({p['num_triples']}), sides: {' and '.join(p['sides'])}, "
        f"filter: {p['filter']}, {p['ties']} ranks, in percent; epoch chosen "
        'by validation MRR, by which the lines are ordered: the test columns '
        f'chose nothing. {same}Minutes of training on {platforms}; '
        f"commit {commits}. Common to all: "
        f"`{' '.join(common)}`.", COLUMNS, rows), args)


def _word(run: dict[str, Any], key: str) -> str:
    return json.dumps(run['settings'].get(key)).strip('"').replace(' ', '')


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description='Compares finished runs.')
    parser.add_argument('runs', nargs='*', type=Path, metavar='RUN')
    parser.add_argument('--dataset', required=True)
    parser.add_argument('--results', type=Path, required=True)
    parser.add_argument('--report', action='store_true')
    given = parser.parse_args()
    if not given.report:
        train(given)
    report(given)
