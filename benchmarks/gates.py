"""The modalities in path models: their gates by relation, and the loss of MRR
without each modality.

    python benchmarks/gates.py RUN --dataset mkg_w --data-root DATA \
        --results DIR --triples 1000

RUN is the folder of a run of a path model with features. Without a modality,
all nodes share its mean features. `--report` creates the table from an
existing result file.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from study.report import Table, command_of, path_of, short, write_table
from zero_shot import sample

from pyg_mmkgc.evaluation import compare, evaluate
from pyg_mmkgc.evaluation.explain import WithoutFeatures
from pyg_mmkgc.io.atomic import write_atomic
from pyg_mmkgc.io.provenance import provenance
from pyg_mmkgc.runs import Run

STUDY = 'gates'


def measure(args: argparse.Namespace) -> None:
    """Reads the gates, ranks without each modality, and writes the result
    file.
    """
    run = Run.open(str(args.run), args.data_root, args.device)
    model: Any = run.load_model()
    kg = run.graph
    count = torch.bincount(kg.split('train').edge_type,
                           minlength=kg.num_relations)
    if args.triples:
        kg = sample(kg, args.triples, args.seed)
    model.attach(kg)
    every = torch.arange(kg.num_relations, device=next(
        model.parameters()).device)
    gates = {side: {name: x.tolist() for name, x
                    in model.modality_gates(every, side).items()}
             for side in ('head', 'tail')}
    result = evaluate(model, kg)
    line: dict[str, Any] = {
        'study': STUDY, 'dataset': args.dataset, 'command': command_of(args),
        'model': run.config.model.name, 'protocol': result.protocol,
        'relations': kg.relation_names, 'count': count.tolist(),
        'gates': gates, 'test': result.metrics(),
        'entities': result.slices['entities'], 'without': {}, **provenance()}
    for name in model.modalities:
        other = evaluate(WithoutFeatures(model.without(name)), kg)
        found = compare(result, other, names=['with', 'without'])
        line['without'][name] = {
            'test': other.metrics(), 'entities': other.slices['entities'],
            'difference': str(found.differences['without']['mrr'])}
    args.results.mkdir(parents=True, exist_ok=True)
    write_atomic(path_of(STUDY, args).with_suffix('.jsonl'),
                 json.dumps(line) + '\n')


def report(args: argparse.Namespace) -> None:
    """Creates the table from the result file."""
    path = path_of(STUDY, args).with_suffix('.jsonl')
    line = json.loads(path.read_text())
    names = list(line['without'])
    rows = [['all', f"{100 * line['test']['mrr']:.2f}",
             *_entities(line['entities']), '']]
    rows += [[f'without {name}', f"{100 * x['test']['mrr']:.2f}",
              *_entities(x['entities']), x['difference']]
             for name, x in line['without'].items()]
    p = line['protocol']
    table = Table(
        f"{line['model']}; {p['num_triples']} {p['split']} triples, sides: "
        f"{' and '.join(p['sides'])}, filter: {p['filter']}, {p['ties']} "
        'ranks, in percent. Without a modality, all entities share its mean '
        'features, in the same trained model. Difference of MRR with the 95 % '
        'interval of a paired bootstrap over rankings. Unseen: rankings with '
        'an entity that is in no training triple. '
        f"`{line['command']}`, commit {short(str(line['commit']))}, "
        f"{line['platform']}.",
        ['', 'MRR', 'others MRR', 'unseen MRR', 'difference'], rows)
    order = sorted(range(len(line['count'])),
                   key=lambda r: -line['count'][r])[:args.relations]
    gates = line['gates']
    by_relation = Table(
        'The factor of each modality in the score of tails / heads.',
        ['relation', 'training triples', *names],
        [[line['relations'][r] if line['relations'] else str(r),
          str(line['count'][r]),
          *(f"{gates['tail'][name][r][1]:.2f} / "
            f"{gates['head'][name][r][1]:.2f}" for name in names)]
         for r in order])
    notes = [f'## Gates of the {len(order)} most frequent relations', '',
             *by_relation.markdown().splitlines()]
    write_table(STUDY, f'Modalities in a path model on {args.dataset}', table,
                args, notes)


def _entities(slices: dict[str, Any]) -> list[str]:
    return [f"{100 * slices[name]['mrr']:.2f}" if name in slices else ''
            for name in ('seen', 'unseen')]


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('run', nargs='?', type=Path, metavar='RUN')
    parser.add_argument('--dataset', required=True)
    parser.add_argument('--data-root')
    parser.add_argument('--results', type=Path, required=True)
    parser.add_argument('--triples', type=int, default=0,
                        help='a sample of the test triples (all)')
    parser.add_argument('--seed', type=int, default=0, help='of the sample')
    parser.add_argument('--relations', type=int, default=20,
                        help='the number of relations in the table')
    parser.add_argument('--device')
    parser.add_argument('--report', action='store_true')
    given = parser.parse_args()
    if not given.report:
        if given.run is None:
            parser.error('Expected RUN (got none)')
        measure(given)
    report(given)
