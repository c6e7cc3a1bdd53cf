"""Reproduces all tables and figures, one by one, with the same options.

python benchmarks/reproduce.py --dataset countries --budget quick

--trials is only passed to table2, which runs the search. --dataset is passed
to all except table1, which shows all datasets.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

STUDIES = ('table1', 'table2', 'table3', 'figure3', 'figure4', 'figure5',
           'mat', 'efficiency')


def main() -> None:
    here = Path(__file__).resolve().parent
    options = sys.argv[1:]
    if {'-h', '--help'} & set(options):
        print(__doc__)
        options = ['--help']
        raise SystemExit(subprocess.call(
            [sys.executable, str(here / 'table2.py'), *options]))
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument('--dataset')
    parser.add_argument('--trials')
    parser.add_argument('--rows', nargs='*')
    given, shared = parser.parse_known_args(options)
    if given.rows is not None:
        parser.error('--rows: every study has its own rows: run the study')
    failed = []
    for study in STUDIES:
        start = time.monotonic()
        print(f'== {study}', flush=True)
        own = list(shared)
        if given.dataset is not None and study != 'table1':
            own += ['--dataset', given.dataset]
        if given.trials is not None and study == 'table2':
            own += ['--trials', given.trials]
        status = subprocess.call(
            [sys.executable, str(here / f'{study}.py'), *own])
        print(f'== {study}: {time.monotonic() - start:.0f} s', flush=True)
        if status != 0:
            failed.append(study)
    if failed:
        raise SystemExit(f'Expected all tables and figures to be created (got '
                         f'failures of {", ".join(failed)})')


if __name__ == '__main__':
    main()
