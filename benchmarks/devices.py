r"""Trains every model, sampler, adversary, loss and path model on a device
that behaves like a GPU, see :mod:`pyg_mmkgc.testing.accelerator`.

The table shows the largest difference from the same training on the CPU, in
single precision and relative to the largest value of a tensor, and the number
of operations for which the host waits in a step. Operations on two devices end
the command with an error.

    python benchmarks/devices.py benchmarks/results/devices.md
"""

import argparse
import importlib.util
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch_geometric.nn import kge as pyg

from pyg_mmkgc import (
    AdversarialTrainer,
    Trainer,
    evaluate,
    nn,
    predict,
    sampler,
    training,
)
from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.datasets import FakeMMKG
from pyg_mmkgc.nn import (
    BCELoss,
    KvsAllLoss,
    MarginRankingLoss,
    OneVsAllLoss,
    SelfAdversarialLoss,
)
from pyg_mmkgc.testing import count_waits, pretend_accelerator
from pyg_mmkgc.training.row_adam import RowAdam

ROOT = Path(__file__).resolve().parents[1]
# The folder of PyG.
SITE = str(Path(pyg.__file__).parents[3]) + '/'
STEPS = 4
Build = Callable[[Any], Trainer]


@dataclass(frozen=True)
class Case:
    r"""A training of a part of the library."""
    kind: str
    name: str
    build: Build  # Builds a trainer for a device.

    def __str__(self) -> str:
        return f'{self.kind}-{self.name}'


@dataclass(frozen=True)
class Row:
    r"""A row of the table."""
    case: Case
    error: float  # The largest relative difference from the CPU.
    waits: int  # The maximum number of waits in a step.
    lines: dict[str, int]  # The waits of a training by line of code.


def graph() -> KnowledgeGraph:
    return FakeMMKG(num_nodes=24, num_relations=3, num_edges=64,
                    modalities={'visual': 6, 'text': 5}, val_ratio=0.0,
                    test_ratio=0.0)[0]


def trainer(model: Callable[[KnowledgeGraph], Any], device: Any,
            adversary: Callable[[Any], Any] | None = None,
            sampler: Any = None, **kwargs: Any) -> Trainer:
    kg = graph()
    torch.manual_seed(0)
    built = model(kg)
    if callable(sampler):
        sampler = sampler(built, kg)
    # Adam would turn gradients that are zero up to rounding into full steps.
    options = {'batch_size': 64 // STEPS, 'epochs': 1,
               'optimizer': partial(torch.optim.Adam, lr=0.01, eps=1e-3,
                                    fused=True),
               'valid_every': None, 'progress': False, 'sampler': sampler,
               'device': device, **kwargs}
    if adversary is None:
        return Trainer(built, kg, **options)
    return AdversarialTrainer(built, kg, adversary=adversary(built),
                              generator_lr=0.01, **options)


def of(name: str, **kwargs: Any) -> Callable[[KnowledgeGraph], Any]:
    options = {'hidden_channels': 8, **kwargs}
    return lambda kg: getattr(nn, name).from_data(kg, **options)


def from_pyg(name: str, **kwargs: Any) -> Callable[[KnowledgeGraph], Any]:
    return lambda kg: getattr(pyg, name)(kg.num_nodes, kg.num_relations, 8,
                                         **kwargs)


def bernoulli(*_: Any) -> sampler.NegativeSampler:
    return sampler.BernoulliSampler(8)


