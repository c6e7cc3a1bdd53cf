"""Every public adversary passes every check."""

from typing import Any, NamedTuple

import pytest
from torch_geometric.nn import TransE

from pyg_mmkgc import training
from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.nn import AdaMFMAT, MoMoK
from pyg_mmkgc.testing import ADVERSARY_CHECKS, check_adversary


class Case(NamedTuple):
    name: str
    kwargs: dict[str, Any] = {}
    hints: dict[str, Any] = {}

    def __str__(self) -> str:
        return '-'.join([self.name, *map(str, self.kwargs.values()),
                         *self.hints])


def with_generators(data: KnowledgeGraph) -> AdaMFMAT:
    return AdaMFMAT.from_data(data, 4, margin=3.0, noise_channels=3,
                              generator_channels=6)


def with_experts(data: KnowledgeGraph) -> MoMoK:
    return MoMoK.from_data(data, 4)


def from_pyg(data: KnowledgeGraph) -> TransE:
    return TransE(data.num_nodes, data.num_relations, 4)


SMALL = {'noise_channels': 3, 'generator_channels': 6}

CASES = [
    Case('MAT', SMALL),
    Case('MAT', {**SMALL, 'groups': 2, 'parity': 'released'}),
    Case('MAT', {}, {'model': with_generators}),
    Case('CoMAT', SMALL),
    Case('CLUB', {}, {'model': with_experts}),
    Case('Perturbation'),
    Case('Perturbation', {'mode': 'noise'}),
    Case('Perturbation', {**SMALL, 'mode': 'generator'}),
    Case('KBGAN', {'generator_channels': 4}),
    Case('KBGAN', {'generator': 'ComplEx', 'generator_channels': 4,
                   'pretrain_epochs': 1}),
    Case('KBGAN', {'generator_channels': 4}, {'model': from_pyg}),
]
PUBLIC = [
    name for name in training.__all__
    if isinstance(getattr(training, name), type)
    and issubclass(getattr(training, name), training.Adversary)
    and name != 'Adversary'
]


def test_every_public_adversary_has_a_case() -> None:
    without = set(PUBLIC) - {case.name for case in CASES}
    assert not without, f'add a line to CASES for each of {sorted(without)}'


@pytest.mark.parametrize('case, check', [
    pytest.param(case, check, id=f'{case}-{check}') for case in CASES
    for check in ADVERSARY_CHECKS])
def test_adversary(case: Case, check: str) -> None:
    cls = getattr(training, case.name)
    check_adversary(lambda model: cls.from_model(model, **case.kwargs),
                    checks=[check], **case.hints)
