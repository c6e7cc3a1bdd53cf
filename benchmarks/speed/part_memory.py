"""Peak memory, with each case in its own process.

On the CPU, it is the resident set, and on a GPU, the memory held by torch.
'Peak' refers to the whole process, including libraries, model and features;
'beside what was there' is the peak minus the memory in use before.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from protocol import Row, Setup, row

CHILD = Path(__file__).with_name('memory_child.py')
NODES = (15_000, 100_000, 1_000_000)
# The largest block of scores and the tensors derived from it: 64 MiB each.
BLOCK_BYTES = 4 * (1 << 24)


def _run(setup: Setup, case: str, **options: Any) -> dict[str, float]:
    spec = {'case': case, 'options': options, 'quick': setup.quick,
            'device': str(setup.device), 'threads': torch.get_num_threads(),
            'data_root': None if setup.data_root is None else
            str(setup.data_root)}
    done = subprocess.run([sys.executable, str(CHILD), json.dumps(spec)],
                          text=True, capture_output=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f'Expected {case} {options} to finish (got '
                           f'{done.stderr[-2000:]})')
    return json.loads(done.stdout.splitlines()[-1])


def _rows(name: str, found: list[dict[str, float]], bar: Any) -> list[Row]:
    return [
        row(f'{name}: peak', [x['peak'] / 1e9 for x in found], 'GB', bar,
            started=found[0]['started'], ready=found[0]['ready'],
            whole_process_with_setup=max(x['whole'] for x in found)),
        row(f'{name}: beside what was there',
            [(x['peak'] - x['ready']) / 1e9 for x in found], 'GB')]


def step(setup: Setup) -> list[Row]:
    """Steps of AdaMF-MAT at the full size of DB15K (features 4096 and 768,
    d=250, B=1024, K=128), with the features in memory.
    """
    out = []
    for sampler in ('pooled', 'bernoulli')[:1 if setup.quick else 2]:
        for bits in (32, 16)[:1 if setup.quick else 2]:
            found = [_run(setup, 'step', sampler=sampler, bits=bits)
                     for _ in range(setup.repeat)]
            out += _rows(f'{sampler}, features fp{bits}', found,
                         setup.bar(('<=', 2.5)))
    return out


def ranking(setup: Setup) -> list[Row]:
    """Ranking of 100 test triples, both sides, d=200. For any number of
    nodes, the largest block has 16 Mi scores, and a table has at most 32,768
    rows. Four blocks of 64 MiB are enough for both.
    """
    out = []
    for name in ('RotatE', 'DistMult')[:1 if setup.quick else 2]:
        for num_nodes in (300, ) if setup.quick else NODES:
            found = [_run(setup, 'ranking', name=name, num_nodes=num_nodes)
                     for _ in range(min(3, setup.repeat))]
            rows = _rows(f'{name}, {num_nodes:,} nodes', found, None)
            detail = {'num_nodes': num_nodes, 'model': name}
            rows[1]['detail'] = detail
            blocks = row(f'{name}, {num_nodes:,} nodes: blocks of 64 MiB',
                         rows[1]['median'] * 1e9 / BLOCK_BYTES, 'blocks',
                         setup.bar(('<=', 4.0), ('<=', 4.0)))
            rows.append(blocks)
            out += [*rows, row(f'{name}, {num_nodes:,} nodes: time',
                               [x['seconds'] for x in found])]
    return out


GROUPS = {'step': step, 'ranking': ranking}
