"""Runs: their folders, their precision and the origin of their code."""

import json
import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from pyg_mmkgc.config import load_config
from pyg_mmkgc.errors import CheckpointError, ConfigError
from pyg_mmkgc.io import provenance
from pyg_mmkgc.runs import Run
from pyg_mmkgc.training import Callback

COMMIT = '0123456789abcdef0123456789abcdef01234567'
VCS = {'url': 'https://example.org/x.git',
       'vcs_info': {'vcs': 'git', 'commit_id': COMMIT}}


@pytest.mark.parametrize('text, commit', [
    (json.dumps(VCS), COMMIT),
    (json.dumps({'url': 'file:///x', 'dir_info': {}}), None),
    (None, None),
], ids=['git', 'folder', 'index'])
def test_commit_of_an_installation(text, commit, tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, '__file__',
                        str(tmp_path / 'a' / 'b' / 'provenance.py'))
    monkeypatch.setattr(
        provenance.metadata, 'distribution', lambda name: SimpleNamespace(
            read_text=lambda file: text))
    assert provenance._commit() == commit


ENSEMBLE = """
dataset: {name: FakeMMKG, num_nodes: 60, num_relations: 2, num_edges: 300}
model: {name: MoSE, hidden_channels: 4, ensemble: boosted}
loss: {name: OneVsAllLoss}
training: {epochs: 3, lr: 0.1, valid_every: 1, device: cpu}
"""


def test_an_ensemble_is_fitted_after_training(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'm.yaml').write_text(ENSEMBLE)
    result = {}
    for mode in ('mean', 'boosted'):
        one = Run.create('m.yaml', [f'model.ensemble={mode}'], mode)
        result[mode] = one.train(progress=False)
        weight = Run.open(mode).load_model().combine.weight
        equal = torch.full_like(weight, 1 / 3)
        assert torch.equal(weight, equal) == (mode == 'mean')
        assert Run.open(mode).evaluate('test').mrr == result[mode].mrr
    assert result['mean'].mrr != result['boosted'].mrr


def test_an_ensemble_without_validation_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'm.yaml').write_text(ENSEMBLE)
    with pytest.raises(ConfigError, match="'model.ensemble' to be 'mean' .*"
                       r"\(got 'boosted'\)\. The graph has no"):
        Run.create('m.yaml', ['dataset.val_ratio=0.0'], 'out')
    assert not (tmp_path / 'out').exists()


def test_the_origin_is_that_at_the_start_of_training(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'm.yaml').write_text(AUTO)
    run = Run.create('m.yaml', [], 'out')
    before = platform.platform()

    class Change(Callback):
        def on_epoch_end(self, *args):
            monkeypatch.setattr(platform, 'platform', lambda: 'another')

    run.trainer.callbacks.append(Change())
    run.train(progress=False)
    assert platform.platform() == 'another'
    metrics = json.loads((tmp_path / 'out' / 'metrics.json').read_text())
    assert metrics['platform'] == before


AUTO = """
dataset: {name: FakeMMKG, num_nodes: 60, num_relations: 2, num_edges: 300}
model: {name: AdaMF, hidden_channels: 4}
sampler: {name: UniformSampler, num_negatives: 4}
training: {epochs: 2, device: cpu, valid_every: null, autocast: auto}
"""


@pytest.fixture
def hardware(monkeypatch):
    """Sets whether hardware multiplies bfloat16 matrices."""
    return lambda has: monkeypatch.setattr(
        'pyg_mmkgc.training.trainer.multiplies_bfloat16', lambda device: has)


@pytest.mark.parametrize('has', [True, False])
def test_a_run_says_what_auto_stood_for(has, hardware, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'm.yaml').write_text(AUTO)
    hardware(has)
    one = Run.create('m.yaml', (), 'run')
    one.train(progress=False)
    assert json.loads((tmp_path / 'run/metrics.json').read_text())[
        'autocast'] is has
    assert load_config('run/config.yaml').training.autocast is has
    # What is evaluated is in full precision, whatever the hardware.
    mrr = Run.open('run').evaluate().mrr
    hardware(not has)
    assert Run.open('run').evaluate().mrr == mrr


def interrupt(folder, monkeypatch):
    """Returns a run that is killed after its first checkpoint."""
    (folder / 'm.yaml').write_text(AUTO)
    one = Run.create('m.yaml', ['training.epochs=11'], 'run')
    begin = one.trainer.begin_epoch

    def stop(epoch):
        if epoch == 11:
            raise KeyboardInterrupt
        begin(epoch)

    monkeypatch.setattr(one.trainer, 'begin_epoch', stop)
    with pytest.raises(KeyboardInterrupt):
        one.train(progress=False)


