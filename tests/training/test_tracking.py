"""Records of a training, read back by other readers."""

import csv
import json
import sys
from types import SimpleNamespace

import pytest

from pyg_mmkgc.errors import MMKGCError, ModelError
from pyg_mmkgc.training import CSVLogger, TensorBoard, WandB


def test_csv(make, interrupted, tmp_path):
    interrupted(tmp_path, 'mat', 8, epochs=4, valid_every=2,
                callbacks=[CSVLogger()])
    with open(tmp_path / 'history.csv', newline='') as file:
        assert len(list(csv.DictReader(file))) == 2
    history = make('mat', epochs=4, valid_every=2, folder=tmp_path,
                   callbacks=[CSVLogger()]).fit(resume=True)
    with open(tmp_path / 'history.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(history.epochs) == 4
    for row, entry in zip(rows, history.epochs):
        given = {key: float(value) for key, value in row.items() if value}
        assert given == entry
    assert list(rows[0])[:3] == ['epoch', 'loss', 'generator_loss']
    assert rows[0]['val_hits@1'] == '' != rows[1]['val_hits@1']


def scalars(folder):
    """All values in TensorBoard's files, by its own reader."""
    from tensorboard.backend.event_processing.event_accumulator import (
        EventAccumulator,
    )

    events = EventAccumulator(str(folder), {'scalars': 0})
    events.Reload()
    return {name: {x.step: x.value for x in events.Scalars(name)}
            for name in events.Tags()['scalars']}


def test_tensorboard(make, interrupted, tmp_path):
    pytest.importorskip('tensorboard')
    options = {'epochs': 5, 'valid_every': 2}
    # The interruption is in epoch 4; the checkpoint is that of epoch 2.
    interrupted(tmp_path, 'mat', 11, callbacks=[TensorBoard()], **options)
    assert set(scalars(tmp_path / 'tensorboard')['train/loss']) == {1, 2, 3}
    history = make('mat', folder=tmp_path, callbacks=[TensorBoard()],
                   **options).fit(resume=True)
    found = scalars(tmp_path / 'tensorboard')
    assert {'train/loss', 'train/generator_loss', 'train/seconds', 'val/mrr',
            'val/mr', 'val/hits@10'} <= set(found)
    for name, values in found.items():
        key = name.replace('val/', 'val_').replace('train/', '')
        expected = {x['epoch']: x[key] for x in history.epochs if key in x}
        # Event files hold single precision.
        assert values == {step: pytest.approx(value, rel=1e-6)
                          for step, value in expected.items()}


def test_tensorboard_in_a_folder_of_its_own(make, tmp_path):
    pytest.importorskip('tensorboard')
    make('pyg', epochs=1, callbacks=[TensorBoard(tmp_path / 'a')]).fit()
    assert set(scalars(tmp_path / 'a')['val/mrr']) == {1}


class FakeRun:
    def __init__(self, options):
        self.options, self.rows, self.summary = options, {}, {}
        self.finished = False

    def log(self, values, step):
        self.rows[step] = values

    def finish(self):
        self.finished = True


def test_wandb(make, interrupted, tmp_path, monkeypatch):
    """A stand-in for the package, which needs an account or a network."""
    runs = []

    def init(**options):
        runs.append(FakeRun(options))
        return runs[-1]

    monkeypatch.setitem(sys.modules, 'wandb', SimpleNamespace(init=init))
    folder = tmp_path / 'run'
    interrupted(folder, 'pyg', 8, callbacks=[WandB('mine', mode='offline')])
    history = make('pyg', folder=folder, callbacks=[
        WandB('mine', mode='offline')]).fit(resume=True)
    first, second = runs
    assert first.finished and second.finished
    assert first.options['id'] == second.options['id']
    for run in runs:
        assert run.options['project'] == 'mine'
        assert run.options['mode'] == 'offline'
        assert run.options['name'] == 'run'
        assert run.options['config']['lr'] == 0.02
        assert run.options['config']['epochs'] == 3
        json.dumps(run.options['config'])
    assert set(first.rows) == {1, 2} and set(second.rows) == {3}
    last = history.epochs[2]
    assert second.rows[3]['train/loss'] == last['loss']
    assert second.rows[3]['val/hits@1'] == last['val_hits@1']
    assert second.summary['best/mrr'] == history.best_metrics['mrr']


def test_a_new_training_is_a_new_run(make, tmp_path, monkeypatch):
    ids = []
    monkeypatch.setitem(sys.modules, 'wandb', SimpleNamespace(
        init=lambda **x: ids.append(x['id']) or FakeRun(x)))
    for name in ('a', 'b'):
        make('pyg', epochs=1, folder=tmp_path / name,
             callbacks=[WandB()]).fit()
    assert len(set(ids)) == 2


@pytest.mark.parametrize('cls', [TensorBoard, WandB])
def test_without_the_package(cls, monkeypatch):
    monkeypatch.setitem(sys.modules, cls.__name__.lower(), None)
    with pytest.raises(MMKGCError, match=f"Expected '{cls.__name__.lower()}' "
                       r'.*pip install "pyg_mmkgc\[tracking\]"'):
        cls()


def test_without_a_folder(make):
    with pytest.raises(ModelError, match="Expected 'path', since the trainer"):
        make('pyg', epochs=1, callbacks=[CSVLogger()]).fit()
