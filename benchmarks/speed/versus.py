r"""Measures two checkouts in turns (A B A B ...), a process for each part.

.. code-block:: sh

    python benchmarks/speed/versus.py OLD NEW models ranking:full \
        --data-root DIR --rounds 3 --out versus.json

Prints the median of each row for both checkouts, and their ratio. The parts
come from the checkout of this file and run on the packages of both.
"""

import argparse
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def commit(checkout: Path) -> str:
    done = subprocess.run(['git', 'describe', '--always', '--dirty'],
                          cwd=checkout, text=True, capture_output=True,
                          check=True)
    return done.stdout.strip()


def measure(checkout: Path, part: str,
            args: argparse.Namespace) -> dict[str, Any]:
    """Returns the rows of a part, by its name and theirs."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, HERE / 'run.py', part, '--data-root',
             args.data_root, '--results', folder, '--threads',
             str(args.threads), '--repeat', str(args.repeat)],
            check=True, stdout=subprocess.DEVNULL,
            env={**os.environ, 'PYTHONPATH': str(checkout)})
        return {f'{path.stem}: {row["name"]}': row
                for path in sorted(Path(folder).glob('*.json'))
                for group in json.loads(path.read_text())['groups'].values()
                for row in group['rows']}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('old', type=Path)
    parser.add_argument('new', type=Path)
    parser.add_argument('parts', nargs='+')
    parser.add_argument('--data-root', required=True)
    parser.add_argument('--threads', type=int, default=os.cpu_count())
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--repeat', type=int, default=3)
    parser.add_argument('--out', type=Path)
    args = parser.parse_args()
    found: dict[str, dict[str, list[float]]] = {}
    units: dict[str, str] = {}
    sides = {'old': args.old.resolve(), 'new': args.new.resolve()}
    for part, _, side in itertools.product(args.parts, range(args.rounds),
                                           sides):
        for name, row in measure(sides[side], part, args).items():
            found.setdefault(name, {'old': [], 'new': []})[side].append(
                row['median'])
            units[name] = row['unit']
    rows = []
    print(f'{"":<60}{"old":>10}{"new":>10}{"new/old":>9}')
    for name, values in found.items():
        if not all(values.values()):
            continue
        old, new = (statistics.median(values[x]) for x in ('old', 'new'))
        rows.append({'name': name, 'unit': units[name], 'old': old,
                     'new': new, 'ratio': new / old if old else None,
                     'values': values})
        print(f'{name:<60.60}{old:>10.4g}{new:>10.4g}'
              f'{new / old if old else float("nan"):>9.3f}')
    if args.out is not None:
        args.out.write_text(json.dumps({
            'command': ' '.join(
                {str(args.old): 'OLD', str(args.new): 'NEW',
                 args.data_root: 'DIR'}.get(x, x) for x in sys.argv[1:]),
            'old': commit(args.old), 'new': commit(args.new),
            'machine': {'cpu': _cpu(), 'threads': args.threads,
                        'python': platform.python_version()},
            'protocol': f'{args.rounds} rounds, old and new in turns, each '
                        f'in a process of its own; the median of the '
                        f'medians of {args.repeat} repetitions',
            'rows': rows}, indent=1) + '\n')


def _cpu() -> str:
    lines = Path('/proc/cpuinfo').read_text().splitlines()
    return next((line.partition(':')[2].strip() for line in lines
                 if line.startswith('model name')), platform.processor())


if __name__ == '__main__':
    main()
