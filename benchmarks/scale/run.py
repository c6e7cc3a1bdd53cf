r"""Measures seconds and memory on graphs with up to millions of nodes.

.. code-block:: sh

    python benchmarks/scale/run.py --nodes 10000 100000 1000000
    python benchmarks/scale/run.py --nodes 1000000 --processes 1 2
    python benchmarks/scale/run.py --nodes 1000000 --missing 0.3
    python benchmarks/scale/run.py --nodes 1000000 --text
    python benchmarks/scale/run.py --nodes 4000000 --optimizer adagrad

Each size is measured in new processes, started by torchrun if there are
several. A group that is in the results is not measured again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Measures large graphs.')
    parser.add_argument('--nodes', type=int, nargs='+',
                        default=[10_000, 100_000, 1_000_000])
    parser.add_argument('--processes', type=int, nargs='+', default=[1])
    parser.add_argument('--optimizer', choices=['adam', 'adagrad'],
                        default='adam')
    parser.add_argument('--channels', type=int, default=200,
                        help='complex numbers of an embedding')
    parser.add_argument('--features', type=int, default=384)
    parser.add_argument('--missing', type=float, default=0.0,
                        help='share of nodes without features')
    parser.add_argument('--triples-per-node', type=int, default=5)
    parser.add_argument('--relations', type=int, default=100)
    parser.add_argument('--steps', type=int, default=200)
    parser.add_argument('--batch-size', type=int, default=1024)
    parser.add_argument('--results', type=Path, default=HERE / 'results')
    parser.add_argument('--scratch', type=Path,
                        help='folder for graphs and checkpoints '
                        '(default: temporary)')
    parser.add_argument('--text', action='store_true',
                        help='measure reading the triples from text instead')
    parser.add_argument('--force', action='store_true')
    return parser.parse_args()


def main() -> None:
    args = parse()
    args.results.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
        for nodes in args.nodes:
            folder = Path(scratch, str(nodes))
            for size in [1] if args.text else args.processes:
                missing = f'-{args.missing:g}-missing' if args.missing else ''
                name = (f'{nodes}-text.json' if args.text else
                        f'{nodes}-{args.optimizer}-{size}{missing}.json')
                if (args.results / name).exists() and not args.force:
                    print(f'{name}: measured already')
                    continue
                if not folder.exists():
                    child(args, 1, 'make', folder, nodes)
                child(args, size, 'text' if args.text else 'measure', folder,
                      nodes, args.results / name)
                print((args.results / name).read_text())


def child(args: argparse.Namespace, size: int, action: str, folder: Path,
          nodes: int, out: Path | None = None) -> None:
    r"""Runs an action of :obj:`worker.py` in new processes."""
    options = {**vars(args), 'nodes': nodes, 'action': action,
               'folder': folder, 'out': out}
    start = [sys.executable] if size == 1 else [
        sys.executable, '-m', 'torch.distributed.run', '--standalone',
        f'--nproc-per-node={size}']
    subprocess.run([*start, str(HERE / 'worker.py'), json.dumps(
        options, default=str)], check=True, env={
            **os.environ, 'PYTHONPATH': os.pathsep.join(
                path for path in sys.path if path)})


if __name__ == '__main__':
    main()
