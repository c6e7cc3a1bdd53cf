r"""Compares PyG's knowledge graph models and AdaMF-MAT with equal budgets.

Writes one JSON file per dataset, and a table of all datasets.
"""

import argparse
import json
import os
import os.path as osp
import platform
import shlex
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch_geometric
from torch_geometric.datasets import FB15k_237
from torch_geometric.nn import ComplEx, DistMult, KGEModel, RotatE, TransE

from pyg_mmkgc import (
    MAT,
    AdaMF,
    AdaMFMAT,
    AdversarialTrainer,
    KnowledgeGraph,
    Trainer,
    __version__,
    evaluate,
)
from pyg_mmkgc.datasets import MKGW, Countries
from pyg_mmkgc.nn import BCELoss, MarginRankingLoss, SelfAdversarialLoss
from pyg_mmkgc.sampler import PooledSampler

HERE = Path(__file__).resolve().parent

# The model, its real channels per hidden channel, and its margins to select
# from. All models have the same number of margins, except for ComplEx, which
# has none.
MODELS: dict[str, tuple[type[KGEModel], int, tuple[float, ...]]] = {
    'TransE': (TransE, 1, (0.5, 1.0, 2.0)),
    'DistMult': (DistMult, 1, (0.5, 1.0, 2.0)),
    'ComplEx': (ComplEx, 2, (0.0, )),
    'RotatE': (RotatE, 2, (1.0, 3.0, 9.0)),
    'AdaMFMAT': (AdaMFMAT, 2, (3.0, 6.0, 12.0)),
}


def loss_of(name: str, margin: float) -> torch.nn.Module:
    """Returns the kind of loss that PyG uses for a model, here over many
    negatives.
    """
    if name in ('TransE', 'DistMult'):
        return MarginRankingLoss(margin)
    if name == 'ComplEx':
        return BCELoss()
    return SelfAdversarialLoss(1.0 if name == 'RotatE' else 2.0)


def load(name: str, root: str, data_root: str | None) -> KnowledgeGraph:
    """Loads a graph, from ``data_root`` if its files are there."""
    if name == 'countries':
        return Countries()[0]
    if name == 'mkg_w':
        return MKGW(data_root or root)[0]
    root = osp.join(root, 'FB15k-237')
    if data_root is not None:
        raw = Path(root, 'raw')
        raw.mkdir(parents=True, exist_ok=True)
        for file in ('train.txt', 'valid.txt', 'test.txt'):
            shutil.copy(Path(data_root, 'FB15k-237', file), raw)
    return KnowledgeGraph.from_pyg(*(
        FB15k_237(root, split=split) for split in ('train', 'val', 'test')))