def cases() -> list[Case]:
    found = []

    def add(kind: str, name: str, *args: Any, **kwargs: Any) -> None:
        found.append(Case(kind, name, partial(trainer, *args, **kwargs)))

    spec = importlib.util.spec_from_file_location(
        'model_cases', ROOT / 'tests' / 'nn' / 'kge' / 'cases.py')
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    for case in module.CASES:
        hints = {'sampler': bernoulli, **{
            key: value for key, value in case.hints.items()
            if key in ('sampler', 'loss')}}
        if case.name == 'AdaMFMAT':  # A sampler needs an adversary.
            hints['sampler'] = None
        add('model', str(case), of(case.name, **case.kwargs), **hints)
    for name in ('TransE', 'RotatE', 'DistMult', 'ComplEx'):
        add('model', f'PyG {name}', from_pyg(name), sampler=bernoulli)

    mmrns = {'num_negatives': 4, 'num_candidates': 12,
             'attention_channels': 4}
    adamf = of('AdaMF', margin=3.0)
    for name, build in {
            'UniformSampler': lambda *_: sampler.UniformSampler(8),
            'BernoulliSampler': bernoulli,
            'PooledSampler': lambda *_: sampler.PooledSampler(8, 8),
            'PooledSampler-one_side': lambda *_: sampler.PooledSampler(
                8, 8, one_side=True),
            'CandidateSampler': lambda *_: sampler.CandidateSampler(8),
            **{f'MANSSampler-{variant}': lambda *_, variant=variant:
               sampler.MANSSampler(8, variant) for variant in 'VTHA'},
            'TwinsSampler': lambda *_: sampler.TwinsSampler(4),
            'MMRNSSampler': lambda model, kg: sampler.MMRNSSampler.from_data(
                kg, model, **mmrns)}.items():
        add('sampler', name, adamf, sampler=build)

    own = {'noise_channels': 3, 'generator_channels': 6}
    pooled = {'sampler': lambda *_: sampler.PooledSampler(8, 8)}
    mat = of('AdaMFMAT', margin=3.0, **own)
    for name, model, kwargs, options in (
            ('MAT', mat, {}, pooled),
            ('MAT', mat, {'groups': 2, 'parity': 'released'}, pooled),
            ('MAT', mat, {'simultaneous': True}, pooled),
            ('MAT of MoSE', of('MoSE', n3=1e-3, reciprocal=True), own,
             {'loss': OneVsAllLoss()}),
            ('CoMAT', adamf, own, pooled),
            ('CLUB', of('MoMoK'), {}, {'loss': KvsAllLoss()}),
            ('Perturbation', adamf, {}, pooled),
            ('Perturbation', adamf, {'mode': 'noise'}, pooled),
            ('Perturbation', adamf, {'mode': 'generator', **own}, pooled),
            ('KBGAN', of('TransE'), {'generator_channels': 4}, {}),
            ('KBGAN', of('TransE'), {'generator': 'ComplEx',
                                     'generator_channels': 4,
                                     'pretrain_epochs': 1}, {}),
            ('KBGAN of PyG', from_pyg('TransE'), {'generator_channels': 4},
             {})):
        options = {'grad_clip': 0.1, **options}
        what = '-'.join(f'{k}={v}' for k, v in kwargs.items() if k not in own)
        cls = getattr(training, name.split()[0])
        add('adversary', f'{name}-{what}'.rstrip('-'), model,
            adversary=partial(cls.from_model, **kwargs), **options)

    for loss in (SelfAdversarialLoss(), MarginRankingLoss(), BCELoss()):
        add('loss', type(loss).__name__, adamf, loss=loss, sampler=bernoulli,
            subsampling=True)
    for loss in (OneVsAllLoss(), KvsAllLoss(0.1)):
        add('loss', type(loss).__name__, adamf, loss=loss)
    add('loss', 'own', adamf)
    add('loss', 'own-reciprocal', of('MyGO'))
    add('loss', 'own-experts', of('MoSE'))

    small = {'hidden_channels': 8, 'num_layers': 2}
    for name, kwargs in (
            ('NBFNet', {}),
            ('NBFNet', {'message': 'rotation', 'reduce': 'mean'}),
            ('NBFNet', {'message': 'sum', 'reduce': 'max',
                        'num_negatives': 8}),
            ('NBFNet', {'dependent': False, 'remove_one_hop': True}),
            ('ULTRA', {}), ('ULTRA', {'num_negatives': 8})):
        what = '-'.join(f'{k}={v}' for k, v in kwargs.items())
        add('path model', f'{name}-{what}'.rstrip('-'),
            of(name, **small, **kwargs))

    add('option', "features_on='cpu'", adamf, sampler=bernoulli,
        features_on='cpu')
    add('option', "features_on='cpu', missing", of(
        'IKRL', missing='random'), sampler=bernoulli, features_on='cpu')
    add('option', 'lr_schedule, grad_clip', adamf, sampler=bernoulli,
        lr_schedule='cosine', grad_clip=0.01)
    add('option', 'sgd', adamf, sampler=bernoulli, optimizer=lambda params:
        torch.optim.SGD(params, lr=0.01))
    # Adam on rows, as above.
    sparse = of('AdaMF', margin=3.0, sparse=True)
    add('option', 'sparse', sparse, sampler=bernoulli, optimizer=row_adam)
    add('option', 'sparse, grad_clip', sparse, sampler=bernoulli,
        optimizer=row_adam, grad_clip=0.01)
    add('option', 'sparse, PyG', from_pyg('ComplEx', sparse=True),
        sampler=bernoulli, optimizer=row_adam)
    add('option', 'sparse, RowAdagrad', sparse, sampler=bernoulli,
        optimizer=lambda params: training.RowAdagrad(params, 0.01, 1e-3))
    for conv in ('RGCNConv', 'FastRGCNConv', 'GraphConv', 'GATConv'):
        add('option', f'encoder, {conv}', lambda kg, conv=conv:
            nn.TransE.from_data(kg, 8, encoder=nn.GNNEncoder(conv, 1)),
            sampler=bernoulli)
    return found


