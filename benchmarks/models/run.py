"""Any models of the package, over seeds, beside the published rows.

With ``--search``, all combinations of the values given are trained with the
first seed, and the best on validation is trained with the others: an equal
budget for every model. What was tried is written down beside the result.
"""

import argparse
import itertools
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from grid import Cell, add_arguments, run_all, table, write  # noqa: E402
from published import TABLE_2  # noqa: E402

# Names of configurations that are not the published names in lower case.
LABELS = {'adamf_mat': 'AdaMF-MAT', 'gc_ote': 'GC-OTE',
          'kbgan_transe': 'KBGAN(TransE)', 'kbgan_transd': 'KBGAN(TransD)',
          'mmrns_rotate': 'MMRNS(RotatE)'}


def label(model: str) -> str:
    """The name of a model in the paper's table, where it is there."""
    names = {name.lower(): name for name in TABLE_2['mkg_w']}
    return LABELS.get(model, names.get(model, model))


def trials(model: str, args: argparse.Namespace) -> list[Cell]:
    """The first seed with every combination of the values to try."""
    axes = [[(key, value) for value in values.split(',')]
            for key, _, values in (x.partition('=') for x in args.search)]
    out = []
    for choice in itertools.product(*axes):
        words = tuple(f'{key}={value}' for key, value in choice)
        out.append(Cell(
            label(model), args.seeds[0], f'{model}/{args.dataset}',
            (f'training.seed={args.seeds[0]}', *args.set, *words),
            trial='-'.join(words)))
    return out


def train(model: str, args: argparse.Namespace) -> tuple[
        list[dict[str, Any]], list[dict[str, Any]]]:
    """The runs of a model over seeds, and what was tried before them."""
    cells = trials(model, args)
    found = run_all(cells, args)
    tried = [{'model': label(model), 'options': list(cell.overrides[1:]),
              'val_mrr': result['val']['mrr']}
             for cell, result in zip(cells, found, strict=True)]
    best = max(range(len(found)), key=lambda i: tried[i]['val_mrr'])
    others = [cells[best]._replace(seed=seed, overrides=(
        f'training.seed={seed}', *cells[best].overrides[1:]))
        for seed in args.seeds[1:]]
    return [found[best], *run_all(others, args)], tried


def main() -> None:
    """Trains what is missing and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('name', help='of the result files')
    parser.add_argument('--models', nargs='+', required=True,
                        help='names of configurations, as `mmkgc models` '
                        'lists them')
    parser.add_argument('--search', nargs='+', default=[],
                        metavar='KEY=V1,V2', help='values to choose from')
    add_arguments(parser, 'models')
    args = parser.parse_args()
    results, tried = [], []
    for model in args.models:
        runs, options = train(model, args)
        results += runs
        tried += options
    rows = {result['row'] for result in results}
    published = {row: values for row, values in
                 TABLE_2.get(args.dataset, {}).items() if row in rows}
    lines = [f"- {x['model']} {' '.join(x['options'])}: "
             f"{100 * x['val_mrr']:.2f}" for x in tried]
    text = '\n'.join([
        table(results, published, 'published, multi-modal: S+V+T'), '',
        f'Tried with seed {args.seeds[0]}, validation MRR:', '', *lines])
    write(f'{args.name}_{args.dataset}',
          f'{args.name.capitalize()} models on {args.dataset}',
          'benchmarks/models/run.py', text, results, args, tried=tried)


if __name__ == '__main__':
    main()
