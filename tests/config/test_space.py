"""Search spaces in YAML files."""

import pytest

from pyg_mmkgc.config.loader import check_search, load_config, load_space
from pyg_mmkgc.config.space import Choice, Range, read_space
from pyg_mmkgc.errors import ConfigError

YAML = """
dataset: {name: FakeMMKG, num_nodes: 60}
model: {name: AdaMF, hidden_channels: 4}
sampler: {name: PooledSampler, num_negatives: 4}
search:
  training:
    lr: {low: 1e-4, high: 1e-2, log: true}
    lr_schedule: [null, linear]
  model.margin: [3.0, 6]
  sampler: {num_negatives: {low: 2, high: 8, step: 2}}
"""


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'my.yaml').write_text(YAML)


def test_spaces():
    assert load_space('my.yaml') == {
        'training.lr': Range(1e-4, 1e-2, log=True),
        'training.lr_schedule': Choice((None, 'linear')),
        'model.margin': Choice((3.0, 6)),
        'sampler.num_negatives': Range(2, 8, step=2)}
    # The same file can be trained.
    assert load_config('my.yaml').training.lr == 1e-3
    assert load_space('countries', ['search.training.lr=[1e-3, 1e-2]']) == {
        'training.lr': Choice((1e-3, 1e-2))}
    check_search('my.yaml')


@pytest.mark.parametrize('values, match', [
    ({}, "the section 'search' with a list"),
    ([], "'search' to be a list of choices or a mapping"),
    ({'training': {'lr': 1}}, "'search.training.lr' to be a list.*got 1"),
    ({'a': []}, "'search.a' to have choices"),
    ({'a': {'low': 1}}, "'search.a.high' to be a number .got None"),
    ({'a': {'low': 2, 'high': 1}}, 'low < high.*got low=2, high=1'),
    ({'a': {'low': 0, 'high': 1, 'log': True}}, 'low > 0 with log'),
    ({'a': {'low': 1, 'high': 2, 'log': 1}}, "'search.a.log' to be a bool"),
    ({'a': {'low': 1, 'high': 2, 'step': 0}}, "'search.a.step' to be pos"),
    ({'a': {'low': 1, 'high': 'x'}}, "'search.a.high'.*got 'x'"),
    ({'a': {'low': 1, 'high': 2, 'steps': 1}}, "'search.a.steps'.*'step'"),
])
def test_bad_spaces(values, match):
    with pytest.raises(ConfigError, match=match):
        read_space(values)


@pytest.mark.parametrize('override, match', [
    ('search.training.lrr=[1.0]', "'training.lrr'.*Did you mean 'lr'"),
    ('search.model.margin=[3.0, big]', "'model.margin' to be.*got 'big'"),
    ('search.model.hidden_channels={low: 0.5, high: 2}', 'an integer'),
])
def test_values_must_fit_their_keys(override, match):
    with pytest.raises(ConfigError, match=match):
        check_search('my.yaml', [override])
