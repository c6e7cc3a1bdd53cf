"""Tests that seeds and resumed trainings reproduce the same bits."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pyg_mmkgc.errors import CheckpointError, FormatError
from pyg_mmkgc.io import tensors as io_tensors
from pyg_mmkgc.io.tensors import load_tensors, save_tensors
from pyg_mmkgc.kernels import backend
from pyg_mmkgc.nn import (
    AdaMF,
    MarginRankingLoss,
    OneVsAllLoss,
    SelfAdversarialLoss,
)
from pyg_mmkgc.nn.kge import OTKGE
from pyg_mmkgc.sampler import PooledSampler, UniformSampler
from pyg_mmkgc.training import MAT, Trainer
from pyg_mmkgc.training.checkpoint import load_checkpoint
from pyg_mmkgc.training.inputs import features_digest
from pyg_mmkgc.training.trainer import CHECKPOINT


def losses(history) -> list[dict]:  # noqa: ANN001
    return [{key: value for key, value in entry.items() if key != 'seconds'}
            for entry in history.epochs]


def test_same_seed_same_bits(kind, make, whole, options, state,
                             same) -> None:
    history, expected = whole(kind)
    again = make(kind, **options)
    torch.manual_seed(12345)  # Numbers come from the trainer's seed only.
    assert losses(again.fit()) == losses(history)
    same(state(again), expected)
    other = make(kind, seed=1, epochs=1)
    assert losses(other.fit()) != losses(history)[:1]


# 128 triples in batches of 50: 3 steps in an epoch, 9 in all.
@pytest.mark.parametrize('training, step', [
    *((kind, 5) for kind in ('pyg', 'pyg_sampler', 'sparse', 'adamf',
                             'one_optimizer', 'mat', 'mat_apart',
                             'mat_together')),
    ('mat', 4), ('mat', 9), ('sparse', 7)])
def test_resumed_equals_uninterrupted(training, step, make, whole, options,
                                      interrupted, state, same,
                                      tmp_path) -> None:
    history, expected = whole(training)
    interrupted(tmp_path, training, step, **options)
    resumed = make(training, init=99, folder=tmp_path, **options)
    again = resumed.fit(resume=True)
    assert losses(again) == losses(history)
    assert again.best_epoch == history.best_epoch
    assert again.best_metrics == history.best_metrics
    same(state(resumed), expected)


@pytest.mark.parametrize('valid_every', [2, 3, None])
def test_checkpoints_between_epochs(valid_every, make, interrupted, state,
                                    same, tmp_path) -> None:
    """The training resumes from the last checkpoint, however old."""
    whole = make('mat', valid_every=valid_every, epochs=5)
    whole.fit()
    if valid_every is None:
        make('mat', valid_every=None, epochs=2, folder=tmp_path).fit()
    else:
        interrupted(tmp_path, 'mat', 14, valid_every=valid_every, epochs=5)
    saved = load_tensors(tmp_path / CHECKPOINT)[1]['history']
    assert len(saved['epochs']) == {2: 4, 3: 3, None: 2}[valid_every]
    resumed = make('mat', init=9, valid_every=valid_every, epochs=5,
                   folder=tmp_path)
    resumed.fit(resume=True)
    same(state(resumed), state(whole))


def test_checkpoints_without_validation(make, interrupted, state, same,
                                        tmp_path) -> None:
    whole = make('adamf', valid_every=None, epochs=12)
    whole.fit()
    interrupted(tmp_path, 'adamf', 35, valid_every=None, epochs=12)
    saved = load_tensors(tmp_path / CHECKPOINT)[1]['history']
    assert len(saved['epochs']) == 10
    resumed = make('adamf', init=9, valid_every=None, epochs=12,
                   folder=tmp_path)
    resumed.fit(resume=True)
    same(state(resumed), state(whole))


SCRIPT = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location('helpers', sys.argv[1])
helpers = importlib.util.module_from_spec(spec)
spec.loader.exec_module(helpers)
from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.io.tensors import save_tensors
from pyg_mmkgc.kernels import backend
backend._load = lambda name: None
kg = KnowledgeGraph.load(sys.argv[2])
trainer = helpers.build(kg, 'mat', init=7, folder=sys.argv[3],
                        lr_schedule='cosine', grad_clip=0.5, patience=3)
trainer.fit(resume=True)
save_tensors(sys.argv[4], helpers.collect(trainer))
"""


