"""Compiled loops against plain PyTorch, with the same calls in two processes.
One of them has numba and, on a GPU, triton, which are hidden from the other.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from exact_ranks import bounds, unexplained
from peer import Peer
from protocol import Row, Setup, ratio, row
from workloads import Size, build, mkg_w

from pyg_mmkgc import AdaMF

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
    rows, d=200, forward and backward, and of 64 queries to 15,000 rows.
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
    """A step of AdaMF-MAT at the full size of DB15K."""
    out = []
    with _peers(setup) as peers:
        for sampler in ('pooled', 'bernoulli'):
            def task(side: str, sampler: str = sampler) -> Callable[[], Any]:
                return lambda: peers[side].ask('step',
                                               sampler=sampler)['seconds']

            out += _pair(f'step, {sampler}', setup.interleave(
                {side: task(side) for side in SIDES}))
    return out


def agreement(setup: Setup) -> list[Row]:
    """The loss of AdaMF-MAT over an epoch on MKG-W, and the ranks of the test
    triples by an untrained AdaMF, whose scores are as close to each other as
    possible.
    """
    with _peers(setup) as peers:
        a, b = (peers[side].ask('loss')['loss'] for side in SIDES)
        ranks = {side: torch.tensor(peers[side].ask('ranks')['ranks'])
                 for side in SIDES}
    kg = mkg_w(setup)
    model = build('AdaMF', kg, Size.of(setup).channels)
    assert isinstance(model, AdaMF)
    # All heads come first. Only ranks that differ need an explanation.
    num_triples = kg.split('test').num_edges
    rows = torch.arange(2 * num_triples)
    rows = rows[ranks['compiled'] != ranks['plain']]
    limits = [bounds(model, kg, rows[rows // num_triples == i] % num_triples,
                     side, filtered=True)
              for i, side in enumerate(('head', 'tail'))]
    return [row('loss of an epoch: relative difference', abs(a - b) / abs(b),
                '', setup.bar(('<=', 1e-5), ('<=', 1e-5))),
            row('ranks that differ', rows.numel(), 'ranks',
                compared=2 * num_triples),
            *(row(f'{side}: ranks that rounding does not explain',
                  unexplained(found[rows], (torch.cat([x[0] for x in limits]),
                                            torch.cat([x[1] for x in limits]))
                              ), 'ranks',
                  setup.bar(('<=', 0.0), ('<=', 0.0)))
              for side, found in ranks.items())]


GROUPS = {'kernels': kernels, 'training': training, 'agreement': agreement}
