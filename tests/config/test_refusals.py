"""Parts that do not fit are refused with a message of one line."""

from typing import Any

import pytest

from pyg_mmkgc.config import Config, build_graph, build_trainer
from pyg_mmkgc.config.build import find_device
from pyg_mmkgc.errors import ConfigError, MMKGCError, ModelError

NO_MODALITIES = {'dataset': {'name': 'FakeMMKG', 'num_nodes': 60,
                             'modalities': []}}


def build(model: str, **sections: Any) -> None:
    options = sections.pop('options', {})
    config = Config.from_dict({
        'dataset': {'name': 'FakeMMKG', 'num_nodes': 60},
        'model': {'name': model, 'hidden_channels': 8, **options},
        'training': {'device': 'cpu'}, **sections})
    build_trainer(config, build_graph(config))


@pytest.mark.parametrize('model', [
    'AdaMFMAT', 'IKRL', 'TBKGC', 'MMKRL', 'VBKGC', 'TransAE', 'RSME', 'OTKGE',
    'MoSE'])
def test_model_without_the_modality_that_it_needs(model: str) -> None:
    with pytest.raises(ModelError, match=f'{model}|MAT generates'):
        build(model, **NO_MODALITIES)


@pytest.mark.parametrize('model', ['RotatE', 'PyG.RotatE'])
@pytest.mark.parametrize('sampler', ['MANSSampler', 'TwinsSampler'])
def test_sampler_that_a_model_cannot_serve(model: str, sampler: str) -> None:
    with pytest.raises(ModelError, match='model with a structural '
                       f"embedding and .* for '{sampler}' .got 'RotatE'"):
        build(model, sampler={'name': sampler})


@pytest.mark.parametrize('model', ['RotatE', 'PyG.RotatE'])
@pytest.mark.parametrize('adversary', ['MAT', 'CoMAT', 'Perturbation'])
def test_adversary_on_a_model_without_modalities(model: str,
                                                 adversary: str) -> None:
    with pytest.raises(ModelError, match='model with a structural .*'
                       f"'{adversary}' .got 'RotatE' with the .* none"):
        build(model, sampler={'name': 'PooledSampler'},
              adversary={'name': adversary})


CASES: list[tuple[str, dict[str, Any], type[MMKGCError], str]] = [
    ('PyG.TransE', {'sampler': {'name': 'MMRNSSampler'}}, ModelError,
     "'MMKGEModel'.* for 'MMRNSSampler' .got 'TransE'"),
    ('RotatE', {'sampler': {'name': 'MMRNSSampler'}, **NO_MODALITIES},
     ModelError, "'features' to hold at least one modality"),
    ('PyG.TransE', {'loss': {'name': 'OneVsAllLoss'}}, ModelError,
     "'MMKGEModel'.*for 'OneVsAllLoss' .got 'TransE'"),
    ('DistMult', {'sampler': {'name': 'PooledSampler'},
                  'options': {'reciprocal': True}}, ModelError,
     'Expected OneVsAllLoss, KvsAllLoss or no sampler'),
    ('OTE', {'options': {'block_size': 3}}, ConfigError,
     r"Expected 'model.hidden_channels' to .*\(got 8, block_size=3"),
    ('AdaMF', {'sampler': {'name': 'MANSSampler', 'modality': 'audio'}},
     ConfigError,
     r"'sampler.modality' to .* \['visual', 'text'\] \(got 'audio'\)"),
    ('AdaMF', {'adversary': {'name': 'MAT'}}, ConfigError,
     "the section 'sampler', which 'adversary' requires"),
    ('RotatE', {'loss': {'name': 'OneVsAllLoss'},
                'adversary': {'name': 'KBGAN'}}, ModelError,
     "sampler without .* for 'KBGAN', which chooses among"),
    ('AdaMF', {'loss': {'name': 'OneVsAllLoss'},
               'adversary': {'name': 'Perturbation'}}, ModelError,
     "Expected a sampler for 'Perturbation'"),
    ('AdaMFMAT', {'sampler': {'name': 'PooledSampler'}}, ModelError,
     'Use AdaMF to train without MAT'),
]


@pytest.mark.parametrize('model, sections, error, message', CASES,
                         ids=[case[3][:40] for case in CASES])
def test_parts_that_do_not_fit(model: str, sections: dict[str, Any],
                               error: type[MMKGCError], message: str) -> None:
    with pytest.raises(error, match=message) as info:
        build(model, **sections)
    assert '\n' not in str(info.value)


def test_a_device_without_values() -> None:
    with pytest.raises(ConfigError, match="'training.device' to be a device .*"
                       "got 'meta': it holds no numbers"):
        find_device('meta', 'training.device')
