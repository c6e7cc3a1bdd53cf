"""Tests of checkpoints and exit statuses after SIGTERM and SIGHUP."""

import os
import signal
import subprocess
import sys
import threading

import pytest
import torch

from pyg_mmkgc.errors import Terminated
from pyg_mmkgc.io.tensors import load_tensors
from pyg_mmkgc.nn import AdaMF, KvsAllLoss
from pyg_mmkgc.nn.kge import TransE
from pyg_mmkgc.sampler import MMRNSSampler
from pyg_mmkgc.termination import catch_signals
from pyg_mmkgc.training import KBGAN, AdversarialTrainer, Trainer
from pyg_mmkgc.training.trainer import CHECKPOINT


def losses(history):
    return [{key: value for key, value in entry.items() if key != 'seconds'}
            for entry in history.epochs]


def kill_in_step(trainer, number, step):
    """Sends a signal to this process during a step."""
    run, calls = trainer.train_step, []

    def train_step(*args):
        calls.append(args)
        if len(calls) == step:
            os.kill(os.getpid(), number)
        return run(*args)

    trainer.train_step = train_step


def terminated(trainer, number=signal.SIGTERM):
    with pytest.raises(Terminated) as info:
        trainer.fit()
    assert info.value.signal == number
    assert info.value.code == 128 + number


# 128 triples in batches of 50: 3 steps in an epoch, 9 in all.
@pytest.mark.parametrize('step', [1, 2, 3, 4, 8, 9])
def test_resumed_equals_uninterrupted(kind, step, make, whole, options, state,
                                      same, tmp_path, capsys):
    history, expected = whole(kind)
    trainer = make(kind, folder=tmp_path, **options)
    rng = torch.get_rng_state()
    kill_in_step(trainer, signal.SIGTERM, step)
    terminated(trainer)
    assert torch.equal(torch.get_rng_state(), rng)
    assert CHECKPOINT in capsys.readouterr().err
    resumed = make(kind, init=99, folder=tmp_path, **options)
    done = []
    run = resumed.train_step
    resumed.train_step = lambda *args: done.append(args[1]) or run(*args)
    again = resumed.fit(resume=True)
    assert len(done) == 9 - step  # The step was finished, and is not repeated.
    assert losses(again) == losses(history)
    assert again.best_epoch == history.best_epoch
    same(state(resumed), expected)


def learned(kg, name, **kwargs):
    """Samplers and adversaries may keep state within an epoch."""
    torch.manual_seed(kwargs.pop('init', 0))
    model = AdaMF.from_data(kg, 4)
    kwargs = {'batch_size': 50, 'epochs': 3, 'progress': False, **kwargs}
    if name == 'mmrns':
        sampler = MMRNSSampler.from_data(kg, model, num_negatives=4,
                                         num_candidates=16)
        return Trainer(model, kg, sampler=sampler, **kwargs)
    if name == 'all nodes':
        return Trainer(model, kg, loss=KvsAllLoss(), **kwargs)
    adversary = KBGAN(TransE(kg.num_nodes, kg.num_relations, 4),
                      pretrain_epochs=1)
    return AdversarialTrainer(model, kg, adversary=adversary, **kwargs)


@pytest.mark.parametrize('step', [2, 5])
@pytest.mark.parametrize('name', ['mmrns', 'all nodes', 'kbgan'])
def test_what_lasts_an_epoch(name, step, kg, state, same, tmp_path):
    whole = learned(kg, name)
    history = whole.fit()
    trainer = learned(kg, name, folder=tmp_path)
    kill_in_step(trainer, signal.SIGHUP, step)
    terminated(trainer, signal.SIGHUP)
    resumed = learned(kg, name, folder=tmp_path, init=9)
    assert losses(resumed.fit(resume=True)) == losses(history)
    same(state(resumed), state(whole))


def test_twice(make, options, state, same, whole, tmp_path):
    """A training may be terminated twice in one epoch."""
    history, expected = whole('mat')
    trainer = make('mat', folder=tmp_path, **options)
    for step in (5, 1, 1):
        kill_in_step(trainer, signal.SIGTERM, step)
        with pytest.raises(Terminated):
            trainer.fit(resume=step == 1)
        trainer = make('mat', init=step, folder=tmp_path, **options)
    assert losses(trainer.fit(resume=True)) == losses(history)
    same(state(trainer), expected)


def test_while_it_validates(make, options, whole, state, same, tmp_path,
                            monkeypatch):
    """It ends immediately, and the validation runs again."""
    history, expected = whole('mat')
    with monkeypatch.context() as patch:
        patch.setattr('pyg_mmkgc.training.trainer.evaluate',
                      lambda *args: os.kill(os.getpid(), signal.SIGTERM))
        terminated(make('mat', folder=tmp_path, **options))
    saved = load_tensors(tmp_path / CHECKPOINT)[1]['history']
    assert saved['epochs'] == []
    resumed = make('mat', init=9, folder=tmp_path, **options)
    assert losses(resumed.fit(resume=True)) == losses(history)
    same(state(resumed), expected)


def test_the_second_signal_does_not_wait(make, tmp_path):
    trainer = make('mat', folder=tmp_path)
    reached = []

    def train_step(*args):
        os.kill(os.getpid(), signal.SIGTERM)
        reached.append(1)
        os.kill(os.getpid(), signal.SIGTERM)
        reached.append(2)

    trainer.train_step = train_step
    terminated(trainer)
    assert reached == [1]


def test_without_a_folder(make):
    trainer = make('mat')
    kill_in_step(trainer, signal.SIGTERM, 2)
    terminated(trainer)


def test_handlers_are_put_back(make):
    """Handlers are restored, and ignored signals stay ignored."""
    for handler in (signal.SIG_DFL, signal.SIG_IGN, lambda *args: None):
        before = signal.signal(signal.SIGHUP, handler)
        try:
            with catch_signals():
                same = signal.getsignal(signal.SIGHUP) is handler
                # Ignored signals, as under nohup, stay ignored.
                assert same == (handler is signal.SIG_IGN)
            assert signal.getsignal(signal.SIGHUP) is handler
            make('pyg', epochs=1).fit()
            assert signal.getsignal(signal.SIGHUP) is handler
        finally:
            signal.signal(signal.SIGHUP, before)


def test_in_another_thread(make):
    """Only the main thread sets handlers, but all threads can train."""
    done = []
    thread = threading.Thread(
        target=lambda: done.append(make('pyg', epochs=1).fit()))
    thread.start()
    thread.join()
    assert len(done[0].epochs) == 1


SCRIPT = """
import os, signal, sys
from pyg_mmkgc.datasets import FakeMMKG
from pyg_mmkgc.nn import TransE
from pyg_mmkgc.sampler import UniformSampler
from pyg_mmkgc.training import Trainer
class Doomed(Trainer):
    def train_step(self, batch, where):
        os.kill(os.getpid(), getattr(signal, sys.argv[2]))
        return super().train_step(batch, where)
kg = FakeMMKG(num_nodes=20, num_edges=60)[0]
Doomed(TransE(20, kg.num_relations, 4), kg, sampler=UniformSampler(2),
       folder=sys.argv[1], progress=False).fit()
print('not reached')
"""


@pytest.mark.parametrize('name, status', [('SIGTERM', 143), ('SIGHUP', 129)])
def test_the_status_of_a_script(name, status, tmp_path):
    done = subprocess.run([sys.executable, '-c', SCRIPT, str(tmp_path), name],
                          capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (status, ''), done.stderr
    assert 'Traceback' not in done.stderr
    assert (tmp_path / CHECKPOINT).is_file()