def test_resumed_in_another_process(kg, make, options, interrupted, state,
                                    same, tmp_path, monkeypatch) -> None:
    """Runs without numba, since freshly compiled and cached loops differ in
    the last bits."""
    monkeypatch.setattr(backend, '_load', lambda name: None)
    whole = make('mat', **options)
    whole.fit()
    interrupted(tmp_path / 'run', 'mat', 8, **options)
    kg.save(tmp_path / 'kg')
    helpers = Path(__file__).with_name('conftest.py')
    subprocess.run([sys.executable, '-c', SCRIPT, helpers, tmp_path / 'kg',
                    tmp_path / 'run', tmp_path / 'out'], check=True,
                   cwd=Path(__file__).parents[2])
    same(load_tensors(tmp_path / 'out')[0], state(whole))


def test_early_stop_is_remembered(make, interrupted, state, same,
                                  tmp_path) -> None:
    eager = {'patience': 1, 'epochs': 30, 'lr': 0.5}
    first = make('pyg', folder=tmp_path, **eager)
    history = first.fit()
    assert history.stopped_early and len(history.epochs) < 30
    second = make('pyg', init=3, folder=tmp_path, **eager)
    again = second.fit(resume=True)
    assert losses(again) == losses(history)
    same(first.model.state_dict(), second.model.state_dict())
    # More patience continues the training.
    third = make('pyg', init=3, folder=tmp_path, **{
        **eager, 'patience': 100, 'epochs': len(history.epochs) + 2})
    longer = third.fit(resume=True)
    assert len(longer.epochs) == len(history.epochs) + 2
    assert not longer.stopped_early


def test_more_epochs(make, state, same, tmp_path) -> None:
    """A finished training continues from its last weights."""
    make('adamf', epochs=2, folder=tmp_path).fit()
    longer = make('adamf', folder=tmp_path)
    assert len(longer.fit(resume=tmp_path).epochs) == 3
    whole = make('adamf')
    whole.fit()
    same(state(longer), state(whole))


@pytest.mark.parametrize('field, training, change', [
    ('seed', 'mat', {'seed': 1}),
    ('lr', 'mat', {'lr': 0.5}),
    ('batch_size', 'mat', {'batch_size': 51}),
    ('grad_clip', 'mat', {'grad_clip': 2.0}),
    ('lr_schedule', 'mat', {'lr_schedule': 'linear'}),
    ('loss', 'mat', {'loss': SelfAdversarialLoss(3.0)}),
    ('loss', 'mat', {'loss': MarginRankingLoss()}),
    ('sampler', 'mat', {'sampler': PooledSampler(6, 16)}),
    ('sampler', 'mat', {'sampler': PooledSampler(5, 32)}),
    ('sampler', 'mat', {'sampler': UniformSampler(5)}),
    ('adversary', 'mat', {'weight': 0.2}),
    ('model', 'pyg', {}), ('model', 'mat_apart', {}),
])
def test_another_run_is_refused(field, training, change, make, interrupted,
                                tmp_path) -> None:
    interrupted(tmp_path, 'mat', 5)
    other = make(training, folder=tmp_path, **change)
    with pytest.raises(CheckpointError, match=rf'\b{field}: saved'):
        other.fit(resume=True)


@pytest.fixture
def adamf(kg, make, interrupted, tmp_path):  # noqa: ANN201
    interrupted(tmp_path, 'adamf', 5)

    def resume(model=None, data=None, **kwargs) -> None:  # noqa: ANN001
        trainer = make('adamf', folder=tmp_path, **kwargs)
        trainer.data = data or kg
        trainer.model = model or trainer.model
        trainer.fit(resume=True)
    return resume


@pytest.mark.parametrize('field, change', [
    ('shapes.node_emb.weight', {'hidden_channels': 5}),
    ('options.margin', {'margin': 4.0}),
    ('shapes.fuser.weight', {'fusion': 'shared'}),
    ('options.num_negatives', {'missing': 'learned', 'num_negatives': 9}),
    ('options.trainable_features', {'trainable_features': True})])
def test_another_model_is_refused(field, change, kg, adamf) -> None:
    change = {'hidden_channels': 4, 'num_negatives': 8,
              'missing': 'learned', **change}
    model = AdaMF.from_data(kg, change.pop('hidden_channels'), **change)
    with pytest.raises(CheckpointError, match=rf'\b{field}: saved'):
        adamf(model)


