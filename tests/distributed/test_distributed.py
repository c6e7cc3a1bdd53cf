"""Tests of two and three processes, which train and rank like one."""

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.evaluation import evaluate, predict
from pyg_mmkgc.io import load_pretrained
from pyg_mmkgc.io.tensors import load_tensors
from pyg_mmkgc.training import Trainer

from .cases import CASES, OPTIONS, build, ensemble, graph

pytestmark = pytest.mark.slow  # Each job starts processes.
JOB = Path(__file__).with_name('job.py')
Results = Callable[[int], Path]


def launch(size: int, folder: Path, *names: str, restarts: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, '-m', 'torch.distributed.run', '--standalone',
         f'--nproc-per-node={size}', f'--max-restarts={restarts}', str(JOB),
         str(folder), *names], capture_output=True, text=True, timeout=600,
        # Without a store of its own, a restart fails in some versions of
        # PyTorch. A process that aborts prints where.
        env={**os.environ, 'TORCH_DISABLE_SHARE_RDZV_TCP_STORE': '1',
             'PYTHONFAULTHANDLER': '1'})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs one job of two processes for all tests."""
    folder = tmp_path_factory.mktemp('distributed')
    launch(2, folder, 'run', 'uninterrupted', 'checkpoint', 'resume', 'chain',
           'extended')
    return folder


@pytest.fixture(scope='module')
def larger(folder: Path) -> Path:
    """Runs one job of three processes, after the job of two."""
    launch(3, folder, 'run', 'resume')
    return folder


@pytest.fixture(scope='module')
def kg() -> KnowledgeGraph:
    return graph()


def trained(trainer: Trainer) -> dict[str, Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        history = trainer.fit()
    return {**trainer.model.state_dict(), 'losses': torch.tensor(
        [entry['loss'] for entry in history.epochs], dtype=torch.double)}


def check_equal(expected: dict[str, Tensor], path: Path,
                atol: float = 1e-12) -> None:
    found = load_tensors(path)[0]
    assert found.keys() == expected.keys()
    for name, x in expected.items():
        torch.testing.assert_close(found[name], x.detach(), rtol=0, atol=atol,
                                   msg=lambda text, name=name: (
                                       f'{name}: {text}'))


def check_all(kg: KnowledgeGraph, folder: Path, size: int) -> None:
    out = folder / str(size)
    for kind in CASES:
        # Attention has a bias without a gradient but for rounding, which Adam
        # enlarges.
        check_equal(trained(build(kind, kg)), out / f'{kind}.safetensors',
                    atol=1e-9 if kind == 'whole' else 1e-12)
    # In single precision, only the losses are close: Adam divides rounding
    # errors by gradients near zero.
    expected = trained(build('adamf', kg, torch.float32))['losses']
    found = load_tensors(out / 'single.safetensors')[0]['losses']
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


def test_two_processes_train_like_one(kg, folder: Path) -> None:
    assert OPTIONS['epochs'] * 3 > 20  # Steps.
    check_all(kg, folder, 2)


def test_three_processes_train_like_one(kg, larger: Path) -> None:
    check_all(kg, larger, 3)


def check_ranks(kg: KnowledgeGraph, folder: Path, size: int) -> None:
    for kind in ('adamf', 'nbfnet', 'complex_1vsall', 'ensemble'):
        if kind == 'ensemble':
            model = ensemble(kg)
        else:
            model = build(kind, kg).model
            state = load_tensors(folder / str(size) / f'{kind}.safetensors')[0]
            state.pop('losses')
            model.load_state_dict(state)
        found = json.loads((folder / str(size) / f'{kind}.json').read_text())
        ranks = evaluate(model, kg, 'test').ranks
        assert found['ranks'] == [x.tolist() for x in ranks]
        for i, side in enumerate(('head', 'tail')):
            expected = predict(model, kg, **{side: [3, 5]}, rel_type=[0, 1],
                               k=50)
            assert found['answers'][i] == expected.answer.tolist()
            score = expected.score.nan_to_num(neginf=-1.0)
            assert found['scores'][i] == score.tolist()


def test_two_processes_rank_like_one(kg, folder: Path) -> None:
    check_ranks(kg, folder, 2)


def test_three_processes_rank_like_one(kg, larger: Path) -> None:
    check_ranks(kg, larger, 3)


def test_saved_model_has_all_rows(kg, folder: Path) -> None:
    files = sorted(path.name for path in (folder / '2' / 'model').iterdir())
    assert files == [
        'config.json', 'labels.json', 'manifest.json',
        'model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors',
        'model.safetensors.index.json']
    model = load_pretrained(folder / '2' / 'model')
    state = load_tensors(folder / '2' / 'adamf.safetensors')[0]
    assert torch.equal(model.node_emb.weight, state['node_emb.weight'])
    assert model.node_names == kg.node_names


def test_all_processes_raise_the_same_error(folder: Path) -> None:
    texts = json.loads((folder / '2' / 'texts.json').read_text())
    assert 'the loss at epoch 1, step 1' in texts['nan']
    assert 'not finite: node_emb.weight' in texts['nan']
    assert "'RotatE', whose rows" in texts['members']
    assert 'OTKGE' in texts['refused'] and '2 processes' in texts['refused']


def test_resumed_training_is_uninterrupted(folder: Path) -> None:
    expected = load_tensors(folder / 'whole-2.safetensors')[0]
    check_equal(expected, folder / 'resumed-2.safetensors', atol=0)


def test_one_process_resumes_two(kg, folder: Path) -> None:
    trainer = build('mat', kg, valid_every=1)
    history = trainer.fit(resume=folder / 'run')
    expected = load_tensors(folder / 'whole-2.safetensors')[0]
    found = {**trainer.model.state_dict(), 'losses': torch.tensor(
        [entry['loss'] for entry in history.epochs], dtype=torch.double)}
    for name, x in expected.items():
        torch.testing.assert_close(found[name], x, rtol=0, atol=1e-12)


def test_training_that_is_resumed_often(folder: Path) -> None:
    expected = load_tensors(folder / 'whole-2.safetensors')[0]
    check_equal(expected, folder / 'chain.safetensors', atol=0)


def test_a_run_of_two_processes_is_extended(folder: Path) -> None:
    found = [json.loads((folder / 'extended' / name).read_text())['epochs']
             for name in ('metrics-1-epochs.json', 'metrics.json')]
    assert found == [1, 3]


def check_kill(folder: Path, place: Path) -> None:
    """Kills one of two processes in a random step, and compares the result
    with an uninterrupted training.
    """
    print(launch(2, place, 'killed', restarts=1))
    expected = load_tensors(folder / 'whole-2.safetensors')[0]
    check_equal(expected, place / 'killed.safetensors', atol=0)
    saved, = (place / 'killed' / 'checkpoint').glob('*/')
    latest = json.loads((saved.parent / 'latest.json').read_text())
    assert latest['folder'] == saved.name
    assert sorted(latest['sha256']) == sorted(x.name for x in saved.iterdir())
    files = [x.name for x in (place / 'killed').rglob('*')]
    assert not [x for x in files if x.endswith('.tmp')]


def test_restart_after_a_kill_is_uninterrupted(folder: Path) -> None:
    check_kill(folder, folder)


@pytest.mark.nightly
@pytest.mark.parametrize('attempt', range(10))
def test_ten_kills(attempt: int, folder: Path, tmp_path: Path) -> None:
    check_kill(folder, tmp_path)


def test_three_processes_resume_two(larger: Path) -> None:
    expected = load_tensors(larger / 'whole-2.safetensors')[0]
    check_equal(expected, larger / 'resumed-3.safetensors')
