import dataclasses
import hashlib

import numpy as np
import pytest
import torch
import torch_geometric.nn.kge as pyg

from pyg_mmkgc import sampler
from pyg_mmkgc.config import (
    Config,
    build_graph,
    build_model,
    build_trainer,
    load_config,
    shipped_configs,
)
from pyg_mmkgc.config.components import valid_names
from pyg_mmkgc.config.schema import TrainingConfig
from pyg_mmkgc.datasets import FakeMMKG, FB15k237
from pyg_mmkgc.errors import ConfigError, DataError
from pyg_mmkgc.nn.kge import AdaMF, AdaMFMAT, RotatE
from pyg_mmkgc.training import AdversarialTrainer


def config(**sections):
    return Config.from_dict({
        'dataset': {'name': 'FakeMMKG', 'num_nodes': 60},
        'model': {'name': 'AdaMFMAT', 'hidden_channels': 4},
        'sampler': {'name': 'UniformSampler', 'num_negatives': 2},
        'training': {'device': 'cpu'}, **sections})


@pytest.mark.parametrize('name', shipped_configs())
def test_shipped_configs_take_two_steps(name):
    # The shipped model, sampler, loss and adversary, at a small size.
    options = load_config(name).model.options
    width = 2 * options.get('block_size', 4)
    # Weights that are downloaded are of one size.
    new = ['model.pretrained=null'] if 'pretrained' in options else []
    small = load_config(name, [f'model.hidden_channels={width}',
                               'training.epochs=2', 'training.device=cpu',
                               'training.batch_size=100000',
                               'training.valid_every=null', *new])
    keep = small.dataset.options['modalities']
    if small.dataset.options.get('features') == 'none':
        keep = []
    fake = config(dataset={'name': 'FakeMMKG', 'num_nodes': 60,
                           'modalities': keep})
    small = dataclasses.replace(small, dataset=fake.dataset)
    trainer = build_trainer(small, build_graph(small))
    trainer.progress = False
    before = [p.clone() for p in trainer.model.parameters()]
    history = trainer.fit()
    assert [e['epoch'] for e in history.epochs] == [1, 2]
    assert any(not torch.equal(a, b) for a, b in
               zip(before, trainer.model.parameters(), strict=True))


def test_no_recipe_needs_bfloat16():
    """Without bfloat16 in hardware, `true` warns and `auto` does not."""
    found = {name: load_config(name).training.autocast
             for name in shipped_configs()}
    assert set(found.values()) == {False, 'auto'}
    assert found['adamf_mat/mkg_w'] == found['rotate/db15k'] == 'auto'


def test_every_keyword_arrives():
    full = config(
        dataset={'name': 'FakeMMKG', 'num_nodes': 70, 'seed': 3,
                 'modalities': ['text']},
        model={'name': 'AdaMFMAT', 'hidden_channels': 6, 'margin': 3,
               'fusion': 'shared', 'missing': 'zeros', 'noise_channels': 5,
               'generator_channels': 7},
        sampler={'name': 'PooledSampler', 'num_negatives': 9,
                 'chunk_size': 11},
        loss={'name': 'SelfAdversarialLoss', 'temperature': 0.5},
        adversary={'name': 'MAT', 'lr': 2e-3, 'weight': 0.3, 'groups': 2,
                   'kinds': ['tail'], 'parity': 'released'},
        training={'lr': 0.01, 'batch_size': 13, 'epochs': 17,
                  'valid_every': None, 'patience': 4, 'grad_clip': 2,
                  'lr_schedule': 'cosine', 'seed': 5, 'device': 'cpu',
                  'features_on': 'cpu', 'subsampling': True})
    graph = build_graph(full)
    assert graph.num_nodes == 70 and graph.modalities == ['text']
    other = FakeMMKG(num_nodes=70, seed=3)[0]
    assert torch.equal(graph.x_text, other.x_text)
    assert 'mask_visual' not in graph and 'mask_text' in graph

    trainer = build_trainer(full, graph)
    model = trainer.model
    assert type(model) is AdaMFMAT and type(trainer) is AdversarialTrainer
    assert model.hidden_channels == 6 and model.margin == 3.0
    assert model.fusion == 'shared' and model.missing == 'zeros'
    assert model.noise_channels == 5 and model.generator_channels == 7
    assert type(trainer.sampler) is sampler.PooledSampler
    assert trainer.sampler.num_negatives == 9
    assert trainer.sampler.chunk_size == 11
    assert trainer.loss.temperature == 0.5
    assert trainer.generator_lr == 2e-3
    assert trainer.adversary.generators is model.generators
    assert trainer.adversary.weight == 0.3 and trainer.adversary.groups == 2
    assert tuple(trainer.adversary.kinds) == ('tail', )
    assert trainer.adversary.parity == 'released'
    for field in dataclasses.fields(TrainingConfig):
        if field.name not in ('device', 'subsampling', 'track'):
            assert getattr(trainer, field.name) == getattr(
                full.training, field.name)
    assert trainer.device == torch.device('cpu')
    assert trainer.weight.shape == trainer.triples[0].shape


