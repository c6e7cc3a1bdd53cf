"""Tests of hostile checkpoints that are well-formed with correct hashes."""

import pytest
import safetensors.torch
import torch

from pyg_mmkgc.distributed.checkpoint import save_sharded
from pyg_mmkgc.errors import CheckpointError, MMKGCError
from pyg_mmkgc.io.tensors import digest, load_tensors, save_tensors
from pyg_mmkgc.training.checkpoint import CHECKPOINT, save_checkpoint


def moments(tensors, metadata, value):
    for key in tensors:
        if key.endswith('/exp_avg'):
            tensors[key] = value(tensors[key])


def forget(tensors, metadata):
    for key in [key for key in tensors if key.endswith('/exp_avg_sq')]:
        del tensors[key]


def rename(tensors, old, new):
    for key in [key for key in tensors if old in key]:
        tensors[key.replace(old, new)] = tensors.pop(key)


def setting(*path, value):
    def change(tensors, metadata):
        for key in path[:-1]:
            metadata = metadata[key]
        metadata[path[-1]] = value
    return change


HOSTILE = {
    # Fused Adam would write out of bounds.
    'short moments': lambda t, m: moments(t, m, lambda x: x.view(-1)[:1]),
    'moments of no shape': lambda t, m: moments(t, m, torch.sum),
    'moments turned': lambda t, m: moments(t, m, lambda x: x.t()),
    'no moments': forget,
    'a moment more': lambda t, m: t.update(
        {'optimizer/model/99/exp_avg': torch.zeros(1)}),
    'an optimizer more': lambda t, m: t.update(
        {'optimizer/other/0/exp_avg': torch.zeros(1)}),
    'another index': lambda t, m: rename(t, 'model/0/', 'model/x/'),
    'a long index': lambda t, m: rename(t, 'model/0/', 'model/' + '9' * 5000
                                        + '/'),
    'a name without parts': lambda t, m: t.update(
        {'state': torch.zeros(1)}),
    'a weight less': lambda t, m: t.pop('state/model/rel_emb.weight'),
    'a weight of no size': lambda t, m: t.update(
        {'state/model/rel_emb.weight': torch.zeros(0, 1 << 40)}),
    'a best weight less': lambda t, m: t.pop('state/best/rel_emb.weight'),
    'no model': lambda t, m: rename(t, 'state/model/', 'state/modem/'),
    'a number as state': setting('numbers', value={'state/model/x': 1}),
    'numbers': setting('numbers', value=[1]),
    'groups': setting('param_groups', value=[1]),
    'no groups': setting('param_groups', value={}),
    'fewer groups': setting('param_groups', 'model', value=[]),
    'a group': setting('param_groups', 'model', value=[5]),
    'a rate': setting('param_groups', 'model', 0, 'lr', value='high'),
    'betas': setting('param_groups', 'model', 0, 'betas', value=[0.9]),
    'options': setting('param_groups', 'model', 0, 'maximize', value=True),
    'parameters': setting('param_groups', 'model', 0, 'params',
                          value=[0, 0, 0]),
    'history': setting('history', value=None),
    'epochs': setting('history', 'epochs', value=5),
    'an epoch': setting('history', 'epochs', value=['x']),
    'a metric': setting('history', 'best_metrics', value={'mrr': 'high'}),
    'another history': setting('history', 'more', value=1),
    'fingerprint': setting('fingerprint', value=[]),
    'nothing': lambda t, m: m.clear(),
    'half an epoch': lambda t, m: t.update(
        {'state/part/steps': torch.tensor(1)}),
    'generators': lambda t, m: t.update({
        'state/part/steps': torch.tensor(1),
        'state/part/count': torch.tensor(50),
        'state/part/seconds': torch.tensor(1.0),
        'state/part/rng.draw': torch.zeros(3)}),
}


@pytest.mark.parametrize('name', list(HOSTILE))
def test_hostile_checkpoints(name, make, tmp_path):
    make('adamf', epochs=1, folder=tmp_path).fit()
    tensors, metadata = load_tensors(tmp_path / CHECKPOINT)
    HOSTILE[name](tensors, metadata)
    save_tensors(tmp_path / CHECKPOINT, tensors, metadata)
    trainer = make('adamf', epochs=2, folder=tmp_path)
    with pytest.raises(CheckpointError, match=CHECKPOINT):
        trainer.fit(resume=True)
    # The file is unchanged.
    again = load_tensors(tmp_path / CHECKPOINT)[0]
    assert again.keys() == tensors.keys()


@pytest.mark.parametrize('training', ['mat', 'pyg', 'sparse'])
def test_harmless_ones_still_load(training, make, tmp_path):
    make(training, epochs=1, folder=tmp_path).fit()
    tensors, metadata = load_tensors(tmp_path / CHECKPOINT)
    save_tensors(tmp_path / CHECKPOINT, tensors, metadata)
    trainer = make(training, epochs=2, folder=tmp_path)
    assert len(trainer.fit(resume=True).epochs) == 2


def test_only_own_files_are_removed(tmp_path):
    """A user's folder may have the name of the folder of checkpoints."""
    folder, module = tmp_path / 'checkpoint', torch.nn.Linear(1, 1)

    def save():
        save_checkpoint(tmp_path, {'model': module.state_dict()}, {}, {},
                        module)

    for name in ('mine', '0123abcd'):
        (folder / name).mkdir(parents=True)
    save()
    assert (folder / 'mine').is_dir() and (folder / '0123abcd').is_dir()
    for _ in range(2):  # The first one is replaced.
        save_sharded(folder, {'x': torch.ones(2)}, {})
    assert (folder / 'mine').is_dir()
    assert len(list(folder.iterdir())) == 3
    save()
    assert [x.name for x in folder.iterdir()] == ['mine']
    (folder / 'mine').rmdir()
    save_sharded(folder, {'x': torch.ones(2)}, {})
    save()
    assert [x.name for x in tmp_path.iterdir()] == [CHECKPOINT]


@pytest.mark.parametrize('metadata', [
    '[' * 100_000, '[]', '5', '{"a": 1e999}', '{"a": 1, "a": 2}', 'x', '',
    '{"fingerprint": NaN}'])
def test_metadata_that_is_none(metadata, make, tmp_path):
    x = {'x': torch.ones(2)}
    safetensors.torch.save_file(x, tmp_path / CHECKPOINT, {
        'format': 'pt', 'metadata': metadata, 'sha256': digest(x, metadata)})
    with pytest.raises(MMKGCError, match=CHECKPOINT):
        make('adamf', folder=tmp_path).fit(resume=True)