def build(name: str, kg: KnowledgeGraph, channels: int,
          margin: float) -> KGEModel:
    """Builds a model with ``channels`` real channels per node."""
    cls, width, _ = MODELS[name]
    if name == 'AdaMFMAT':
        # Without modalities, there is nothing to generate.
        cls = AdaMFMAT if kg.modalities else AdaMF
        return cls.from_data(kg, hidden_channels=channels // width,
                             margin=margin)
    # The other models have their margin in the loss.
    kwargs = {'margin': margin} if cls is RotatE else {}
    return cls(kg.num_nodes, kg.num_relations, channels // width, **kwargs)


def train(name: str, kg: KnowledgeGraph, lr: float, margin: float, seed: int,
          args: argparse.Namespace) -> tuple[KGEModel, dict[str, Any]]:
    """Trains with the same budget for all models."""
    torch.manual_seed(seed)
    model = build(name, kg, args.channels, margin)
    options = dict(
        sampler=PooledSampler(num_negatives=args.num_negatives),
        loss=loss_of(name, margin),
        lr=lr,
        batch_size=args.batch_size,
        epochs=args.epochs,
        valid_every=max(1, args.epochs // args.validations),
        seed=seed,
        device=args.device,
    )
    start = time.perf_counter()
    if isinstance(model, AdaMFMAT):
        history = AdversarialTrainer(
            model, kg, adversary=MAT.from_model(model, weight=args.adv_weight),
            **options).fit()
    else:
        history = Trainer(model, kg, **options).fit()
    return model, {
        'model': name,
        'class': type(model).__name__,
        'seed': seed,
        'lr': lr,
        'margin': margin,
        'parameters': sum(p.numel() for p in model.parameters()),
        'best_epoch': history.best_epoch,
        'val_mrr': history.best_metrics['mrr'],
        'seconds': round(time.perf_counter() - start, 1),
    }


def benchmark(name: str, kg: KnowledgeGraph,
              args: argparse.Namespace) -> list[dict[str, Any]]:
    """Selects learning rate and margin on validation, then runs all seeds.

    The test split is ranked once per seed, at the end.
    """
    first, *others = args.seeds
    tried = [train(name, kg, lr, margin, first, args)
             for lr in args.lrs for margin in MODELS[name][2]]
    best = max(tried, key=lambda pair: pair[1]['val_mrr'])
    runs = [best] + [
        train(name, kg, best[1]['lr'], best[1]['margin'], seed, args)
        for seed in others]
    for model, run in runs:
        result = evaluate(model, kg, split='test')
        run['metrics'] = result.metrics()
        run['protocol'] = result.protocol
    best[1]['tried'] = [{key: run[key] for key in ('lr', 'margin', 'val_mrr')}
                        for _, run in tried]
    return [run for _, run in runs]


def git(*command: str) -> str:
    """Returns the output of git, or an empty text without a repository."""
    done = subprocess.run(['git', *command], cwd=HERE, capture_output=True,
                          text=True)
    return done.stdout.strip()


def describe(args: argparse.Namespace) -> dict[str, Any]:
    """Returns everything that is needed to repeat the run."""
    words = [osp.relpath(sys.argv[0]), *sys.argv[1:]]
    places = {args.data_root: 'DATA', args.root: 'ROOT'}
    words = [places.get(word, word) for word in words]
    gpu = args.device.startswith('cuda')
    return {
        'command': 'python ' + shlex.join(words),
        'commit': git('rev-parse', 'HEAD'),
        'changed_since_commit': bool(git('status', '--porcelain', '-uno')),
        'machine': torch.cuda.get_device_name() if gpu else
        f'{platform.machine()}, {os.cpu_count()} cores, '
        f'{torch.get_num_threads()} threads',
        'versions': {
            'python': platform.python_version(),
            'pyg_mmkgc': __version__,
            'torch': torch.__version__,
            'torch_geometric': torch_geometric.__version__,
        },
        'budget': {key: getattr(args, key) for key in (
            'channels', 'epochs', 'validations', 'batch_size',
            'num_negatives', 'lrs', 'seeds', 'adv_weight')},
    }


def cell(values: list[float], scale: float = 100.0) -> str:
    """Formats the mean, with the standard deviation for several seeds."""
    text = f'{scale * statistics.mean(values):.1f}'
    if len(values) > 1:
        text += f' ± {scale * statistics.stdev(values):.1f}'
    return text


def table(folder: Path) -> str:
    """Returns all results of a folder as Markdown."""
    out = ['# PyG baselines: results', '',
           'Written by `run.py` from the JSON files in this folder.', '']
    for path in sorted(folder.glob('*.json')):
        record = json.loads(path.read_text('utf-8'))
        protocol, budget = record['protocol'], record['budget']
        out += [
            f"## {record['dataset']}", '',
            f"Test MRR and Hits in %, both sides, filtered by "
            f"{protocol['filter']}, {protocol['ties']} ranks, "
            f"{protocol['num_triples']} triples against "
            f"{protocol['num_nodes']} nodes; seeds {budget['seeds']}; the "
            f'learning rate (of {budget["lrs"]}) and the margin (of the '
            'margins in `run.py`) are the best on validation, '
            f"{budget['epochs']} epochs, "
            f"{budget['channels']} real channels a node, "
            f"{budget['num_negatives']} negatives.", '',
            '| model | MRR | Hits@1 | Hits@3 | Hits@10 | lr | margin | '
            'seconds |', '|---|---|---|---|---|---|---|---|']
        for name in dict.fromkeys(run['model'] for run in record['runs']):
            runs = [run for run in record['runs'] if run['model'] == name]
            cells = [cell([run['metrics'][key] for run in runs])
                     for key in ('mrr', 'hits@1', 'hits@3', 'hits@10')]
            seconds = statistics.mean(run['seconds'] for run in runs)
            out.append(f"| {runs[0]['class']} | {' | '.join(cells)} | "
                       f"{runs[0]['lr']:g} | {runs[0]['margin']:g} | "
                       f"{seconds:.0f} |")
        out += ['', f"`{record['command']}`, commit "
                f"{record['commit'][:12] or 'unknown'}, {record['machine']}, "
                f"torch {record['versions']['torch']}.", '']
    return '\n'.join(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('dataset', choices=['countries', 'mkg_w',
                                            'fb15k_237'])
    parser.add_argument('--models', nargs='+', default=list(MODELS),
                        choices=list(MODELS))
    parser.add_argument('--channels', type=int, default=256,
                        help='real channels of a node in every model')
    parser.add_argument('--epochs', type=int, default=50)
    parser.add_argument('--validations', type=int, default=4,
                        help='number of validations to select the epoch from')
    parser.add_argument('--batch_size', type=int, default=1024)
    parser.add_argument('--num_negatives', type=int, default=128)
    parser.add_argument('--lrs', type=float, nargs='+',
                        default=[1e-3, 1e-2])
    parser.add_argument('--adv_weight', type=float, default=0.01)
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--device', default='cuda' if
                        torch.cuda.is_available() else 'cpu')
    parser.add_argument('--data_root', help='folder with the files of MKG-W '
                        'and FB15k-237, which replaces the download')
    parser.add_argument('--root', default=osp.join(HERE, '..', '..', 'data'))
    parser.add_argument('--output', type=Path, default=HERE / 'results')
    args = parser.parse_args()

    kg = load(args.dataset, args.root, args.data_root)
    runs = []
    for name in args.models:
        for run in benchmark(name, kg, args):
            print(f"{run['class']:<9} seed {run['seed']}  lr {run['lr']:g}  "
                  f"margin {run['margin']:g}  "
                  f"val MRR {run['val_mrr']:.4f}  "
                  f"test MRR {run['metrics']['mrr']:.4f}  "
                  f"{run['seconds']} s", flush=True)
            runs.append(run)
    protocol = [run.pop('protocol') for run in runs][0]
    args.output.mkdir(parents=True, exist_ok=True)
    record = {'dataset': args.dataset, 'protocol': protocol,
              **describe(args), 'runs': runs}
    path = args.output / f'{args.dataset}.json'
    path.write_text(json.dumps(record, indent=1) + '\n', 'utf-8')
    (args.output / 'README.md').write_text(table(args.output), 'utf-8')
    print(f'wrote {path}')


if __name__ == '__main__':
    main()
