"""Table 1 of AdaMF-MAT: statistics of the datasets, with an audit.

    python benchmarks/table1.py --data-root DIR

In addition to the paper's counts, it lists triples shared by two splits,
test triples with an entity that is not in any training triple, and the
number of entities with each modality. Datasets without files in --data-root
are left out.
"""

from __future__ import annotations

import argparse
from typing import Any

from published import TABLE_1
from study.report import Table, read_results, write_results, write_table
from study.runner import DATASETS, main, root_of

STUDY = 'table1'


def measure(args: argparse.Namespace) -> None:
    """Audits the available datasets and writes the result file."""
    from pyg_mmkgc.config import build_graph, load_config
    from pyg_mmkgc.errors import ConfigError, DataError, DownloadError

    args.dataset = 'all'  # Part of the file names.
    results: list[dict[str, Any]] = []
    for name in DATASETS:
        variants = {name: ()}
        if name == 'db15k':
            variants = {name: (), f'{name}, published validation file': (
                'dataset.valid=official',)}
        for row, overrides in variants.items():
            config = load_config(f'adamf/{name}', overrides)
            try:
                graph = build_graph(config, root_of(name, args))
            except (ConfigError, DataError, DownloadError) as error:
                print(f'{row} is left out: {error}')
                continue
            results.append({'row': row, **graph.audit().to_dict()})
    write_results(STUDY, results, args)


def report(args: argparse.Namespace) -> None:
    """Creates the table from the result file."""
    args.dataset = 'all'
    head, results = read_results(STUDY, args)
    rows, notes = [], ['## Warnings of the audit', '']
    for x in results:
        splits = [x['splits'][s] for s in ('train', 'val', 'test')]
        counts = [x['num_nodes'], x['num_relations'],
                  *(s['triples'] for s in splits)]
        paper = TABLE_1.get(x['row'].partition(',')[0])
        cells = [f'{count:,}' for count in counts]
        for i, count in enumerate(counts):
            if paper is not None and paper[i] != count:
                cells[i] += f' (*{paper[i]:,}*)'
        val, test = splits[1:]
        cells += [f"{val['overlaps']['train']:,}",
                  f"{val['overlaps']['test']:,}",
                  f"{test['overlaps']['train']:,}",
                  f"{test['unseen_node']:,}"]
        cells.append(', '.join(
            f"{name} {m['rows'] / x['num_nodes']:.0%} ({m['channels']})"
            for name, m in x['modalities'].items()) or 'none available')
        rows.append([x['row'], *cells])
        notes += [f"- {x['row']}: {warning}" for warning in x['warnings']]
    table = Table(
        'In italics: the number of the paper, where it differs. Shared: '
        'distinct triples that are in both splits. Unseen: test triples with '
        'an entity that is in no training triple. Modalities: share of the '
        'entities that have it (and its channels), of the available feature '
        "files. DB15K's published validation file repeats training and test "
        'triples; the default is a tenth of train, held out. '
        f"Command: `{head['command']}`.",
        ['dataset', 'entities', 'relations', 'train', 'validation', 'test',
         'shared: validation, train', 'validation, test', 'test, train',
         'unseen', 'modalities'], rows)
    write_table(STUDY, 'The datasets', table, args, notes)


if __name__ == '__main__':
    main(__doc__, measure, report, unused=('dataset', 'rows', 'trials'))