def row_adam(params: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
    out = RowAdam(params, lr=0.01)
    for group in out.param_groups:
        group['eps'] = 1e-3
    return out


def train(case: Case, device: Any) -> tuple[Trainer, dict[str, Any], Any]:
    r"""Trains for a few steps, and returns the waits in each of them."""
    fitted = case.build(device)
    starts = []
    with count_waits() as waits:
        step = fitted.train_step

        def watched(*args: Any) -> dict[str, Tensor]:
            starts.append(waits.total)
            return step(*args)

        vars(fitted)['train_step'] = watched
        fitted.fit()
        del vars(fitted)['train_step']
    # The first step also reads constants.
    steps = [b - a for a, b in zip(starts[1:], starts[2:], strict=False)]
    return fitted, {'waits': max(steps), 'lines': dict(waits.by_line)}, waits


def outcome(fitted: Trainer) -> dict[str, Tensor]:
    r"""Returns the losses, the weights, the ranks and the predictions."""
    entry = fitted.history.epochs[-1]
    out = {f'loss/{key}': torch.tensor(value) for key, value in entry.items()
           if key.endswith('loss')}
    out |= {f'model/{key}': x.cpu() for key, x in
            fitted.model.state_dict().items()}
    for name, state in fitted.extra_states().items():
        out |= {f'{name}/{key}': x.cpu() for key, x in state.items()}
    found = evaluate(fitted.model, fitted.data, 'train')
    out['rank'] = found.ranks.realistic
    best = predict(fitted.model, fitted.data, head=[0, 1, 2], rel_type=1, k=3)
    out |= {'best': best.answer, 'score': best.score}
    return out


def difference(x: Tensor, y: Tensor) -> float:
    if x.shape != y.shape:
        return float('inf')
    if x.numel() == 0:
        return 0.0
    x, y = x.double(), y.double()
    return float((x - y).abs().max() / y.abs().max().clamp(min=1.0))


def measure(case: Case) -> Row:
    # Loops of numba round differently, so the CPU uses the same formulas.
    with mock.patch('pyg_mmkgc.kernels.backend._load', lambda name: None):
        wanted = outcome(train(case, 'cpu')[0])
    fitted, seen, _ = train(case, pretend_accelerator())
    got = outcome(fitted)
    assert wanted.keys() == got.keys()
    return Row(case, max(difference(got[key], wanted[key]) for key in wanted),
               **seen)


def table(rows: list[Row]) -> str:
    lines = ['# Devices', '',
             'Trainings on the pretend device of `pyg_mmkgc.testing`, next to '
             'the CPU: the largest difference of weights and losses, and '
             'how often the host waits for the device in a step. Made by '
             '`python benchmarks/devices.py FILE`.', '',
             '| | | difference to the CPU | waits per step | on two devices |',
             '|---|---|---|---|---|']
    for row in rows:
        lines.append(f'| {row.case.kind} | {row.case.name} | '
                     f'{row.error:.1e} | {row.waits} | none |')
    waiting = [row for row in rows if row.waits > 1]
    if waiting:
        lines += ['', 'All other waits are in convolutions of PyG: in a '
                  f'training of {STEPS} steps,', '']
    for row in waiting:
        found = (f'{count} times {line}' for line, count in sorted(
            row.lines.items()) if SITE in line)
        lines.append(f'- {row.case.name}: ' + ', '.join(
            x.replace(SITE, '') for x in found))
    return '\n'.join(lines) + '\n'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('file', type=Path, nargs='?')
    parser.add_argument('--only', default='', help='a part of the names')
    parser.add_argument('--lines', action='store_true',
                        help='show the lines of code that wait')
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for case in cases():
        if args.only not in str(case):
            continue
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            try:
                rows.append(measure(case))
            except Exception as error:
                print(case, type(error).__name__, str(error)[:300],
                      flush=True)
                if args.lines:
                    import traceback
                    traceback.print_exc()
                continue
        row = rows[-1]
        print(f'{case}: {row.error:.1e}, {row.waits} waits', flush=True)
        if args.lines and row.waits > 1:
            print('   ', row.lines)
    if args.file is not None:
        args.file.write_text(table(rows), encoding='utf-8')


if __name__ == '__main__':
    main()
