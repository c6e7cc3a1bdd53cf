"""The time of each part of a training step compared to the machine's ceilings.

Operations and bytes are counted from shapes, as the least that a part needs:
every input is read once and every output written once. Ceilings are measured
with copies, matrix products and a loop of square roots whose inputs stay in
cache. The time at the ceiling is the maximum of the time for the bytes and
the time for the operations.
"""

import statistics
from dataclasses import dataclass
from typing import Any

import torch
from ceilings import best, ceilings
from protocol import Row, Setup, row
from workloads import Size, build, db15k, mkg_w, trainer

from pyg_mmkgc import KnowledgeGraph, Trainer
from pyg_mmkgc.training.profile import full_batches, profile


@dataclass
class Work:
    """The minimal work of a part."""
    products: float = 0.0  # The operations of matrix products.
    moduli: float = 0.0
    bytes: float = 0.0

    def seconds(self, ceiling: dict[str, float], precision: str) -> float:
        return max(self.products / ceiling[precision] +
                   self.moduli / ceiling['moduli'],
                   self.bytes / ceiling['copy'])


def count(run: Trainer, kg: KnowledgeGraph, size: Size) -> dict[str, Work]:
    """Counts the work of each part of a step, by its name in the profile."""
    model: Any = run.model
    batch = next(full_batches(run))
    negatives = batch.negatives
    assert negatives is not None
    positive = torch.cat([batch.head_index, batch.tail_index]).unique()
    U = torch.cat([positive, negatives.node.flatten().unique()]
                  ).unique().numel()
    P = positive.numel()
    B, K = batch.head_index.numel(), size.num_negatives
    D, C = size.channels, 2 * size.channels
    features = {name: kg[f'x_{name}'] for name in model.modalities}
    views = 1 + len(features)
    moduli = float(B * K * D)
    pairs = 4.0 * (B * 2 * C + U * C + B * K) + 9.0 * B * K
    params = sum(p.numel() for p in run.params)
    out = {
        'batch/sampling': Work(bytes=9.0 * B * K),
        'encode/fuse': Work(bytes=4.0 * U * C * (views + 1)),
        'score negatives': Work(moduli=moduli, bytes=pairs),
        # Reads parameter, gradient and two moments, and writes all but the
        # gradient.
        'optimizer of the model': Work(bytes=28.0 * params),
        'the rest: checks, bookkeeping': Work(bytes=4.0 * params),
    }
    backward = Work(moduli=moduli, bytes=4.0 * params + pairs)
    for name, x in features.items():
        product = 2.0 * U * x.size(1) * C
        out[f'encode/embed/project {name}'] = Work(product, bytes=(
            float(U * x.size(1) * x.element_size()) + 4.0 * U * C))
        backward.products += product  # Of weights only: features are frozen.
        backward.bytes += float(U * x.size(1) * x.element_size())
    if 'adversary' in run.optimizers:
        _count_adversary(run, out, backward, features, B, P, C)
    out['backward'] = backward
    return out


def _count_adversary(run: Any, out: dict[str, Work], backward: Work,
                     features: dict[str, Any], B: int, P: int,
                     C: int) -> None:
    params = sum(p.numel() for p in run.adversary_params)
    first = second = 0.0
    for generator in run.adversary.generators.values():
        hidden = generator.lin1.out_features
        first += 2.0 * 2 * B * generator.lin1.in_features * hidden
        second += 2.0 * 2 * B * hidden * C
    rows = 4.0 * 2 * B * C * (2 + 2 * len(features))
    out['adversary, model side'] = Work(first + second, bytes=rows)
    # The gradient reaches the structural embedding through the input.
    backward.products += first + second
    project = sum(2.0 * P * x.size(1) * C for x in features.values())
    read = sum(float(P * x.size(1) * x.element_size())
               for x in features.values())
    out['adversary, its own side'] = Work(project + first + second,
                                          bytes=read + rows)
    # The gradients of both layers' weights, and of the second layer's input.
    out['backward of the adversary'] = Work(first + 2 * second,
                                            bytes=rows + 4.0 * params)
    out['optimizer of the adversary'] = Work(bytes=28.0 * params)


def _step(setup: Setup, kg: KnowledgeGraph, size: Size, model: str,
          sampler: str, autocast: bool = False) -> list[Row]:
    ceiling = ceilings(setup)
    run = trainer(setup, build(model, kg, size.channels), kg, sampler, size,
                  autocast=autocast)
    found = profile(run, steps=3 if setup.quick else 5 * setup.repeat)
    work, highest = count(run, kg, size), best(ceiling)
    precision = 'bf16' if autocast else 'fp32'
    names = {'copy': ('copying', 'GB/s'), 'moduli': ('moduli', 'G/s'),
             'fp32': ('matrix product, single precision', 'GFLOP/s'),
             'bf16': ('matrix product, bfloat16', 'GFLOP/s')}
    out = [row(f'ceiling: {names[name][0]}', [x / 1e9 for x in values],
               names[name][1]) for name, values in ceiling.items()]
    total = 0.0
    for part in found.parts:
        name = '/'.join(part.path)
        if name not in work:
            if len(part.path) == 1:
                out.append(row(name, 1e3 * part.seconds, 'ms', part=True))
            continue
        least = work[name].seconds(highest, precision)
        total += least
        out.append(row(name, 1e3 * part.seconds, 'ms', part=True, counted={
            'GFLOP': work[name].products / 1e9,
            'G moduli': work[name].moduli / 1e9,
            'MB': work[name].bytes / 1e6}, ceiling_ms=1e3 * least,
            times_the_ceiling=part.seconds / least))
    step = statistics.median(found.seconds)
    return [*out, row('step', [1e3 * x for x in found.seconds], 'ms',
                      ceiling_ms=1e3 * total, times_the_ceiling=step / total,
                      operators=found.operators)]


def _groups() -> dict[str, Any]:
    def make(model: str, sampler: str, autocast: bool, large: bool) -> Any:
        def group(setup: Setup) -> list[Row]:
            kg = db15k(setup, torch.float16) if large else mkg_w(setup)
            size = Size.of(setup, 250 if large else 200)
            return _step(setup, kg, size, model, sampler, autocast)

        group.__doc__ = (
            f'{model}, {sampler} negatives, '
            f'{"DB15K at full size" if large else "MKG-W"}'
            f'{", projections in bfloat16" if autocast else ""}; B=1024, '
            'K=128. Timers around the parts synchronise a GPU.')
        return group

    out = {'rotate_pooled': make('RotatE', 'pooled', False, False)}
    for sampler in ('pooled', 'bernoulli'):
        for autocast in (False, True):
            name = f'db15k_{sampler}{"_bf16" if autocast else ""}'
            out[name] = make('AdaMF-MAT', sampler, autocast, True)
    return out


GROUPS = _groups()