def test_other_data_is_refused(kg, make, interrupted, tmp_path) -> None:
    interrupted(tmp_path, 'adamf', 5)
    trainer = make('adamf', folder=tmp_path)
    head, rel, tail = trainer.triples
    trainer.triples = (head, rel, tail.flip(0))
    with pytest.raises(CheckpointError, match='of another run: the training '
                       r'triples, .* changed\)$'):
        trainer.fit(resume=True)


@pytest.mark.parametrize('part', ['triples of test', 'labels of nodes'])
def test_other_answers_or_labels_are_refused(part, kg, make, interrupted,
                                             tmp_path) -> None:
    """Test triples matter, since validation filters them."""
    interrupted(tmp_path, 'adamf', 5)
    other = copy.deepcopy(kg)
    if part == 'triples of test':
        tail = (kg.edge_index[1, kg.test_mask] + 1) % kg.num_nodes
        other.edge_index[1, kg.test_mask] = tail
    else:
        other.node_names = kg.node_names[::-1]
    trainer = make('adamf', folder=tmp_path)
    trainer.data = other
    with pytest.raises(CheckpointError, match='of another run: the '
                       rf'{part} changed\)$'):
        trainer.fit(resume=True)


def test_without_and_with_validation(make, tmp_path) -> None:
    """The settings of validation may change."""
    make('adamf', folder=tmp_path, epochs=2, valid_every=None).fit()
    history = make('adamf', folder=tmp_path).fit(resume=True)
    assert history.best_epoch == 3


def test_no_other_training_is_overwritten(make, tmp_path) -> None:
    for name, lr in (('a', 0.02), ('b', 0.05)):
        make('adamf', folder=tmp_path / name, epochs=1, lr=lr).fit()
    before = (tmp_path / 'b' / CHECKPOINT).read_bytes()
    with pytest.raises(CheckpointError, match="a checkpoint .got '.*b/"):
        make('adamf', folder=tmp_path / 'b').fit(resume=tmp_path / 'a')
    assert (tmp_path / 'b' / CHECKPOINT).read_bytes() == before
    make('adamf', folder=tmp_path / 'c').fit(resume=tmp_path / 'a')
    assert (tmp_path / 'c' / CHECKPOINT).is_file()
    same = make('adamf', folder=tmp_path / 'a' / '..' / 'a')
    assert len(same.fit(resume=tmp_path / 'a').epochs) == 3


@pytest.mark.parametrize('change', ['x_visual', 'mask_visual'])
def test_other_features_are_refused(change, kg, make, interrupted,
                                    tmp_path) -> None:
    """Features matter even if no weight depends on them."""
    interrupted(tmp_path, 'pyg', 5)
    other = copy.copy(kg)
    other[change] = other[change].clone()
    other[change][-1] = 1 - other[change][-1].to(torch.half)
    trainer = make('pyg', folder=tmp_path)
    trainer.data = other
    with pytest.raises(CheckpointError, match="run: features of 'visual': "
                       r"saved '[0-9a-f]{64}', now '[0-9a-f]{64}'\)$"):
        trainer.fit(resume=True)


def test_features_are_hashed_once_and_in_parts(kg, make, tmp_path,
                                               monkeypatch) -> None:
    expected, calls = features_digest(kg), []
    monkeypatch.setattr(io_tensors, 'ROWS', 7)
    strided = copy.copy(kg)
    strided.x_visual = kg.x_visual.t().contiguous().t()
    assert features_digest(strided) == expected
    half = copy.copy(kg)
    half.x_visual = kg.x_visual.bfloat16()
    assert features_digest(half).keys() == expected.keys()
    assert features_digest(half) != expected

    def count(data):  # noqa: ANN001, ANN202
        calls.append(data)
        return expected
    monkeypatch.setattr('pyg_mmkgc.training.inputs.features_digest', count)
    make('adamf').fit()
    assert calls == []  # No checkpoint needs it.
    make('adamf', folder=tmp_path).fit()
    assert calls == [kg]


def test_checkpoint_of_an_earlier_version(make, tmp_path) -> None:
    """Such a checkpoint does not record the features of the training."""
    make('adamf', folder=tmp_path, epochs=2).fit()
    tensors, metadata = load_tensors(tmp_path / CHECKPOINT)
    del metadata['fingerprint']['features'], metadata['fingerprint']['graph']
    save_tensors(tmp_path / CHECKPOINT, tensors, metadata)
    with pytest.warns(UserWarning, match='which features and graph it was '
                      'trained') as caught:
        make('adamf', folder=tmp_path).fit(resume=True)
    assert caught[0].filename == __file__


