"""The effect of MAT: AdaMF against variants of AdaMF-MAT, over seeds.

    python benchmarks/mat.py --dataset mkg_y --data-root DIR

The variants are the paper's loss at three weights, the softmax over the
batch of the released code, a condition without a gradient to the model, one
backward pass for both sides, and faster generators.
All variants share the same seeds. Differences are taken seed by seed, with
Student's interval over seeds, for all test triples and by what their entities
lack.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from study.budgets import apply_budget, settings
from study.cells import Cell
from study.report import (
    Table,
    by_row,
    protocol,
    read_results,
    validation_mrr,
    write_results,
    write_table,
)
from study.runner import folder_of, main, root_of, run_cells, wanted
from study.stats import interval

from pyg_mmkgc.evaluation import evaluate
from pyg_mmkgc.evaluation.compare import spread
from pyg_mmkgc.io import load_tensors

STUDY = 'mat'
REFERENCE = 'AdaMF'
IMPUTED = ('Imputed: of the same models, if synthetic embeddings stand for '
           'modalities that entities lack. ')
VARIANTS: dict[str, tuple[str, ...]] = {
    'weight 0.1': ('adversary.weight=0.1',),
    'weight 0.01': ('adversary.weight=0.01',),
    'weight 0.001': ('adversary.weight=0.001',),
    'released losses, weight 0.1': ('adversary.parity=released',
                                    'adversary.weight=0.1'),
    'released losses, weight 0.01': ('adversary.parity=released',
                                     'adversary.weight=0.01'),
    'detached condition, weight 0.1': ('adversary.detach=true',
                                       'adversary.weight=0.1'),
    'detached condition, weight 0.01': ('adversary.detach=true',
                                        'adversary.weight=0.01'),
    'one backward pass, weight 0.1': ('adversary.simultaneous=true',
                                      'adversary.weight=0.1'),
    'one backward pass, weight 0.01': ('adversary.simultaneous=true',
                                       'adversary.weight=0.01'),
    'generators at 1e-3, weight 0.1': ('adversary.lr=1e-3',
                                       'adversary.weight=0.1'),
}


def train(args: argparse.Namespace) -> None:
    """Trains all variants over seeds and writes the result file."""
    apply_budget(args)
    rows = wanted([REFERENCE, *VARIANTS], args)
    cells = []
    for row in rows:
        name = 'adamf' if row == REFERENCE else 'adamf_mat'
        cells += [Cell(row, f'{name}/{args.dataset}', (
            *VARIANTS.get(row, ()), *settings(args, row)), seed)
            for seed in args.seeds]
    results = run_cells(cells, args)
    folders = {cell.digest: folder_of(cell, args) for cell in cells}
    root = root_of(args.dataset, args)
    for result in results:
        if 'test' in result:
            result |= measure(str(folders[result['digest']]), root)
    write_results(STUDY, results, args)


def measure(folder: str, data_root: str | None) -> dict[str, Any]:
    """Measures a trained model by what entities lack and, with MAT, its
    synthetic embeddings.
    """
    from pyg_mmkgc.runs import Run

    run = Run.open(folder, data_root, 'cpu')  # The indices are on the CPU.
    model = run.load_model()  # Numbers the graph like the ranks.
    out = {'lacks': by_lack(Path(folder), run.graph)}
    if model.generator_modules() is not None:
        out |= synthetic(model, run.graph)
    return out


def nodes_with(graph: Any) -> dict[str, torch.Tensor]:
    """Returns the nodes ``[N]`` that have each modality."""
    return {name: mask.reshape(graph.num_nodes, -1).any(dim=1)
            for name, mask in graph.masks().items()}


@torch.no_grad()
def synthetic(model: Any, graph: Any) -> dict[str, Any]:
    """Compares synthetic and real embeddings after training, by modality:
    the ratio of their lengths, and their mean cosine. If nodes lack a
    modality, also ranks with synthetic embeddings in its place.
    """
    index = graph.split('train').edge_index[0].unique()[:4096]
    views = model.embed(index)
    generator = torch.Generator().manual_seed(0)
    out: dict[str, Any] = {'length': {}, 'cosine': {}}
    has = nodes_with(graph)
    for name, module in model.generators.items():
        mask = has[name][index]
        noise = torch.randn(index.numel(), module.noise_channels,
                            generator=generator)
        # Rows that replace missing features are not real embeddings.
        fake = module(views['structure'], noise)[mask]
        real = views[name][mask]
        out['length'][name] = float((fake.norm(dim=1)
                                     / real.norm(dim=1)).mean())
        out['cosine'][name] = float(torch.cosine_similarity(
            fake, real).mean())
    if not all(there.all() for there in has.values()):
        out['imputed'] = imputed(model, graph)
    return out


@torch.no_grad()
def imputed(model: Any, graph: Any) -> float:
    """Returns the test MRR if synthetic embeddings stand for modalities that
    nodes lack. Nodes without a structural embedding keep theirs.
    """
    has = nodes_with(graph)
    generator = torch.Generator().manual_seed(0)
    noise = {name: torch.randn(graph.num_nodes, module.noise_channels,
                               generator=generator)
             for name, module in model.generators.items()}
    embed = model.embed

    def with_synthetic(index: torch.Tensor) -> dict[str, torch.Tensor]:
        views = embed(index)
        there = (views['structure'] != 0).any(dim=-1)
        return views | {name: torch.where(
            (there & ~has[name][index]).unsqueeze(-1),
            module(views['structure'], noise[name][index]), views[name])
            for name, module in model.generators.items()}

    model.embed = with_synthetic
    try:
        return evaluate(model, graph, 'test').metrics()['mrr']
    finally:
        del model.embed


def by_lack(folder: Path, graph: Any) -> dict[str, Any]:
    """Returns the MRR of the rankings of test triples with an entity that
    lacks a modality, or that has no training triple and therefore lacks a
    structural embedding, and of those whose entities lack nothing.
    """
    found, _ = load_tensors(folder / 'ranks.safetensors')
    has = nodes_with(graph)
    has['structure'] = torch.zeros(graph.num_nodes, dtype=torch.bool)
    has['structure'][graph.split('train').edge_index.flatten()] = True
    groups = {name: ~(there[found['head_index']] & there[found['tail_index']])
              for name, there in has.items()}
    groups['nothing'] = ~torch.stack(list(groups.values())).any(dim=0)
    return {name: {'count': int(rows.sum()),
                   'mrr': float((1 / found['rank'][rows]).mean())}
            for name, rows in groups.items() if rows.any()}


def lack_notes(found: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Returns a table of the differences by what entities lack. Older results
    have none.
    """
    plain = {x['seed']: x for x in found.get(REFERENCE, []) if 'lacks' in x}
    rows = {row: [x for x in runs if x['seed'] in plain and 'lacks' in x]
            for row, runs in found.items() if row != REFERENCE}
    rows = {row: runs for row, runs in rows.items() if runs}
    if not rows:
        return []
    first = next(iter(plain.values()))['lacks']
    cells: list[Sequence[str]] = [[
        name, str(group['count']),
        spread([100 * x['lacks'][name]['mrr'] for x in plain.values()]),
        *(difference([100 * (x['lacks'][name]['mrr']
                             - plain[x['seed']]['lacks'][name]['mrr'])
                      for x in runs]) for runs in rows.values())]
        for name, group in first.items()]
    table = Table(
        'MRR of AdaMF, and differences from it as above, for the rankings of '
        'test triples whose head or tail lacks a modality. An entity without '
        'structure is in no training triple.',
        ['lacks', 'rankings', REFERENCE, *rows], cells)
    return ['## By what an entity of the triple lacks', '',
            *table.markdown().splitlines()]


