"""Ensembles of runs of several seeds, next to their members.

    python benchmarks/ensemble.py --dataset mkg_w --data-root DATA \
        --results DIR --member AdaMF RUNS/a0 RUNS/a1 RUNS/a2 \
        --member NBFNet RUNS/n0 RUNS/n1 RUNS/n2 --member ULTRA ultra_3g \
        --ensemble AdaMF ULTRA

A member is a name and one folder of a run per seed, or a model that needs no
training, which all seeds share. In addition to the ensemble of all members,
each `--ensemble` names the members of another ensemble. Weights are learned on
validation triples, for the graph and for each relation. `--weights` takes
them from another result file instead, for graphs whose validation triples
cannot be used, such as the published ones of DB15K. `--against` compares
the ensembles with rows of another table as well, given its file of reciprocal
ranks. Members score each query once for all ensembles and seeds. Until the
command ends, their scores are kept in files. `--report` creates the table
from an existing result file. If a file `ensemble_DATASET.txt` lies next to it,
its text is put below the table.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from study.queries import difference
from study.report import (
    Table,
    command_of,
    metric_cells,
    path_of,
    short,
    write_table,
)
from study.worker import machine
from torch import Tensor
from zero_shot import sample

from pyg_mmkgc.evaluation import RankingResult, evaluate
from pyg_mmkgc.evaluation.compare import spread
from pyg_mmkgc.evaluation.result import TieWarning
from pyg_mmkgc.evaluation.scorer import Scorer, scoring
from pyg_mmkgc.io import load_tensors, save_tensors
from pyg_mmkgc.io.atomic import write_atomic
from pyg_mmkgc.io.provenance import provenance
from pyg_mmkgc.nn import Ensemble
from pyg_mmkgc.runs.ensemble import load_members
from pyg_mmkgc.training import fit_weights
from pyg_mmkgc.typing import Side

STUDY = 'ensemble'
PER = ('graph', 'relation')
# The names of the members of each ensemble, and what has weights of its own.
Rows = dict[str, tuple[list[str], str]]


class Remembered(torch.nn.Module):
    """A model that scores each query once, and keeps the scores in a file.

    The scores of a model in evaluation mode on one graph do not change.
    """

    def __init__(self, model: torch.nn.Module, scorer: Scorer,
                 path: Path) -> None:
        super().__init__()
        self.model = model  # Its parameters tell the device of the scores.
        self.scorer, self.path = scorer, path
        self.rows: dict[tuple[str, int, int], int] = {}

    @property
    def num_nodes(self) -> int:
        return self.scorer.num_nodes

    def score_all(self, node: Tensor, rel_type: Tensor, side: Side) -> Tensor:
        """Returns the scores of all nodes, from the file if it has them."""
        keys = [(side, rel, n) for rel, n in zip(
            rel_type.tolist(), node.tolist(), strict=True)]
        new = torch.tensor([i for i, key in enumerate(keys)
                            if key not in self.rows], dtype=torch.long)
        if new.numel() > 0:
            scores = self.scorer(node[new], rel_type[new], side)
            with open(self.path, 'ab') as file:
                file.write(scores.float().cpu().numpy().tobytes())
            for i in new.tolist():
                self.rows[keys[i]] = len(self.rows)
        shape = len(self.rows), self.num_nodes
        stored = np.memmap(self.path, np.float32, 'r', shape=shape)
        return torch.from_numpy(stored[[self.rows[key] for key in keys]]).to(
            node.device)


def measure(args: argparse.Namespace) -> None:
    """Learns the weights, ranks, and writes the result files."""
    members = {name: paths for name, *paths in args.member}
    seeds = max(map(len, members.values()))
    if {len(paths) for paths in members.values()} > {1, seeds}:
        raise SystemExit('Expected one folder of each member, or one for '
                         f'each seed (got {members})')
    chosen = [set(names) for names in args.ensemble or []]
    unknown = set().union(*chosen) - set(members)
    if unknown:
        raise SystemExit(f'Expected members with --member (got {unknown})')
    # In the order of the members, so that no ensemble has two rows.
    wanted = [list(members), *([x for x in members if x in names]
                               for names in chosen)]
    rows = {f"{' + '.join(names)}, per {per}": (names, per)
            for names in wanted for per in PER}
    others = read_rows(args.against)
    fixed = read_weights(args.weights, rows)
    done: dict[str, Any] = {}
    results: dict[str, list[RankingResult]] = {}
    lines = []
    with (tempfile.TemporaryDirectory(dir=args.cache) as cache,
          ExitStack() as stack):
        for seed in range(seeds):
            paths = {name: found[min(seed, len(found) - 1)]
                     for name, found in members.items()}
            loaded, run = load_members(list(paths.values()), args.data_root,
                                       args.device)
            kg = run.graph
            if args.triples:
                kg = sample(kg, args.triples, 0)
            models: dict[str, Any] = {}
            for (name, path), model in zip(paths.items(), loaded.members,
                                           strict=True):
                if path not in done:
                    done[path] = Remembered(
                        model, stack.enter_context(scoring(model, kg)),
                        Path(cache, f'{len(done)}'))
                models[name] = done[path]
                if len(results.get(name, ())) < len(members[name]):
                    result = evaluate(models[name], kg)
                    results.setdefault(name, []).append(result)
                    lines.append(_line(name, seed, path, result))
            for row, (names, per) in rows.items():
                model = Ensemble([models[x] for x in names],
                                 kg.num_relations, names)
                if fixed is None:
                    fit = fit_weights(model, kg, per=per, seed=seed,
                                      num_queries=args.queries).to_dict()
                else:
                    common, weight = fixed[row]
                    fit = {'weight': dict(zip(names, common.tolist(),
                                              strict=True))}
                    model.weight.copy_(torch.from_numpy(weight))
                result = evaluate(model, kg)
                results.setdefault(row, []).append(result)
                lines.append({**_line(row, seed, None, result),
                              'members': names, 'fit': fit, 'weight': [
                                  [round(w, 5) for w in found]
                                  for found in model.weight.tolist()]})
    ranks = {row: torch.stack([1 / x.ranks.realistic for x in found]
                              ).mean(dim=0).float()
             for row, found in results.items()}
    head = {
        'study': STUDY, 'dataset': args.dataset, 'command': command_of(args),
        'machine': machine(), **provenance(),
        'threads': torch.get_num_threads(), 'queries': args.queries,
        'triples': args.triples, 'weights': args.weights and args.weights.name,
        'protocol': next(iter(results.values()))[0].protocol,
        'differences': _differences(
            {row: x.numpy() for row, x in ranks.items()}, rows, others)}
    path = path_of(STUDY, args)
    args.results.mkdir(parents=True, exist_ok=True)
    # For `mmkgc compare`.
    save_tensors(path.with_name(path.name + '_queries.safetensors'), ranks, {})
    write_atomic(path.with_suffix('.jsonl'), ''.join(
        json.dumps(line) + '\n' for line in [head, *lines]))


def _line(row: str, seed: int, path: str | None,
          result: RankingResult) -> dict[str, Any]:
    return {'row': row, 'seed': seed, 'test': result.metrics(),
            'slices': result.slices['entities'],
            **({} if path is None else {'member': Path(path).name})}


def read_weights(path: Path | None, rows: Rows
                 ) -> dict[str, tuple[np.ndarray, np.ndarray]] | None:
    """Reads the common weights `[M]` and the weights per relation `[R, M]` of
    each ensemble from a result file, as their means over seeds.
    """
    if path is None:
        return None
    lines = [json.loads(x) for x in path.read_text().splitlines()[1:]]
    out = {}
    for row, (names, _) in rows.items():
        found = [x for x in lines if x['row'] == row]
        if not found:
            raise SystemExit(f"Expected ensembles of '{path}' with --weights "
                             f'(got {row!r})')
        out[row] = (np.mean([[x['fit']['weight'][name] for name in names]
                             for x in found], axis=0),
                    np.mean([x['weight'] for x in found], axis=0))
    return out


def read_rows(against: list[str] | None) -> dict[str, np.ndarray]:
    """Reads some rows of the reciprocal ranks of another table."""
    if against is None:
        return {}
    path, *names = against
    found, _ = load_tensors(path)
    unknown = set(names) - set(found)
    if unknown:
        raise SystemExit(f"Expected rows of '{path}' with --against (got "
                         f'{sorted(unknown)})')
    table = Path(path).stem.removesuffix('_queries')
    return {f'{name} ({table})': found[name].numpy()
            for name in names or found}


def _differences(ranks: dict[str, np.ndarray], rows: Rows,
                 others: dict[str, np.ndarray]) -> dict[str, dict[str, str]]:
    """Returns the differences in MRR between each ensemble and each of its
    members and other rows, with a paired bootstrap.
    """
    size = next(iter(ranks.values())).size
    for name, x in others.items():
        if x.size != size:
            raise SystemExit(f'Expected {size} rankings of {name!r} with '
                             f'--against (got {x.size})')
    ranks = {**others, **ranks}
    return {row: {name: difference(ranks, row, name)
                  for name in [*names, *others]}
            for row, (names, _) in rows.items()}


def report(args: argparse.Namespace) -> None:
    """Creates the table from the result file."""
    path = path_of(STUDY, args).with_suffix('.jsonl')
    if not path.is_file():
        raise SystemExit(f"Expected a result file (got '{path}', which does "
                         'not exist). Run without --report to create it.')
    head, *lines = [json.loads(x) for x in path.read_text().splitlines()]
    rows: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        rows.setdefault(line['row'], []).append(line)
    cells = []
    for row, found in rows.items():
        validation = weights = ''
        fits = [x['fit'] for x in found if 'fit' in x]
        if fits:
            weights = ', '.join(
                f'{name} ' + spread([x['weight'][name] for x in fits])
                for name in fits[0]['weight'])
        if fits and 'mrr' in fits[0]:
            validation = spread([100 * x['mrr']['ensemble'] for x in fits])
        unseen = [x['slices'].get('unseen', {}).get('mrr') for x in found]
        cells.append([row, *metric_cells(found, None),
                      spread([100 * x for x in unseen])
                      if None not in unseen else '', validation, weights])
    p = head['protocol']
    table = Table(
        f"{p['split']} triples ({p['num_triples']}), sides: "
        f"{' and '.join(p['sides'])}, filter: {p['filter']}, {p['ties']} "
        'ranks, in percent; mean and sample standard deviation over seeds. '
        'Unseen: rankings with an entity that is in no training triple. '
        f"Weights: {_origin(head)}. `{head['command']}`, commit "
        f"{short(str(head['commit']))}, {head['machine']}, "
        f"{head['threads']} thread(s).",
        ['', 'seeds', 'MRR', 'Hits@1', 'Hits@3', 'Hits@10', 'unseen MRR',
         'validation MRR', 'weights'], cells)
    text = path.with_suffix('.txt')
    notes = [text.read_text('utf-8')] if text.is_file() else []
    notes += ['## Differences of MRR', '', 'With the 95 % interval of a '
              'paired bootstrap over rankings, of their means over seeds.', '']
    notes += [f'- {row}, less {name}: {text}'
              for row, found in head['differences'].items()
              for name, text in found.items()]
    write_table(STUDY, f'Ensembles on {args.dataset}', table, args, notes)


def _origin(head: dict[str, Any]) -> str:
    """Says where the weights come from."""
    if head.get('weights'):
        return f"those in `{head['weights']}`"
    number = 'all' if head['queries'] is None else f"{head['queries']} sampled"
    return (f'learned on {number} queries of validation triples, whose MRR is '
            'estimated from a part of the rivals; with weights per relation, '
            'the weights shown are the common ones')


def main() -> None:
    parser = argparse.ArgumentParser(description='Compares ensembles with '
                                     'their members.')
    parser.add_argument('--dataset', required=True,
                        help='the name in titles and files')
    parser.add_argument('--member', nargs='+', action='append', default=[],
                        metavar='NAME RUN', help='a name and folders')
    parser.add_argument('--ensemble', nargs='+', action='append',
                        metavar='NAME', help='the members of an ensemble')
    parser.add_argument('--against', nargs='+', metavar='FILE ROW',
                        help='a file of reciprocal ranks, and its rows (all)')
    parser.add_argument('--data-root')
    parser.add_argument('--results', type=Path, required=True)
    parser.add_argument('--weights', type=Path, metavar='FILE',
                        help='a result file whose weights are used (learned)')
    parser.add_argument('--queries', type=int,
                        help='a sample of the validation queries (all)')
    parser.add_argument('--triples', type=int, default=0,
                        help='a sample of the test triples (all)')
    parser.add_argument('--cache', help='where scores are kept meanwhile')
    parser.add_argument('--device')
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--report', action='store_true')
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if not args.report:
        with warnings.catch_warnings():  # Ranks are realistic.
            warnings.simplefilter('ignore', TieWarning)
            measure(args)
    report(args)


if __name__ == '__main__':
    main()
