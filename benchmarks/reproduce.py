"""Every table and figure, one after the other, with the same options.

python benchmarks/reproduce.py --dataset countries --budget quick
"""

import subprocess
import sys
import time
from pathlib import Path

STUDIES = ('table1', 'table2', 'table3', 'figure3', 'figure4', 'figure5',
           'efficiency')


def main() -> None:
    here = Path(__file__).resolve().parent
    options = sys.argv[1:]
    if {'-h', '--help'} & set(options):
        print(__doc__)
        options = ['--help']
        raise SystemExit(subprocess.call(
            [sys.executable, str(here / 'table2.py'), *options]))
    failed = []
    for study in STUDIES:
        start = time.monotonic()
        print(f'== {study}', flush=True)
        status = subprocess.call(
            [sys.executable, str(here / f'{study}.py'), *options])
        print(f'== {study}: {time.monotonic() - start:.0f} s', flush=True)
        if status != 0:
            failed.append(study)
    if failed:
        raise SystemExit(f'failed: {", ".join(failed)}')


if __name__ == '__main__':
    main()
