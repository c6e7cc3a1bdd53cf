"""Figure 5 of AdaMF-MAT: the weights of the modalities, by relation.

    python benchmarks/figure5.py --dataset mkg_y --data-root DIR

The test triples are grouped by relation. The bars show the mean weights of
their entities for AdaMF without and with MAT. Beyond the paper, it shows the
weights of entities by their degree in the training triples, and by the
presence of the modality.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from study.budgets import apply_budget, settings
from study.cells import Cell
from study.figures import COLORS, axes, save, style
from study.report import (
    Table,
    protocol,
    read_results,
    write_results,
    write_table,
)
from study.runner import folder_of, main, root_of, run_cells

STUDY = 'figure5'
MODELS = {'AdaMF': 'adamf', 'AdaMF-MAT': 'adamf_mat'}
NUM_RELATIONS = 8
HATCHES = ('', '//', '..', 'xx')


def train(args: argparse.Namespace) -> None:
    """Trains both models over seeds, measures their weights and writes the
    result file.
    """
    apply_budget(args)
    cells = [Cell(row, f'{config}/{args.dataset}', settings(args, row), seed)
             for row, config in MODELS.items() for seed in args.seeds]
    results = run_cells(cells, args)
    by_digest = {cell.digest: cell for cell in cells}
    for result in results:
        if 'test' in result:  # Diverged trainings have no model.
            cell = by_digest[result['digest']]
            result |= weights_of(str(folder_of(cell, args)),
                                 root_of(args.dataset, args))
    write_results(STUDY, results, args)


@torch.no_grad()
def weights_of(folder: str, data_root: str | None) -> dict[str, Any]:
    """Returns mean weights by relation, degree and presence of a modality."""
    from pyg_mmkgc.runs import Run

    run = Run.open(folder, data_root, 'cpu')  # The indices are on the CPU.
    model, graph = run.load_model(), run.graph
    index = torch.arange(graph.num_nodes)
    weight = torch.cat([model.fuser.weights(model.embed(part))
                        for part in index.split(4096)])
    test = graph.split('test')
    ends = test.edge_index.t()
    names = graph.relation_names
    relations = []
    for rel, count in zip(*test.edge_type.unique(return_counts=True),
                          strict=True):
        nodes = ends[test.edge_type == rel].reshape(-1)
        relations.append({'relation': names[int(rel)], 'count': int(count),
                          'weights': weight[nodes].mean(dim=0).tolist()})
    degree = torch.bincount(graph.split('train').edge_index.reshape(-1),
                            minlength=graph.num_nodes)
    # 0, 1, 2 to 3, 4 to 7, ...
    group = torch.where(degree > 0, degree.float().log2().floor() + 1, 0)
    degrees = [{'from': 0 if g == 0 else 2 ** (int(g) - 1),
                'count': int((group == g).sum()),
                'weights': weight[group == g].mean(dim=0).tolist()}
               for g in group.unique()]
    presence = [{'modality': name, 'present': there, 'count': int(rows.sum()),
                 'weights': weight[rows].mean(dim=0).tolist()}
                for name, mask in graph.masks().items()
                for there, rows in ((True, mask), (False, ~mask))
                if rows.any()]
    return {'names': list(model.fuser.names), 'relations': relations,
            'degrees': degrees, 'presence': presence}


def mean(items: list[list[float]]) -> list[float]:
    """Returns the mean over seeds."""
    return torch.tensor(items).mean(dim=0).tolist()


def report(args: argparse.Namespace) -> None:
    """Creates the figures and the table from the result file."""
    head, results = read_results(STUDY, args)
    rows: dict[str, list[dict[str, Any]]] = {
        row: [x for x in results if x['row'] == row and 'names' in x]
        for row in MODELS}
    rows = {row: found for row, found in rows.items() if found}
    if not rows:
        raise SystemExit(f'Expected a finished training on {args.dataset} '
                         'with weights to show (got none, or only diverged '
                         'ones)')
    largest = sorted(next(iter(rows.values()))[0]['relations'],
                     key=lambda x: -x['count'])[:NUM_RELATIONS]
    relations = [x['relation'] for x in largest]
    figures = [plot_relations(rows, relations, args),
               plot_degrees(rows, args)]
    cells = []
    for row, found in rows.items():
        for relation in relations:
            values = mean([r['weights'] for x in found
                           for r in x['relations']
                           if r['relation'] == relation])
            cells.append([row, relation, *(f'{100 * v:.1f}' for v in values)])
        for entry in found[0]['presence']:
            values = mean([p['weights'] for x in found for p in x['presence']
                           if (p['modality'], p['present'])
                           == (entry['modality'], entry['present'])])
            word = 'with' if entry['present'] else 'without'
            cells.append([row, f"all entities {word} {entry['modality']} "
                          f"({entry['count']:,})",
                          *(f'{100 * v:.1f}' for v in values)])
    table = Table(
        'Mean weights of the modalities in percent, over the entities of the '
        f'test triples of the {len(relations)} largest relations, and over '
        'all entities that have or lack a modality; means over seeds. Dashed '
        'lines: without MAT. '
        + protocol(head, results),
        ['model', 'relation', *next(iter(rows.values()))[0]['names']], cells)
    write_table(STUDY, f'Modality weights on {args.dataset}', table, args,
                figures=figures)


def plot_relations(rows: dict[str, list[dict[str, Any]]],
                   relations: list[str], args: argparse.Namespace) -> str:
    """Plots stacked bars with one panel per model."""
    figure, axs = axes(5.0 * len(rows) + 1, 0.4 * len(relations) + 1.8,
                       ncols=len(rows), sharey=True, squeeze=False)
    for ax, (row, found) in zip(axs[0], rows.items(), strict=True):
        left = [0.0] * len(relations)
        values = [mean([r['weights'] for x in found for r in x['relations']
                        if r['relation'] == relation])
                  for relation in relations]
        for i, name in enumerate(found[0]['names']):
            width = [100 * x[i] for x in values]
            ax.barh(relations, width, left=left, color=COLORS[i],
                    hatch=HATCHES[i % len(HATCHES)], edgecolor='white',
                    label=name)
            left = [a + b for a, b in zip(left, width, strict=True)]
        ax.set_xlim(0, 100)
        ax.set_xlabel('mean weight (%)')
        ax.set_title(row)
    axs[0][0].invert_yaxis()
    axs[0][-1].legend(frameon=False, loc='center left',
                      bbox_to_anchor=(1, 0.5))
    figure.tight_layout()
    return save(figure, STUDY, args)


def plot_degrees(rows: dict[str, list[dict[str, Any]]],
                 args: argparse.Namespace) -> str:
    """Plots weights against degrees, with a line per modality and model."""
    figure, ax = axes()
    for row, found in rows.items():
        starts = [x['from'] for x in found[0]['degrees']]
        values = [mean([d['weights'] for x in found for d in x['degrees']
                        if d['from'] == start]) for start in starts]
        for i, name in enumerate(found[0]['names']):
            ax.plot(starts, [100 * x[i] for x in values],
                    label=f'{name}, {row}', **style(i, row == 'AdaMF'))
    ax.set_xscale('symlog', base=2, linthresh=1)
    ax.xaxis.set_major_formatter('{x:g}')
    ax.set_xlabel('training triples of the entity, at least')
    ax.set_ylabel('mean weight (%)')
    ax.set_title(f'{args.dataset}: weights by degree')
    ax.legend(frameon=False, loc='center left', bbox_to_anchor=(1, 0.5))
    return save(figure, STUDY, args, '_degree')


if __name__ == '__main__':
    main(__doc__, train, report, unused=('rows', 'trials'))
