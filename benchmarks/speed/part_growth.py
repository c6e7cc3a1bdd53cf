"""The growth of the time of a training step, with the fitted exponent.

AdaMF-MAT on a graph of uniform triples (N=15,000 nodes, 100,000 triples, 100
relations) with one modality of 384 features in half precision, and d=200,
B=1024 and K=128 unless they grow. The exponent is the slope of a least
squares line through the logarithms. A fixed cost makes it smaller.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from protocol import Row, Setup, ratio, row
from workloads import (
    Size,
    build,
    mapped_features,
    steps,
    synthetic,
    trainer,
)

from pyg_mmkgc import KnowledgeGraph
from pyg_mmkgc.errors import ModelError

NODES, EDGES, WIDTH = 15_000, 100_000, 384
VALUES = {
    'K': (32, 64, 128, 256, 512),
    'D': (50, 100, 200, 400),
    'B': (256, 512, 1024, 2048, 4096),
    'E': (30_000, 100_000, 300_000, 1_000_000),
    'N': (15_000, 50_000, 150_000, 500_000, 1_000_000),
}
QUICK = {'K': (4, 8), 'D': (4, 8), 'B': (16, 32), 'E': (400, 800),
         'N': (200, 400)}
NAMES = {'K': 'negatives', 'D': 'complex channels', 'B': 'batch',
         'E': 'triples', 'N': 'nodes'}


def exponent(x: Sequence[float], y: Sequence[float]) -> float:
    """Returns the slope of log y over log x."""
    slope, _ = np.polyfit([math.log(v) for v in x], [math.log(v) for v in y],
                          1)
    return float(slope)


def _graph(setup: Setup, num_nodes: int, num_edges: int) -> KnowledgeGraph:
    if setup.quick:
        num_nodes, num_edges = min(num_nodes, 200), min(num_edges, 800)
    generator = torch.Generator().manual_seed(0)
    text = torch.randn(num_nodes, 8 if setup.quick else WIDTH,
                       generator=generator).half()
    return synthetic(num_nodes, num_edges, text=text)


def _axis(axis: str, setup: Setup, samplers: Sequence[str]) -> list[Row]:
    values = (QUICK if setup.quick else VALUES)[axis]
    size, shared = Size.of(setup), _graph(setup, NODES, EDGES)
    tasks: dict[str, Callable[[], Any]] = {}
    for sampler in samplers:
        for value in values:
            kg = _graph(setup, NODES, value) if axis == 'E' else shared
            width = replace(size, **{{
                'K': 'num_negatives', 'D': 'channels', 'B': 'batch_size'
            }[axis]: value}) if axis != 'E' else size
            run = trainer(setup, build('AdaMF-MAT', kg, width.channels), kg,
                          sampler, width)
            tasks[f'{sampler}, {axis}={value:,}'] = steps(run, setup)
    found = setup.interleave(tasks)
    out = []
    for sampler in samplers:
        rows = [row(f'{sampler}, {axis}={value:,}',
                    found[f'{sampler}, {axis}={value:,}'],
                    axis=axis, series=sampler, x=value) for value in values]
        bar = setup.bar(('<=', 1.0), ('<=', 1.0)) if axis in 'KD' else None
        out += [*rows, row(f'{sampler}, {NAMES[axis]}: exponent', exponent(
            values, [x['median'] for x in rows]), '', bar)]
    return out


def negatives(setup: Setup) -> list[Row]:
    """Number of negatives K of each positive."""
    return _axis('K', setup, ('pooled', 'bernoulli'))


def channels(setup: Setup) -> list[Row]:
    """Complex channels D."""
    return _axis('D', setup, ('pooled', 'bernoulli'))


def batch(setup: Setup) -> list[Row]:
    """Positives B in a step."""
    return _axis('B', setup, ('pooled', ))


def triples(setup: Setup) -> list[Row]:
    """Training triples E."""
    return _axis('E', setup, ('pooled', 'bernoulli'))


def nodes(setup: Setup) -> list[Row]:
    """Nodes N, with 768 features in a memory-mapped file in half precision.
    Every N is measured in turns with the smallest one. 'Sparse' is a model
    with ``sparse=True``.
    """
    first, *others = (QUICK if setup.quick else VALUES)['N']
    size, out = Size.of(setup), []
    for sparse in (False, True):
        series = 'sparse' if sparse else 'dense'
        try:
            small = _mapped(setup, first, size, sparse)
        except ModelError as error:
            out.append(row(f'{series}: not possible', 0.0, '',
                           note=str(error)))
            continue
        done = []
        for value in others:
            found = setup.interleave({
                'small': small, 'large': _mapped(setup, value, size, sparse)})
            if not done:
                done.append(row(f'{series}, N={first:,}', found['small'],
                                axis='N', series=series, x=first))
            done += [row(f'{series}, N={value:,}', found['large'],
                         axis='N', series=series, x=value)]
            bar = (('<=', 1.5) if value == others[-1] else None)
            out.append(ratio(f'{series}, N={value:,} / N={first:,}',
                             found['large'], found['small'],
                             setup.bar(bar, bar)))
        found_x = [x['detail']['x'] for x in done]
        out += [*done, row(f'{series}, nodes: exponent', exponent(
            found_x, [x['median'] for x in done]), '')]
    return out


def _mapped(setup: Setup, num_nodes: int, size: Size,
            sparse: bool) -> Callable[[], list[float]]:
    path = setup.scratch / f'text-{num_nodes}-{sparse}.bin'
    text = mapped_features(path, num_nodes, 8 if setup.quick else 768)
    kg = synthetic(num_nodes, 800 if setup.quick else EDGES, text=text)
    model = build('AdaMF-MAT', kg, size.channels, sparse=sparse)
    return steps(trainer(setup, model, kg, 'pooled', size), setup, 3)


GROUPS = {'negatives': negatives, 'channels': channels, 'batch': batch,
          'triples': triples, 'nodes': nodes}
