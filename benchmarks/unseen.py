"""Rankings with and without an entity that occurs in no training triple.

    mmkgc train adamf/mkg_y --data-root DATA --seed 0 --output RUNS/0 --set ...
    python benchmarks/unseen.py RUNS/* --data-root DATA --dataset mkg_y \
        --results DIR

Runs are folders written by `mmkgc train`. Runs that only differ in their seed
form one row of the table. The first rows are models without any training on
the graph of the runs, by default the neighbour baseline; `--models neighbors
ultra_3g` adds ULTRA. `--report` creates the table from an existing result
file.

The splits of the benchmarks have few unseen entities. `--split` writes an
inductive split of a dataset as files, and a configuration for each method:

    python benchmarks/unseen.py --split SPLIT --dataset mkg_y \
        --data-root DATA --methods adamf nbfnet nbfnet_features ultra_features
    mmkgc train SPLIT/nbfnet_features.yaml --seed 0 --output RUNS/0
    python benchmarks/unseen.py RUNS/* --dataset mkg_y_inductive --results DIR
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
from runs import PLACES, flat
from study.report import Table, path_of, short, write_table

from pyg_mmkgc.config import (
    Component,
    build_graph,
    load_config,
    save_config,
)
from pyg_mmkgc.evaluation import evaluate
from pyg_mmkgc.io.atomic import read_json, write_atomic
from pyg_mmkgc.nn import NeighborBaseline
from pyg_mmkgc.runs import Run
from pyg_mmkgc.runs.pretrained import load_model
from pyg_mmkgc.runs.run import provenance
from pyg_mmkgc.transforms import InductiveSplit

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
    """Reads the runs, ranks by models without training, and writes the result
    file.
    """
    runs = {path: read(path) for path in args.runs
            if (path / 'metrics.json').is_file()}
    if not runs:
        raise SystemExit('Expected folders of finished runs (got none)')
    # Path models without features may be among the runs.
    path = max(runs, key=lambda path: len(runs[path]['modalities']))
    graph = Run.open(str(path), args.data_root).graph
    lines = []
    for name in args.models:
        model = load_model(name)
        lines.append({
            'settings': {'model.name': f'{type(model).__name__}, no training',
                         **({'model.temperature': model.temperature}
                            if isinstance(model, NeighborBaseline) else
                            {'model': Path(name).stem})},
            'val': evaluate(model, graph, 'val').metrics(),
            'test': evaluate(model, graph, 'test').to_dict(),
            **{key: value for key, value in provenance().items()
               if key in ('commit', 'platform')},
            'modalities': runs[path]['modalities']})
    lines += runs.values()
    write_atomic(path_of(STUDY, args).with_suffix('.jsonl'), ''.join(
        json.dumps(line) + '\n' for line in lines))


def split(args: argparse.Namespace) -> None:
    """Writes an inductive split with its features and configurations."""
    configs = {name: load_config(f'{name}/{args.dataset}')
               for name in args.methods}
    # Some methods use no features.
    config = next((x for x in configs.values()
                   if x.dataset.options['modalities'] != []),
                  next(iter(configs.values())))
    graph = InductiveSplit(args.held_out, args.held_out, args.seed)(
        build_graph(config, args.data_root))
    args.split.mkdir(parents=True)
    labels = graph.get('node_ids') or graph.node_names
    for part, triples in graph.splits().items():
        (args.split / f'{part}.tsv').write_text(''.join(
            f'{labels[h]}\t{graph.relation_names[r]}\t{labels[t]}\n'
            for h, t, r in zip(*triples.edge_index.tolist(),
                               triples.edge_type.tolist(), strict=True)),
            'utf-8')
    masks = graph.masks()
    for modality, x in graph.features().items():
        rows, mask = x.float().numpy(), masks[modality].numpy()
        np.savez(args.split / f'{modality}.npz', **{
            labels[i]: rows[i] for i in mask.nonzero()[0].tolist()})
    for name, config in configs.items():
        dataset = Component('TSV', {
            'root': str(args.split.absolute()), **{
                part: f'{part}.tsv' for part in graph.splits()},
            'features': {modality: f'{modality}.npz'
                         for modality in graph.modalities},
            'modalities': config.dataset.options['modalities']})
        save_config(dataclasses.replace(config, dataset=dataset),
                    args.split / f'{name}.yaml')
    print(f"{args.split}: {', '.join(f'{name}.yaml' for name in configs)}")


def report(args: argparse.Namespace) -> None:
    """Creates the table from the result file."""
    path = path_of(STUDY, args).with_suffix('.jsonl')
    lines = [json.loads(x) for x in path.read_text().splitlines()]
    rows: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        key = json.dumps({key: value for key, value
                          in line['settings'].items() if key != SEED})
        rows.setdefault(key, []).append(line)
    models: dict[str, list[dict[str, Any]]] = {}
    for settings in map(json.loads, rows):
        models.setdefault(settings['model.name'], []).append(settings)
    shared = {model: _shared(found) for model, found in models.items()
              if len(found[0]) > 2}  # Else without training.
    common = _shared(list(shared.values()))
    cells, counts = [], {}
    for key, found in rows.items():
        settings = json.loads(key)
        model = settings.pop('model.name')
        row = [_label(model, {
            name: value for name, value in settings.items()
            if name not in shared.get(model, ())}), str(len(found))]
        for group in ('unseen', 'seen', None):
            parts = [line['test']['metrics'] if group is None else
                     line['test']['slices']['entities'].get(group, {})
                     for line in found]
            counts[group] = parts[0].get('count')
            # An inductive split has no other rankings.
            row += [_spread([100 * part[m] for part in parts])
                    if parts[0] else ''
                    for m in (METRICS if group != 'seen' else METRICS[:1])]
        cells.append(row)
    columns = ['', 'seeds', 'unseen MRR', 'Hits@1', 'Hits@10', 'others MRR',
               'all MRR', 'Hits@1', 'Hits@10']
    p = lines[0]['test']['protocol']
    features = max((x['modalities'] for x in lines), key=len)
    texts = [f'{model}: `{words}`' for model, found in (
        ('Common to the trained rows', common), *shared.items())
        if (words := ' '.join(
            f'{key}={json.dumps(_short(key, value))}'
            for key, value in found.items() if value is not None
            and key != 'model.name' and (found is common
                                         or key not in common)))]
    write_table(STUDY, f'Unseen entities of {args.dataset}', Table(
        f"{counts['unseen']} of the {p['num_rankings']} rankings of "
        f"{p['split']} triples have an entity that is in no training triple "
        f"(head or tail). Filter: {p['filter']}, {p['ties']} ranks, in "
        'percent; mean and sample standard deviation over seeds 0, 1, ...; '
        'the best epoch by validation MRR, or the last one without '
        "'valid_every'. Features: "
        f"{' + '.join(features)}. {args.note}{' ' if args.note else ''}"
        f"Machine: {lines[-1]['platform']}; commit "
        f"{', '.join(sorted({short(str(x['commit'])) for x in lines}))}. "
        f"{'; '.join(texts)}.", columns, cells), args)


def _shared(settings: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the settings that are the same in all rows."""
    first, *others = settings
    return {key: value for key, value in first.items()
            if all(key in row and row[key] == value for row in others)}


