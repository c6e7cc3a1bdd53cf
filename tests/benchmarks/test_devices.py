"""Every training on a device that behaves like a GPU equals the one on the
CPU, and waits at most once per step.
"""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from pyg_mmkgc import nn, sampler, training
from pyg_mmkgc.testing import missing_accelerator

ROOT = Path(__file__).resolve().parents[2]
REASON = missing_accelerator() or ''
# Cases of different code, which take a second each.
QUICK = {'model-TransH-margin=3.0', 'sampler-MMRNSSampler', 'adversary-MAT',
         'loss-KvsAllLoss', 'path model-NBFNet', "option-features_on='cpu'"}
# Convolutions of PyG: for the edges of each relation, and for self-loops.
WAITING = {'option-encoder, RGCNConv', 'option-encoder, GATConv'}


def load() -> Any:
    spec = importlib.util.spec_from_file_location(
        'devices', ROOT / 'benchmarks' / 'devices.py')
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


devices = load()
CASES = devices.cases()


@pytest.mark.skipif(bool(REASON), reason=REASON)
@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('case', [
    pytest.param(case, id=str(case), marks=[] if str(case) in QUICK else (
        pytest.mark.slow)) for case in CASES])
def test_training(case: Any) -> None:
    row = devices.measure(case)
    assert row.error < 1e-6
    if str(case) in WAITING:  # One wait a step, and one for the losses.
        ours = {line: count for line, count in row.lines.items()
                if devices.SITE not in line}
        assert sum(ours.values()) <= devices.STEPS + 1, ours
    else:
        assert row.waits <= 1, row.lines


@pytest.mark.skipif(bool(REASON), reason=REASON)
def test_a_difference_is_found() -> None:
    def build(device: Any) -> Any:
        lr = 0.1 if str(device) == 'cpu' else 0.10001
        return devices.trainer(
            devices.from_pyg('TransE'), device, sampler=devices.bernoulli,
            optimizer=lambda params: torch.optim.SGD(params, lr))

    row = devices.measure(devices.Case('model', 'planted', build))
    assert row.error > 1e-6


def test_names() -> None:
    names = [str(case) for case in CASES]
    assert QUICK | WAITING <= set(names)
    assert len(set(names)) == len(names)


def test_every_part_has_a_case() -> None:
    names = ' '.join(str(case) for case in CASES)
    for kind, public in (
            ('sampler', [name for name in sampler.__all__ if name.endswith(
                'Sampler') and name != 'NegativeSampler']),
            ('adversary', [name for name in training.__all__ if isinstance(
                getattr(training, name), type) and issubclass(
                    getattr(training, name), training.Adversary)
                and name != 'Adversary']),
            ('loss', [name for name in nn.__all__ if name.endswith('Loss')
                      and name != 'AllNodesLoss']),
            ('path model', ['NBFNet', 'ULTRA'])):
        for name in public:
            assert f'{kind}-{name}' in names
