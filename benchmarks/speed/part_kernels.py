"""Compiled loops against plain PyTorch, the same calls in two processes:
one has numba and, on a GPU, triton; from the other they are hidden.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from peer import Peer
from protocol import Row, Setup, ratio, row

SIDES = ('compiled', 'plain')
NAMES = {1: 'L1 distance', 2: 'complex moduli', 4: 'blocks of 4'}


@contextmanager
def _peers(setup: Setup) -> Iterator[dict[str, Peer]]:
    with ExitStack() as stack:
        yield {side: stack.enter_context(Peer(
            sys.executable, 'peer_kernels.py', side, str(setup.device),
            str(torch.get_num_threads()), str(setup.quick),
            str(setup.data_root or ''), log=setup.scratch / f'{side}.log'))
            for side in SIDES}


def _pair(name: str, found: dict[str, list[float]]) -> list[Row]:
    return [*(row(f'{name}: {side}', [1e3 * x for x in found[side]], 'ms')
              for side in SIDES),
            ratio(f'{name}: plain / compiled', found['plain'],
                  found['compiled'])]


def _error(sums: dict[str, list[float]]) -> float:
    return max(abs(a - b) / max(abs(b), 1e-30)
               for a, b in zip(sums['compiled'], sums['plain'], strict=True))


def kernels(setup: Setup) -> list[Row]:
    """Distances of B=1024 positives to K=128 candidates each among 3,000
    rows, d=200, forward and backward; and of 64 queries to 15,000 rows.
    """
    out = []
    with _peers(setup) as peers:
        for group, kind in NAMES.items():
            times: dict[str, dict[str, list[float]]] = {
                task: {side: [] for side in SIDES}
                for task in ('forward', 'backward', 'ranking')}
            sums: dict[str, list[float]] = {}
            for round_ in range(setup.repeat + 1):
                for side in SIDES:
                    found = peers[side].ask('candidates', group=group)
                    dense = peers[side].ask('dense', group=group)
                    sums[side] = found['sums'] + dense['sums']
                    if round_ > 0:
                        for task, seconds in zip(
                                times, found['seconds'] + dense['seconds'],
                                strict=True):
                            times[task][side].append(seconds)
            for task, values in times.items():
                out += _pair(f'{kind}: {task}', values)
            out.append(row(
                f'{kind}: largest relative difference of the sums of scores '
                'and gradients', _error(sums), '', setup.bar(('<=', 1e-5),
                                                             ('<=', 1e-5)),
                numba={side: peers[side].ask('has_numba')
                       for side in SIDES}))
    return out


def training(setup: Setup) -> list[Row]:
    """A step of AdaMF-MAT at the full size of DB15K; the loss of an epoch
    on MKG-W, and its ranks.
    """
    out = []
    with _peers(setup) as peers:
        for sampler in ('pooled', 'bernoulli'):
            def task(side: str, sampler: str = sampler) -> Callable[[], Any]:
                return lambda: peers[side].ask('step',
                                               sampler=sampler)['seconds']

            out += _pair(f'step, {sampler}', setup.interleave(
                {side: task(side) for side in SIDES}))
        found = {side: peers[side].ask('loss') for side in SIDES}
    a, b = (found[side] for side in SIDES)
    out.append(row('loss of an epoch: relative difference',
                   abs(a['loss'] - b['loss']) / abs(b['loss']), '',
                   setup.bar(('<=', 1e-5), ('<=', 1e-5))))
    out.append(row('ranks on MKG-W: 1 if all are the same',
                   float(a['ranks'] == b['ranks']), '',
                   setup.bar(('>=', 1.0), ('>=', 1.0)),
                   mean_rank={side: x['mean_rank']
                              for side, x in found.items()}))
    return out


GROUPS = {'kernels': kernels, 'training': training}
