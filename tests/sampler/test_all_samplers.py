"""Every public sampler passes every check."""

from typing import Any, NamedTuple

import pytest

from pyg_mmkgc import sampler
from pyg_mmkgc.testing import SAMPLER_CHECKS, check_sampler


class Case(NamedTuple):
    name: str
    kwargs: dict[str, Any] = {}
    hints: dict[str, Any] = {}

    def __str__(self) -> str:
        return '-'.join([self.name, *map(str, self.kwargs.values())])


EXACT = {'side': 'bernoulli', 'filtered': True}
RULE = {'side': 'bernoulli'}

CASES = [
    Case('UniformSampler', {}, {'side': 'uniform'}),
    Case('BernoulliSampler', {}, EXACT),
    Case('PooledSampler', {'chunk_size': 8}, RULE),
    Case('PooledSampler', {'chunk_size': 8, 'one_side': True},
         {'side': 'uniform'}),
    Case('CandidateSampler', {}, RULE),
    *(Case('MANSSampler', {'variant': name}, EXACT) for name in 'VTHA'),
    Case('MANSSampler', {'variant': 'A', 'modality': 'text'}, EXACT),
    Case('TwinsSampler', {}, EXACT),
    Case('MMRNSSampler', {'num_candidates': 16, 'attention_channels': 4,
                          'lr': 0.01}, {'side': 'uniform', 'filtered': True}),
]
PUBLIC = [
    name for name in sampler.__all__
    if isinstance(getattr(sampler, name), type)
    and issubclass(getattr(sampler, name), sampler.NegativeSampler)
    and name != 'NegativeSampler'
]


def test_every_public_sampler_has_a_case() -> None:
    without = set(PUBLIC) - {case.name for case in CASES}
    assert not without, f'add a line to CASES for each of {sorted(without)}'


@pytest.mark.parametrize('case, check', [
    pytest.param(case, check, id=f'{case}-{check}') for case in CASES
    for check in SAMPLER_CHECKS])
def test_sampler(case: Case, check: str) -> None:
    check_sampler(getattr(sampler, case.name), checks=[check],
                  **{'num_negatives': 6, **case.kwargs}, **case.hints)