def _label(model: str, settings: dict[str, Any]) -> str:
    words = [f"{key.rpartition('.')[2]}={_short(key, value)}"
             for key, value in settings.items() if value is not None]
    return f"{model}, `{' '.join(words)}`" if words else model


def _short(key: str, value: Any) -> Any:
    """Returns the name of weights without their folder."""
    return Path(value).stem if key == 'model.pretrained' and value else value


def _spread(values: list[float]) -> str:
    mean = f'{statistics.fmean(values):.2f}'
    return (mean if len(values) == 1 else
            f'{mean} ± {statistics.stdev(values):.2f}')


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('runs', nargs='*', type=Path, metavar='RUN')
    parser.add_argument('--dataset', required=True)
    parser.add_argument('--data-root')
    parser.add_argument('--results', type=Path)
    parser.add_argument('--models', nargs='+', default=['neighbors'],
                        help="models without training, as for 'mmkgc evaluate "
                        "--model'")
    parser.add_argument('--split', type=Path, metavar='FOLDER',
                        help='write an inductive split of the dataset')
    parser.add_argument('--methods', nargs='+', default=['adamf'],
                        help='the methods with a configuration in the split')
    parser.add_argument('--held-out', type=float, default=0.05, help='the '
                        'share of entities held out for validation, and for '
                        'testing')
    parser.add_argument('--seed', type=int, default=0, help='of the split')
    parser.add_argument('--note', default='', help='a note on the features')
    parser.add_argument('--report', action='store_true')
    given = parser.parse_args()
    if given.split is not None:
        split(given)
    elif given.results is None:
        parser.error('Expected --results with runs (got none)')
    else:
        if not given.report:
            measure(given)
        report(given)