def test_without_its_adversary_is_refused(kg, make, interrupted,
                                          tmp_path) -> None:
    """AdaMF trained with MAT does not resume as AdaMF alone."""
    interrupted(tmp_path, 'mat_apart', 5)
    plain = make('adamf', folder=tmp_path, sampler=PooledSampler(5, 16),
                 loss=SelfAdversarialLoss())
    with pytest.raises(CheckpointError, match='adversary: saved'):
        plain.fit(resume=True)
    MAT.from_model(plain.model)


def test_folder_with_a_training_is_not_overwritten(make, tmp_path) -> None:
    make('pyg', folder=tmp_path, epochs=1).fit()
    content = (tmp_path / CHECKPOINT).read_bytes()
    with pytest.raises(CheckpointError, match='resume=True or another'):
        make('pyg', folder=tmp_path, epochs=1).fit()
    assert (tmp_path / CHECKPOINT).read_bytes() == content


def test_nothing_to_resume(make, tmp_path) -> None:
    with pytest.raises(CheckpointError, match='Expected a folder.*got none'):
        make('pyg').fit(resume=True)
    for source in (True, tmp_path, tmp_path / 'none'):
        with pytest.raises(CheckpointError, match='got none'):
            make('pyg', folder=tmp_path).fit(resume=source)


@pytest.mark.parametrize('position', [3, 3000, -5])
def test_corrupted_checkpoint(position, make, tmp_path) -> None:
    make('pyg', folder=tmp_path, epochs=1).fit()
    path = tmp_path / CHECKPOINT
    content = bytearray(path.read_bytes())
    content[position] ^= 8
    path.write_bytes(content)
    with pytest.raises(FormatError, match=CHECKPOINT):
        make('pyg', folder=tmp_path).fit(resume=True)
    path.write_bytes(content[:1000])
    with pytest.raises(FormatError, match=CHECKPOINT):
        make('pyg', folder=tmp_path).fit(resume=True)


def test_another_file(tmp_path) -> None:
    save_tensors(tmp_path / 'x', {'x': torch.ones(1)})
    with pytest.raises(CheckpointError, match='a training check.*got a f'):
        load_checkpoint(tmp_path / 'x', {})


def test_checkpoint_of_sgd(make, state, same, tmp_path) -> None:
    """Optimizers may have momentum or no state at all."""
    for momentum in (0.0, 0.9):
        folder = tmp_path / str(momentum)

        def sgd(params, momentum=momentum):  # noqa: ANN001, ANN202
            return torch.optim.SGD(params, lr=0.1, momentum=momentum)

        whole = make('adamf', optimizer=sgd)
        whole.fit()
        make('adamf', optimizer=sgd, epochs=2, folder=folder).fit()
        resumed = make('adamf', init=9, optimizer=sgd, folder=folder)
        resumed.fit(resume=True)
        same(state(resumed), state(whole))


@pytest.mark.parametrize('schedule', [None, 'linear'])
def test_another_rate_of_an_optimizer_is_refused(schedule, make, interrupted,
                                                 tmp_path) -> None:
    """Not the rate at the interruption matters, but the initial one."""
    def resume(lr: float) -> int:
        return len(make('pyg', folder=tmp_path, **options(lr)).fit(
            resume=True).epochs)

    def options(lr: float) -> dict:
        return {'lr_schedule': schedule,
                'optimizer': lambda params: torch.optim.SGD(params, lr=lr)}

    interrupted(tmp_path, 'pyg', 5, **options(0.1))
    with pytest.raises(CheckpointError, match="0.1 for 'lr' instead of 0.2"):
        resume(0.2)
    assert resume(0.1) == 3


def test_weights_by_modality_must_not_change(kg) -> None:
    first, second = (
        Trainer(OTKGE.from_data(kg, hidden_channels=4, alpha=alpha), kg,
                sampler=None, loss=OneVsAllLoss(), epochs=1)
        for alpha in ({'text': 0.3, 'visual': 0.2},
                      {'text': 0.4, 'visual': 0.2}))
    assert first.fingerprint() != second.fingerprint()
    # Checkpoints store fingerprints as JSON.
    assert json.loads(json.dumps(first.fingerprint())) == first.fingerprint()
