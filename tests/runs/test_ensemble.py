"""Ensembles of runs, from the command line to answers."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pyg_mmkgc.cli import main
from pyg_mmkgc.errors import ConfigError, DataError
from pyg_mmkgc.evaluation import evaluate
from pyg_mmkgc.nn import Ensemble
from pyg_mmkgc.nn.path import ULTRA
from pyg_mmkgc.runs import EnsembleRun, Run

pytestmark = pytest.mark.filterwarnings(
    'ignore::pyg_mmkgc.evaluation.result.TieWarning')
CONFIG = """
dataset: {{name: TSV, train: own.tsv, val_ratio: 0.2, test_ratio: 0.2}}
model: {{name: {name}, hidden_channels: 4}}
training: {{epochs: 1, valid_every: null, device: cpu, seed: {seed}}}
"""


@pytest.fixture(scope='module')
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of a table and of a path model, of two seeds."""
    folder = tmp_path_factory.mktemp('runs')
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path('own.tsv').write_text(''.join(
            f'{i}\tplus_{s}\t{(i + s) % 23}\n' for i in range(23)
            for s in (1, 2, 5)))
        torch.manual_seed(0)
        torch.save({'model': ULTRA(8, 2).state_dict()}, 'some.pth')
        for name, model, seed in (('a', 'ComplEx', 0), ('b', 'ComplEx', 1),
                                  ('c', 'NBFNet', 0), ('d', 'ComplEx', 0)):
            text = CONFIG.format(name=model, seed=seed)
            if name == 'd':
                text = text.replace('test_ratio: 0.2', 'test_ratio: 0.1')
            Path('own.yaml').write_text(text)
            Run.create('own.yaml', folder=name).train(progress=False)
    return folder


@pytest.fixture(autouse=True)
def work(runs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(runs)
    return runs


def test_from_the_command_line(tmp_path: Path, capsys) -> None:
    folder = str(tmp_path / 'all')
    assert main(['ensemble', 'a', 'c', 'some.pth', '--output', folder,
                 '--device', 'cpu']) == 0
    printed = capsys.readouterr().out
    assert 'weight' in printed and printed.strip().endswith(folder)
    run = Run.open(folder)
    assert run.config.model.name == 'Ensemble'
    found = json.loads((tmp_path / 'all' / 'metrics.json').read_text())
    assert found['members'] == {'ComplEx': 'a', 'NBFNet': 'c',
                                'some.pth': 'some.pth'}
    assert found['fit']['per'] == 'relation'
    model = run.load_model()
    assert isinstance(model, Ensemble)
    result = evaluate(model, run.graph)
    assert found['test']['metrics']['mrr'] == result.mrr
    assert run.rankings().mrr == result.mrr
    assert main(['evaluate', folder]) == 0
    assert capsys.readouterr().out.strip() == str(result)
    assert str(result) in printed
    assert main(['predict', folder, '--head', '3', '--relation', 'plus_5',
                 '-k', '4']) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5
    assert main(['explain', folder, '--head', '3', '--relation', 'plus_5',
                 '--tail', '8']) == 0
    assert 'share' in capsys.readouterr().out
    assert main(['compare', 'a', folder]) == 0
    assert 'Ensemble' in capsys.readouterr().out


def test_options(tmp_path: Path) -> None:
    run, fit = EnsembleRun.combine(
        ['a', 'b'], str(tmp_path / 'two'), per='graph', num_queries=7,
        seed=3, device='cpu')
    assert list(fit.weight) == ['a', 'b']  # Two of the same model.
    assert fit.num_queries == 7 and fit.shrinkage is None
    assert run.config.training.seed == 3
    rows = run.load_model().weight
    assert torch.equal(rows, rows[:1].expand_as(rows))


def test_modalities_of_all_members(tmp_path: Path) -> None:
    """The graph has the features that each member was trained with."""
    for name in ('text', 'sound'):
        np.savez(f'{name}.npz', **{str(i): np.full(3, i, 'f4')
                                   for i in range(23)})
        Path('own.yaml').write_text(CONFIG.format(
            name='NBFNet', seed=0).replace(
                'train: own.tsv', f'features: {{{name}: {name}.npz}}, '
                'train: own.tsv'))
        Run.create('own.yaml', folder=name).train(progress=False)
    folder = str(tmp_path / 'both')
    run, _ = EnsembleRun.combine(['text', 'a', 'sound'], folder, device='cpu')
    assert run.graph.modalities == ['text', 'sound']
    again = Run.open(folder)
    assert evaluate(again.load_model(), again.graph).mrr == run.rankings().mrr
    assert [list(x.modalities) for x in again.load_model().members[::2]] == [
        ['text'], ['sound']]
    Path('own.yaml').write_text(CONFIG.format(
        name='NBFNet', seed=0).replace(
            'train: own.tsv', 'features: {text: sound.npz}, train: own.tsv'))
    Run.create('own.yaml', folder='other').train(progress=False)
    np.savez('sound.npz', **{str(i): np.full(3, -i, 'f4') for i in range(23)})
    with pytest.raises(DataError, match="'text' of 'other' .* .got others"):
        EnsembleRun.combine(['text', 'other'], str(tmp_path / 'new'))


def test_refusals(tmp_path: Path, capsys) -> None:
    folder = str(tmp_path / 'new')
    Path('bad.txt').touch()
    with pytest.raises(ConfigError, match='two or more members .got 1'):
        EnsembleRun.combine(['a'], folder)
    with pytest.raises(ConfigError, match='folder of a run among'):
        EnsembleRun.combine(['some.pth', 'some.pth'], folder)
    with pytest.raises(DataError, match="one graph .got 'a' and 'd', which "
                       'differ in triples of train'):
        EnsembleRun.combine(['a', 'd'], folder, device='cpu')
    # Before the weights are learned, which would fail.
    with pytest.raises(ConfigError, match="'c' to be empty"):
        EnsembleRun.combine(['a', 'b'], 'c', per='none', device='cpu')
    with pytest.raises(ConfigError, match="'bad.txt/new' .* be written"):
        EnsembleRun.combine(['a', 'b'], 'bad.txt/new', per='none',
                            device='cpu')
    assert not Path(folder).exists()
    Path('bad.yaml').write_text(CONFIG.format(name='Ensemble', seed=0).replace(
        ', hidden_channels: 4', ''))
    assert main(['train', 'bad.yaml', '--output', folder]) == 2
    assert 'mmkgc ensemble' in capsys.readouterr().err
    assert not Path(folder).exists()
