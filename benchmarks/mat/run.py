"""RotatE, AdaMF and AdaMF-MAT side by side, over seeds and lambda."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from grid import Cell, add_arguments, run_all, table, write  # noqa: E402
from published import TABLE_2  # noqa: E402

LABELS = {'rotate': 'RotatE', 'adamf': 'AdaMF', 'adamf_mat': 'AdaMF-MAT'}


def cells(args: argparse.Namespace) -> list[Cell]:
    """The grid, seed by seed, so that a stop leaves whole comparisons."""
    out = []
    for seed in args.seeds:
        common = (f'training.seed={seed}', *args.set)
        for model in args.models:
            config = f'{model}/{args.dataset}'
            if model != 'adamf_mat':
                out.append(Cell(LABELS[model], seed, config, common))
                continue
            out += [Cell(f'AdaMF-MAT, lambda {weight}', seed, config, (
                f'adversary.weight={weight}', *common))
                for weight in args.weights]
    return out


def main() -> None:
    """Trains what is missing and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--models', nargs='+', default=list(LABELS),
                        choices=list(LABELS))
    parser.add_argument('--weights', nargs='+', type=float, default=[0.01],
                        help='lambda of MAT')
    add_arguments(parser, 'mat')
    args = parser.parse_args()
    results = run_all(cells(args), args)
    published = {row: values for row, values in
                 TABLE_2.get(args.dataset, {}).items()
                 if row in LABELS.values()}
    write(f'mat_{args.dataset}',
          f'RotatE, AdaMF and AdaMF-MAT on {args.dataset}',
          'benchmarks/mat/run.py',
          table(results, published, 'published, S+V+T'), results, args)


if __name__ == '__main__':
    main()