def test_defaults_are_those_of_the_library():
    options = config(adversary={'name': 'MAT'})
    model = build_model(options, build_graph(options))
    plain = AdaMFMAT(3, 2, 4, {'a': torch.randn(3, 2)})
    for key, value in options.model.options.items():
        assert getattr(model, key) == value
        if key != 'hidden_channels':
            assert getattr(plain, key) == value
    assert options.adversary.options == {
        'lr': 1e-4, 'weight': 0.01, 'groups': 1,
        'kinds': ['head', 'tail', 'both'], 'parity': 'paper',
        'temperature': 2.0, 'detach': False, 'simultaneous': False}


def test_generators_of_mat_without_generators_in_the_model():
    options = config(model={'name': 'AdaMF', 'hidden_channels': 4},
                     adversary={'name': 'MAT', 'noise_channels': 3})
    trainer = build_trainer(options, build_graph(options))
    assert type(trainer.model) is AdaMF
    generators = trainer.adversary.generators
    assert all(g.noise_channels == 3 for g in generators.values())
    again = build_trainer(options, build_graph(options))
    for a, b in zip(trainer.adversary.parameters(),
                    again.adversary.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_sampler_that_learns_is_built_for_the_model():
    options = config(sampler={'name': 'MMRNSSampler', 'num_negatives': 2,
                              'attention_channels': 3, 'lr': 0.02})
    graph, state = build_graph(options), torch.random.get_rng_state()
    one, two = (build_trainer(dataclasses.replace(
        options, model=dataclasses.replace(options.model, name='AdaMF',
                                           options={'hidden_channels': 4})),
        graph).sampler for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert (one.num_negatives, one.lr, one.attention_channels) == (2, 0.02, 3)
    for a, b in zip(one.module.parameters(), two.module.parameters(),
                    strict=True):
        assert torch.equal(a, b)


def test_weights_come_from_the_seed_alone(monkeypatch):
    def fail(seed):
        raise AssertionError('reseeds the GPUs')

    monkeypatch.setattr(torch.cuda, 'manual_seed_all', fail)
    options = config()
    graph = build_graph(options)
    state = torch.random.get_rng_state()
    a = build_model(options, graph).state_dict()
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.rand(3)
    b = build_model(options, graph).state_dict()
    assert all(torch.equal(a[key], b[key]) for key in a)
    other = config(training={'seed': 1})
    c = build_model(other, graph).state_dict()
    assert not torch.equal(a['rel_emb.weight'], c['rel_emb.weight'])


def test_models_of_pyg_are_apart():
    models = valid_names('model')
    assert models['PyG.TransE'] is pyg.TransE
    assert models['PyG.RotatE'] is pyg.RotatE
    assert models['RotatE'] is RotatE and 'PyG.KGEModel' not in models
    options = config(model={'name': 'PyG.TransE', 'hidden_channels': 4,
                            'p_norm': 2})
    model = build_model(options, build_graph(options))
    assert type(model) is pyg.TransE and model.p_norm == 2.0


@pytest.mark.parametrize('kind', ['dataset', 'model', 'sampler', 'loss',
                                  'adversary'])
def test_names_are_not_abstract(kind):
    names = valid_names(kind)
    assert names and not [n for n in names if n.startswith(('MMKG', 'Neg'))]


def test_devices():
    with pytest.raises(ConfigError, match=r"'training\.device' to be .*'abc'"):
        build_trainer(config(training={'device': 'abc'}),
                      build_graph(config()))
    with pytest.raises(ConfigError, match=r"training\.device' .*'cuda:99'"):
        build_trainer(config(training={'device': 'cuda:99'}),
                      build_graph(config()))
    plain = config(training={}, model={'name': 'AdaMF', 'hidden_channels': 4})
    automatic = build_trainer(plain, build_graph(plain))
    assert automatic.device.type == (
        'cuda' if torch.cuda.is_available() else 'cpu')


def test_modalities_of_a_benchmark_by_name(tmp_path, monkeypatch):
    """A list as in Python; the two keys of a modality do the same."""
    folder = tmp_path / 'FB15k-237'
    folder.mkdir()
    rows = {'train.txt': '/m/a\tr\t/m/b\n/m/b\tr\t/m/c\n',
            'valid.txt': '/m/a\tr\t/m/c\n', 'test.txt': '/m/c\tr\t/m/a\n'}
    for name, text in rows.items():
        (folder / name).write_text(text)
    monkeypatch.setattr(FB15k237, 'sha256', {
        name: hashlib.sha256(text.encode()).hexdigest()
        for name, text in rows.items()})
    for i, name in enumerate(['audio', 'caption', 'text'], 1):
        np.save(folder / f'{name}.npy', np.full((3, 2), i, dtype=np.float32))
    for key in ('features', 'modalities'):
        graph = build_graph(config(dataset={
            'name': 'FB15k237', key: ['text', 'caption']}), str(tmp_path))
        assert sorted(graph.modalities) == ['caption', 'text']
        assert float(graph.x_caption[0, 0]) == 2.0
    with pytest.raises(DataError, match="'speech' in .*got text, audio, capt"):
        build_graph(config(dataset={
            'name': 'FB15k237', 'features': ['speech']}), str(tmp_path))


def test_moved_names_are_found_with_a_warning() -> None:
    import pyg_mmkgc.config

    with pytest.warns(DeprecationWarning, match=r'use .pyg_mmkgc.runs.Run.'):
        assert pyg_mmkgc.config.Run is pyg_mmkgc.runs.Run
    with pytest.raises(AttributeError, match="no attribute 'Runs'"):
        _ = pyg_mmkgc.config.Runs
