"""Constructors refuse values out of range, and the configuration names the
key.
"""

from pathlib import Path
from typing import Any

import pytest

from pyg_mmkgc.config import Config, build_graph, build_model, build_trainer
from pyg_mmkgc.config.components import valid_names
from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.errors import ConfigError

# Values that no constructor with such an argument can use.
BAD: dict[str, list[Any]] = {
    'attention_channels': [0], 'beta': [-0.1, 1.1], 'block_size': [1],
    'chunk_size': [0], 'contrast': [-0.1], 'coverage': [0.0, 1.1],
    'dropout': [-0.1, 1.0],
    'ensemble': ['no'], 'epsilon': [0.0], 'exploration': [0.0],
    'forget': [-0.1, 1.1], 'form': ['no'], 'fusion': ['no'],
    'generator_channels': [0], 'groups': [0], 'hidden_channels': [0, -8],
    'kinds': [['no']], 'l3': [-0.1], 'label_smoothing': [-0.1, 1.0],
    'margin': [0.0, -1.0], 'message': ['no'], 'missing': ['no'],
    'n3': [-0.1], 'noise': [-0.1], 'noise_channels': [0], 'norm': ['no'],
    'num_active': [0], 'num_candidates': [0], 'num_edges': [0],
    'num_experts': [0], 'num_heads': [0], 'num_layers': [0],
    'num_negatives': [0], 'num_nodes': [1],
    'num_relations': [0], 'p_norm': [0.0], 'parity': ['no'],
    'reduce': ['no'], 'refresh': [0], 'scale': [0.0], 'seed': [-1],
    'structure_dropout': [-0.1, 1.0],
    'temperature': [-0.1], 'test_ratio': [-0.1, 1.0], 'val_ratio': [-0.1, 1.0],
    'valid': ['no'], 'weight': [-0.1]}
TRAINING: dict[str, list[Any]] = {
    'lr': [0.0, -1.0], 'batch_size': [0], 'epochs': [0], 'seed': [-1],
    'triples_per_epoch': [0], 'valid_every': [0], 'patience': [0],
    'grad_clip': [0.0]}
# A hinge without a margin is a loss, too.
HINGES = {'MarginRankingLoss', 'DistMult', 'Perturbation'}
PARTS = [(section, name)
         for section in ('dataset', 'model', 'sampler', 'loss', 'adversary')
         for name in valid_names(section)
         if name != 'Ensemble']  # Is combined from trained models.


def sections(**changes: Any) -> dict[str, Any]:
    return {'dataset': {'name': 'FakeMMKG', 'num_nodes': 40,
                        'num_edges': 200},
            'model': {'name': 'AdaMF', 'hidden_channels': 8},
            'training': {'device': 'cpu'}, **changes}


@pytest.fixture(scope='module')
def graph() -> KnowledgeGraph:
    return build_graph(Config.from_dict(sections()))


def build(config: Config, graph: KnowledgeGraph, section: str) -> None:
    if section == 'dataset':
        build_graph(config)
    elif section == 'model':
        build_model(config, graph)
    else:
        build_trainer(config, graph)


@pytest.mark.parametrize(('section', 'name'), PARTS)
def test_parts(section: str, name: str, graph: KnowledgeGraph,
               tmp_path: Path) -> None:
    (tmp_path / 'train.tsv').write_text('a\tr\tb\nb\tr\tc\nc\tr\ta\n')
    part: dict[str, Any] = {'name': name}
    if section == 'model':
        part['hidden_channels'] = 8
    elif section == 'dataset' and name not in ('FakeMMKG', 'Countries'):
        part['root'] = str(tmp_path)
        if name == 'TSV':
            part['train'] = 'train.tsv'
    values = sections(**{section: part})
    if name == 'CLUB':  # For models with experts, which take no sampler.
        values |= {'model': {'name': 'MoMoK', 'hidden_channels': 8},
                   'loss': {'name': 'KvsAllLoss'}}
    elif section == 'adversary':
        values['sampler'] = {'name': 'PooledSampler'}
    elif section == 'loss' and name not in ('OneVsAllLoss', 'KvsAllLoss'):
        values['sampler'] = {'name': 'PooledSampler'}
    options = getattr(Config.from_dict(values), section).options
    for key in options.keys() & BAD.keys():
        for value in BAD[key]:
            if name in HINGES and (key, value) == ('margin', 0.0):
                continue
            config = Config.from_dict(
                {**values, section: {**part, key: value}})
            with pytest.raises(ConfigError) as info:
                build(config, graph, section)
            assert str(info.value).startswith('Expected ')
            assert f"'{section}.{key}'" in str(info.value)


@pytest.mark.parametrize('key', TRAINING)
def test_training(key: str, graph: KnowledgeGraph) -> None:
    for value in TRAINING[key]:
        config = Config.from_dict(sections(
            training={'device': 'cpu', key: value}))
        with pytest.raises(ConfigError, match=rf"^Expected 'training\.{key}' "
                           rf'to be .*\(got {value}\)'):
            build_trainer(config, graph)


def test_keys_that_only_a_configuration_has(graph: KnowledgeGraph) -> None:
    with pytest.raises(ConfigError, match=r"^Expected 'evaluation\.batch_size'"
                       r' to be an integer >= 1 \(got 0\)'):
        Config.from_dict(sections(evaluation={'batch_size': 0}))
    with pytest.raises(ConfigError, match=r"'adversary\.lr' to be positive "
                       r'\(got 0\.0\)'):
        build_trainer(Config.from_dict(sections(
            sampler={'name': 'PooledSampler'},
            adversary={'name': 'MAT', 'lr': 0})), graph)
    for ratio in (-0.1, 1.0):
        config = Config.from_dict(sections(dataset={
            'name': 'FakeMMKG', 'drop_features': {'text': ratio}}))
        with pytest.raises(ConfigError, match="Expected 'dataset.drop_features"
                           rf".text' .*\(got {ratio}\)"):
            build_graph(config)


def test_the_value_in_a_message_is_no_key(graph: KnowledgeGraph) -> None:
    config = Config.from_dict(sections(
        sampler={'name': 'MANSSampler', 'modality': 'num_negatives'}))
    with pytest.raises(ConfigError, match="Expected 'sampler.modality' .*"
                       r"\(got 'num_negatives'\)"):
        build_trainer(config, graph)
