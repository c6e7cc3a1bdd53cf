r"""Measures the speed of the library, and compares it to the machine's limits.

.. code-block:: sh

    python benchmarks/speed/run.py --data-root DIR            # all parts
    python benchmarks/speed/run.py training ranking:mkg_w --data-root DIR
    python benchmarks/speed/run.py --quick --results DIR      # smoke test

Each part consists of groups, whose rows are measured in the same run and
process. Groups that are already in the results are skipped.
"""

import argparse
import importlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PARTS = ('training', 'recipe', 'pyg_loop', 'sampling', 'ranking', 'pykeen',
         'memory', 'growth', 'roofline', 'kernels', 'models', 'paths')


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Measures speed and memory.',
        epilog=f'Parts: {", ".join(PARTS)}. PART:GROUP selects one group.')
    parser.add_argument('parts', nargs='*', default=list(PARTS),
                        metavar='PART[:GROUP]')
    parser.add_argument('--data-root', type=Path,
                        help='folder with MKG-W/ and DB15K/')
    parser.add_argument('--results', type=Path, default=None,
                        help='folder of the results (default: results/DEVICE)')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--threads', type=int, default=os.cpu_count())
    parser.add_argument('--repeat', type=int, default=None,
                        help='number of measured rounds (default: 5; with '
                        '--quick: 1)')
    parser.add_argument('--pykeen', type=Path, metavar='PYTHON',
                        help='a Python with the packages of requirements.txt')
    parser.add_argument('--scratch', type=Path,
                        help='folder for large files (default: temporary)')
    parser.add_argument('--quick', action='store_true',
                        help='use tiny sizes, as a smoke test')
    parser.add_argument('--force', action='store_true',
                        help='measure existing groups again')
    parser.add_argument('--list', action='store_true',
                        help='list parts and groups')
    args = parser.parse_args(argv)
    for name in args.parts:
        if name.partition(':')[0] not in PARTS:
            parser.error(f'Expected a part of {", ".join(PARTS)} (got '
                         f'{name!r})')
    if args.data_root is None and not (args.quick or args.list):
        parser.error('Expected --data-root or --quick (got neither)')
    return args


def main() -> int:
    args = parse()
    # torch and numba read this on import, here and in child processes.
    os.environ['OMP_NUM_THREADS'] = str(args.threads)
    os.environ['NUMBA_NUM_THREADS'] = str(args.threads)
    import torch
    from protocol import Setup

    torch.set_num_threads(args.threads)
    if args.results is None:
        args.results = HERE / 'results' / args.device.partition(':')[0]
    if args.list:
        for part in PARTS:
            groups = importlib.import_module(f'part_{part}').GROUPS
            print(f'{part}: {", ".join(groups)}')
        return 0
    args.results.mkdir(parents=True, exist_ok=True)
    failed = []
    with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
        setup = Setup(
            quick=args.quick, repeat=args.repeat or (1 if args.quick else 5),
            device=torch.device(args.device), scratch=Path(scratch),
            data_root=args.data_root, pykeen=args.pykeen)
        for name in args.parts:
            failed += measure(name, setup, args)
    from report import write_report

    write_report(args.results)
    print(args.results / 'README.md')
    if failed:
        print('failed: ' + ', '.join(failed), file=sys.stderr)
    return 1 if failed else 0


def measure(name: str, setup: Any, args: argparse.Namespace) -> list[str]:
    """Measures the selected groups of a part that are not in the results, and
    returns the failed ones.
    """
    from protocol import (
        TEXT,
        command,
        git,
        machine,
        save,
        versions,
    )

    part, _, only = name.partition(':')
    module = importlib.import_module(f'part_{part}')
    if only and only not in module.GROUPS:
        raise SystemExit(f'Expected groups of {part} among '
                         f'{", ".join(module.GROUPS)} (got {name!r})')
    path = args.results / f'{part}.json'
    content = json.loads(path.read_text()) if path.exists() else {
        'part': part, 'about': module.__doc__, 'protocol': TEXT, 'groups': {}}
    hidden = {str(x): word for x, word in (
        (args.data_root, 'DATA'), (args.pykeen, 'PYTHON'),
        (args.scratch, 'SCRATCH'), (args.results, 'RESULTS'))}
    failed = []
    for group, function in module.GROUPS.items():
        # A quick measurement does not replace a full one.
        there = group in content['groups'] and (
            setup.quick or not content['groups'][group]['quick'])
        if (only and group != only) or (there and not args.force):
            continue
        print(f'{part}:{group}', end=' ', flush=True)
        start, before = time.perf_counter(), machine(setup.device)
        try:
            rows = function(setup)
        except Exception as error:  # Continue with the other groups.
            if args.quick:
                raise
            print(f'failed: {type(error).__name__}: {error}')
            failed.append(f'{part}:{group}')
            continue
        minutes = (time.perf_counter() - start) / 60
        content['groups'][group] = {
            'about': ' '.join((function.__doc__ or '').split()),
            'rows': rows, 'quick': setup.quick, 'minutes': round(minutes, 2),
            'repeat': setup.repeat, 'machine': before,
            'load_average_after': machine(setup.device)['load_average'],
            'versions': versions(), 'commit': git('rev-parse', 'HEAD'),
            # Changes to other results do not affect the code.
            'changed_since_commit': bool(git(
                'status', '--porcelain', '-uno', '--', ':/', ':!results')),
            'command': command(hidden),
            'date': time.strftime('%Y-%m-%d', time.gmtime()),
        }
        save(path, content)
        print(f'{minutes:.1f} minutes', flush=True)
    return failed


if __name__ == '__main__':
    sys.exit(main())
