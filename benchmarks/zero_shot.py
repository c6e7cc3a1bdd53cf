"""ULTRA on graphs that it is not trained on here.

    python benchmarks/zero_shot.py --dataset MKG-W --data-root DIR

Ranks test triples with the authors' checkpoints, with the training triples as
the graph, filtered by all splits, on both sides. Each checkpoint and dataset
results in one JSON file, from which `--report` creates the table.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import torch

from pyg_mmkgc import DB15K, MKGW, MKGY, KnowledgeGraph, evaluate
from pyg_mmkgc.io import read_json, write_json
from pyg_mmkgc.io.provenance import provenance
from pyg_mmkgc.nn.path import ULTRA

MODELS = ('ultra_3g', 'ultra_4g', 'ultra_50g')
DATASETS = ('MKG-W', 'MKG-Y', 'DB15K', 'FB15k-237')
# Notes on graphs that checkpoints were trained on.
SEEN = {'FB15k-237': 'which ultra_3g and ultra_4g were trained on'}
RESULTS = Path(__file__).parent / 'results' / 'zero_shot'


def load(name: str, root: str) -> KnowledgeGraph:
    """Loads a graph without features."""
    if name == 'FB15k-237':
        folder = Path(root, name)
        return KnowledgeGraph.from_tsv(
            *(folder / f'{split}.txt' for split in ('train', 'valid',
                                                    'test')))
    if name == 'DB15K':
        with warnings.catch_warnings():  # Nothing is selected here.
            warnings.simplefilter('ignore')
            return DB15K(root, valid='official', features='none')[0]
    return {'MKG-W': MKGW, 'MKG-Y': MKGY}[name](root, features='none')[0]


def sample(kg: KnowledgeGraph, num_triples: int, seed: int) -> KnowledgeGraph:
    """Returns the graph with some test triples. The others only filter."""
    rows = kg.test_mask.nonzero().view(-1)
    generator = torch.Generator().manual_seed(seed)
    rows = rows[torch.randperm(rows.numel(), generator=generator)]
    rest = rows[num_triples:]
    kg.filter_edge_index = kg.edge_index[:, rest]
    kg.filter_edge_type = kg.edge_type[rest]
    kg.test_mask = kg.test_mask.clone()
    kg.test_mask[rest] = False
    return kg


def run(name: str, model: str, args: argparse.Namespace) -> None:
    """Evaluates a checkpoint on a dataset and writes the result."""
    kg = load(name, args.data_root)
    num_triples = int(kg.test_mask.sum())
    if args.triples and args.triples < num_triples:
        kg = sample(kg, args.triples, args.seed)
    source = (model if args.checkpoints is None else
              Path(args.checkpoints, f'{model}.pth'))
    start = time.perf_counter(), time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # Ties are in the result.
        result = evaluate(ULTRA.from_pretrained(source), kg)
    write_json(args.results / f'{name}_{model}.json', {
        'dataset': name, 'model': model, 'num_test_triples': num_triples,
        'sampled': args.triples if args.triples < num_triples else None,
        'seed': args.seed, 'result': result.to_dict(),
        'standard_error': float((1 / result.ranks.by_ties('realistic').double()
                                 ).std() / result.ranks.realistic.numel()**.5),
        'seconds': time.perf_counter() - start[0],
        'cpu_seconds': time.process_time() - start[1],
        'threads': torch.get_num_threads(), 'cores': os.cpu_count(),
        'machine': f'{platform.machine()}, {platform.system()}',
        'command': command(args), **provenance()})
    print(name, model, {key: round(100 * value, 2) for key, value in
                        result.metrics().items() if key in
                        ('mrr', 'hits@1', 'hits@3', 'hits@10')}, flush=True)


def command(args: argparse.Namespace) -> str:
    """Returns the command line, with placeholders for folders."""
    roles = {args.data_root: 'DIR', args.checkpoints: 'CHECKPOINTS',
             str(args.results): 'RESULTS'}
    words = ['benchmarks/zero_shot.py', *sys.argv[1:]]
    return 'python ' + shlex.join(roles.get(word, word) for word in words)


def report(folder: Path) -> str:
    """Returns the table of all results in a folder."""
    lines = ['# ULTRA without training', '',
             '| graph | checkpoint | triples | MRR | Hits@1 | Hits@3 | '
             'Hits@10 | MRR, both entities in training | CPU seconds a query '
             '|', '|' + ' --- |' * 9]
    about: dict[str, None] = {}
    for name in DATASETS:
        for model in MODELS:
            path = folder / f'{name}_{model}.json'
            if not path.is_file():
                continue
            found: Any = read_json(path)
            metrics = found['result']['metrics']
            p, seen = (found['result'][key] for key in ('protocol', 'slices'))
            values = [f"{100 * metrics['mrr']:.2f} ± "
                      f"{100 * found['standard_error']:.2f}",
                      *(f"{100 * metrics[f'hits@{k}']:.2f}"
                        for k in (1, 3, 10)),
                      f"{100 * seen['entities']['seen']['mrr']:.2f}",
                      f"{found['cpu_seconds'] / p['num_queries']:.3f}"]
            label = f'{name}, {SEEN[name]}' if name in SEEN else name
            count = (f"{p['num_triples']:,}" if found['sampled'] is None else
                     f"{p['num_triples']:,} of {found['num_test_triples']:,}")
            lines.append(f'| {label} | {model} | {count} | '
                         + ' | '.join(values) + ' |')
            about[f"`{found['command']}`, commit {found['commit'][:7]}, "
                  f"{found['machine']}, {found['threads']} thread(s) of "
                  f"{found['cores']} cores"] = None
    lines += ['', 'Test triples, both sides, filtered by all splits, '
              'realistic ranks, in percent; ± is the standard error over '
              'rankings. The graph of messages is the training triples '
              '(DB15K: its whole training file; its validation file, as '
              'published, only filters). Where a part of the test triples is '
              'ranked, it is a random one, the same for all checkpoints.', '',
              *(f'- {text}' for text in about), '']
    return '\n'.join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--dataset', nargs='+', choices=DATASETS,
                        default=list(DATASETS))
    parser.add_argument('--models', nargs='+', choices=MODELS,
                        default=list(MODELS))
    parser.add_argument('--data-root', help='the folder of the datasets')
    parser.add_argument('--checkpoints', help='the folder of the files .pth, '
                        'which replaces the download')
    parser.add_argument('--triples', type=int, default=0,
                        help='a sample of the test triples (all)')
    parser.add_argument('--seed', type=int, default=0,
                        help='the seed of the sample')
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--results', type=Path, default=RESULTS)
    parser.add_argument('--report', action='store_true',
                        help='only create the table')
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.results.mkdir(parents=True, exist_ok=True)
    if not args.report:
        for name in args.dataset:
            for model in args.models:
                run(name, model, args)
    (args.results / 'README.md').write_text(report(args.results))


if __name__ == '__main__':
    main()