def test_a_run_goes_on_in_full_precision(hardware, tmp_path, monkeypatch):
    """A run that starts without bfloat16 in hardware resumes with it."""
    monkeypatch.chdir(tmp_path)
    hardware(False)
    interrupt(tmp_path, monkeypatch)
    hardware(True)
    Run.open('run').train(progress=False)
    metrics = json.loads((tmp_path / 'run/metrics.json').read_text())
    assert (metrics['epochs'], metrics['autocast']) == (11, False)


def test_a_run_in_bfloat16_needs_it_again(hardware, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hardware(True)
    interrupt(tmp_path, monkeypatch)
    hardware(False)
    with (pytest.warns(UserWarning, match='Autocast is off'),
          pytest.raises(CheckpointError, match='saved True, now False .*on '
                        'hardware that multiplies bfloat16')):
        Run.open('run').train(progress=False)
    assert not Run.open('run').finished
    hardware(True)
    Run.open('run').train(progress=False)
    assert Run.open('run').finished


def epochs_of(folder):
    """Returns the number of epochs of a finished run."""
    return json.loads((folder / 'metrics.json').read_text())['epochs']


def test_a_run_is_extended_and_trained(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'm.yaml').write_text(AUTO)
    one = Run.create('m.yaml', (), 'run')
    one.train(progress=False)
    one.extend(['training.epochs=3'])
    one.train(progress=False)
    assert epochs_of(tmp_path / 'run') == 3
    assert load_config('run/config.yaml').training.epochs == 3


def test_an_unfinished_run_has_something_to_train(tmp_path, monkeypatch):
    """Its checkpoint has ten epochs."""
    monkeypatch.chdir(tmp_path)
    interrupt(tmp_path, monkeypatch)
    one = Run.open('run')
    for epochs in (9, 10):
        with pytest.raises(ConfigError, match="'training.epochs' to be more "
                           "than the 10 epochs of the unfinished run in 'run'"
                           rf' \(got {epochs}\)'):
            one.extend([f'training.epochs={epochs}'])
    assert load_config('run/config.yaml').training.epochs == 11
    one.extend(['training.epochs=12'])
    one.train(progress=False)
    assert epochs_of(tmp_path / 'run') == 12


def test_a_run_that_lacks_its_evaluation_is_extended(tmp_path, monkeypatch):
    """Its training is complete, so its length may stay."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'm.yaml').write_text(AUTO)
    Run.create('m.yaml', (), 'run').train(progress=False)
    (tmp_path / 'run/metrics.json').unlink()
    one = Run.open('run')
    one.extend(['training.track=csv'])
    assert one.train(progress=False) is not None
    assert epochs_of(tmp_path / 'run') == 2


STOPS = """
dataset: {name: FakeMMKG, num_nodes: 60, num_edges: 300, modalities: []}
model: {name: PyG.TransE, hidden_channels: 8, p_norm: 2.0}
training: {epochs: 30, lr: 0.5, patience: 1, valid_every: 1, device: cpu}
"""


def test_patience_that_ends_with_the_training(tmp_path, monkeypatch):
    """More epochs alone would train nothing."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'm.yaml').write_text(STOPS)
    Run.create('m.yaml', (), 'a').train(progress=False)
    count = epochs_of(tmp_path / 'a')
    assert count < 30
    one = Run.create('m.yaml', [f'training.epochs={count}'], 'b')
    one.train(progress=False)
    more = f'training.epochs={count + 1}'
    with pytest.raises(ConfigError, match="'training.patience' to be more "
                       r"than 1, .* in 'b' .*\(got 1\)"):
        one.extend([more])
    one.extend([more, 'training.patience=2'])
    one.train(progress=False)
    assert epochs_of(tmp_path / 'b') == count + 1


HOLD = """
import pathlib
import sys
from pyg_mmkgc.runs.folder import lock_folder
with lock_folder(pathlib.Path(sys.argv[1])):
    print('held', flush=True)
    sys.stdin.read()
"""


def test_two_processes_do_not_train_one_run(tmp_path, monkeypatch):
    pytest.importorskip('fcntl')
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'm.yaml').write_text(ENSEMBLE)
    Run.create('m.yaml', folder='out')
    before = sorted(path.name for path in (tmp_path / 'out').iterdir())
    with subprocess.Popen([sys.executable, '-c', HOLD, 'out'],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as other:
        assert other.stdout.readline() == 'held\n'
        with pytest.raises(ConfigError, match="no other process .* in 'ou"):
            Run.open('out').train(progress=False)
        other.kill()
    # Nothing was written, and the lock of the dead process holds nobody.
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == [
        '.lock', *before]
    one = Run.open('out')
    assert one.train(progress=False) is not None
    # As a process that waited for the other one to end.
    monkeypatch.setattr(Run, 'finished', property(lambda self: next(answers)))
    answers = iter([False, True])
    with pytest.raises(ConfigError, match='got a finished run'):
        one.train(progress=False)