def difference(values: list[float]) -> str:
    """Returns the mean of differences, and half of its 95 % interval."""
    half = f' ± {interval(values):.2f}' if len(values) > 1 else ''
    return f'{sum(values) / len(values):+.2f}{half}'


def report(args: argparse.Namespace) -> None:
    """Creates the table from the result file."""
    head, results = read_results(STUDY, args)
    found = by_row(results)
    plain = {x['seed']: x for x in found.get(REFERENCE, [])}
    rows = []
    for row, runs in found.items():
        cells = [row, str(len(runs))]
        cells += [spread([100 * x['test'][m] for x in runs])
                  for m in ('mrr', 'hits@1', 'hits@10')]
        pairs = [100 * (x['test']['mrr'] - plain[x['seed']]['test']['mrr'])
                 for x in runs if x['seed'] in plain]
        cells.append('' if row == REFERENCE or not pairs else
                     difference(pairs))
        cells.append(validation_mrr(runs))
        for key in ('length', 'cosine'):
            cells.append(', '.join(
                f'{name} ' + spread([x[key][name] for x in runs])
                for name in runs[0].get(key, {})))
        # Older results have none.
        cells.append(spread([100 * x['imputed'] for x in runs])
                     if all('imputed' in x for x in runs) else '')
        rows.append(cells)
    columns = ['', 'seeds', 'MRR', 'Hits@1', 'Hits@10',
               'difference from AdaMF', 'validation MRR', 'length', 'cosine',
               'imputed MRR']
    imputes = any(cells[-1] for cells in rows)
    table = Table(
        'Difference: MRR minus the MRR of AdaMF with the same seed, mean and '
        "half the width of Student's 95 % interval over seeds. Length and "
        'cosine: of synthetic embeddings after training, relative to the real '
        'ones of the same entities. '
        + IMPUTED * imputes + protocol(head, results),
        columns if imputes else columns[:-1],
        rows if imputes else [cells[:-1] for cells in rows])
    write_table(STUDY, f'Does MAT help on {args.dataset}?', table, args,
                lack_notes(found))


if __name__ == '__main__':
    main(__doc__, train, report, unused=('trials',))
