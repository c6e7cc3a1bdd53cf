"""Training steps of the models that no other part measures."""

from collections.abc import Callable
from typing import Any

import torch
from protocol import Row, Setup, row
from workloads import Size, mkg_w, steps

from pyg_mmkgc import Trainer, nn
from pyg_mmkgc.sampler import PooledSampler

# The constructor arguments of the models' configurations.
MODELS: dict[str, dict[str, Any]] = {
    'TransE': {'margin': 6.0, 'norm': 'none'},
    'TransE-L2': {'margin': 6.0, 'p_norm': 2.0, 'norm': 'none'},
    'TransD': {'margin': 6.0},
    'PairRE': {'margin': 6.0},
    'OTE': {'margin': 6.0},
    'RSME': {},
    'NativE': {'margin': 6.0},
    'IKRL': {'margin': 12.0},
    'ComplEx-1vsAll': {'reciprocal': True},
}


def _group(name: str) -> Callable[[Setup], list[Row]]:
    def measure(setup: Setup) -> list[Row]:
        kg, size = mkg_w(setup), Size.of(setup)
        cls = getattr(nn, name.partition('-')[0])
        torch.manual_seed(0)
        model = cls.from_data(kg, size.channels, **MODELS[name])
        how: dict[str, Any] = ({'loss': nn.OneVsAllLoss()}
                               if name.endswith('1vsAll') else
                               {'sampler': PooledSampler(size.num_negatives)})
        run = Trainer(model, kg, lr=1e-4, batch_size=size.batch_size,
                      epochs=1, valid_every=None, progress=False,
                      device=setup.device, **how)
        values = setup.interleave({name: steps(run, setup, 3)})[name]
        return [row(f'{name}: step', values)]

    measure.__doc__ = (f'Steps of {name} on MKG-W, structure and text, d=200, '
                       'B=1024, K=128 pooled.')
    return measure


GROUPS = {name: _group(name) for name in MODELS}
