"""Small trainings that several processes and one process run alike."""

from typing import Any

import torch

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.datasets import FakeMMKG
from pyg_mmkgc.nn import (
    AdaMF,
    AdaMFMAT,
    ComplEx,
    Ensemble,
    KvsAllLoss,
    MyGO,
    OneVsAllLoss,
    RotatE,
    TransE,
)
from pyg_mmkgc.nn.path import NBFNet
from pyg_mmkgc.sampler import BernoulliSampler, PooledSampler
from pyg_mmkgc.training import MAT, AdversarialTrainer, CoMAT, Trainer

#: 128 training triples in batches of 43: 43, 43 and 42, seven times.
OPTIONS: dict[str, Any] = {'batch_size': 43, 'epochs': 7, 'lr': 0.02,
                           'valid_every': None, 'progress': False}
CASES = ['rotate', 'rotate_sparse', 'adamf', 'mat', 'mat_together', 'comat',
         'complex_1vsall', 'complex_kvsall', 'nbfnet', 'transe', 'whole']


def graph() -> KnowledgeGraph:
    return FakeMMKG(num_nodes=41, num_edges=160, seed=1)[0]


def ensemble(kg: KnowledgeGraph) -> Ensemble:
    """Two models with whole tables, one of which has a table of nodes."""
    torch.manual_seed(0)
    return Ensemble([RotatE.from_data(kg, 4), NBFNet.from_data(kg, 4)],
                    kg.num_relations).to(torch.float64)


def build(kind: str, kg: KnowledgeGraph, dtype: torch.dtype = torch.float64,
          **kwargs: Any) -> Trainer:
    """Builds the trainer of a case, with the same weights in any process."""
    torch.manual_seed(0)
    kwargs = {**OPTIONS, **kwargs}
    pooled = {'sampler': PooledSampler(5, 16), 'grad_clip': 0.5}
    if kind == 'nbfnet':  # Adam enlarges the rounding of small gradients.
        kwargs['lr'] = 0.005
        model = NBFNet.from_data(kg, 4, num_negatives=6,
                                 structure_dropout=0.2)
        return Trainer(model.to(dtype), kg, **kwargs)
    if kind.startswith('complex'):
        loss = OneVsAllLoss() if kind == 'complex_1vsall' else KvsAllLoss(0.1)
        model = ComplEx.from_data(kg, 4, reciprocal=True, n3=0.01)
        return Trainer(model.to(dtype), kg, loss=loss, **kwargs)
    if kind == 'transe':  # Normalizes the table before each step.
        model = TransE.from_data(kg, 4, norm='constraint')
        return Trainer(model.to(dtype), kg, subsampling=True,
                       sampler=BernoulliSampler(5), **kwargs)
    if kind == 'whole':  # Its loss couples the entities of a batch.
        model = MyGO.from_data(kg, 8, num_heads=2)
        return Trainer(model.to(dtype), kg, loss=OneVsAllLoss(), **kwargs)
    if kind.startswith('rotate'):
        model = RotatE.from_data(kg, 4, sparse=kind == 'rotate_sparse')
        return Trainer(model.to(dtype), kg, **pooled, **kwargs)
    if kind == 'adamf':
        model = AdaMF.from_data(kg, 4, missing='learned', sparse=True)
        return Trainer(model.to(dtype), kg, sampler=BernoulliSampler(5),
                       **kwargs)
    small = {'generator_channels': 8, 'noise_channels': 3}
    if kind == 'comat':
        model = AdaMF.from_data(kg, 4).to(dtype)
        adversary = CoMAT.from_model(model, **small, weight=0.1)
    else:
        model = AdaMFMAT.from_data(kg, 4, **small).to(dtype)
        adversary = MAT.from_model(model, weight=0.1, groups=2,
                                   simultaneous=kind == 'mat_together')
    return AdversarialTrainer(model, kg, adversary=adversary.to(dtype),
                              generator_lr=0.01, **pooled, **kwargs)
