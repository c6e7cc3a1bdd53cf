"""Trained models on graphs that they were not trained on."""

from pathlib import Path

import pytest
import torch

from pyg_mmkgc import AdaMF
from pyg_mmkgc.cli import main
from pyg_mmkgc.config import build_graph, load_config
from pyg_mmkgc.errors import CheckpointError, ConfigError
from pyg_mmkgc.evaluation import evaluate
from pyg_mmkgc.nn.path import ULTRA, NBFNet
from pyg_mmkgc.runs import PretrainedRun, open_answers

pytestmark = pytest.mark.filterwarnings(
    'ignore::pyg_mmkgc.evaluation.result.TieWarning')


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Writes a graph and a checkpoint of the authors' code."""
    monkeypatch.chdir(tmp_path)
    steps = [f'{i}\tplus_{s}\t{(i + s) % 23}\n' for i in range(23)
             for s in (1, 2, 5)]
    Path('own.tsv').write_text(''.join(steps))
    Path('own.yaml').write_text('dataset: {name: TSV, train: own.tsv, '
                                'val_ratio: 0.1, test_ratio: 0.2}\n')
    torch.manual_seed(0)
    torch.save({'model': ULTRA(8, 2).state_dict()}, 'some.pth')
    return tmp_path


def test_from_the_command_line(capsys) -> None:
    """The file needs no section of a model, and nothing is written."""
    before = sorted(Path().rglob('*'))
    assert main(['evaluate', 'own.yaml', '--model', 'some.pth']) == 0
    out = capsys.readouterr().out
    kg = build_graph(load_config('own.yaml', ['model.name=ULTRA']))
    model = ULTRA.from_pretrained('some.pth')
    assert out.strip() == str(evaluate(model, kg))
    assert main(['evaluate', 'own.yaml', '--model', 'some.pth', '--split',
                 'val']) == 0
    assert "'val'" in capsys.readouterr().out
    assert main(['predict', 'own.yaml', '--model', 'some.pth', '--head', '3',
                 '--relation', 'plus_5', '-k', '4']) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith('(3, plus_5, ?)') and len(lines) == 5
    assert main(['predict', 'own.yaml', '--model', 'some.pth', '--tail', '3',
                 '--relation', 'plus_5', '--new']) == 0
    assert 'known' not in capsys.readouterr().out
    assert sorted(Path().rglob('*')) == before


def test_the_neighbour_baseline(capsys) -> None:
    assert main(['evaluate', 'countries', '--model', 'neighbors', '--split',
                 'val']) == 0
    assert 'unseen' in capsys.readouterr().out
    assert main(['predict', 'countries', '--model', 'neighbors', '--head',
                 'Austria', '--relation', 'in_continent', '-k', '1']) == 0
    assert 'Europe' in capsys.readouterr().out
    assert main(['evaluate', 'own.yaml', '--model', 'neighbors']) == 2
    assert 'at least one modality' in capsys.readouterr().err


def test_a_shipped_dataset_and_a_saved_model(tmp_path: Path) -> None:
    """The model section of the configuration is ignored."""
    run = PretrainedRun('countries', 'some.pth', device='cpu')
    assert isinstance(run.model, ULTRA)
    run.model.save_pretrained('folder')
    again = PretrainedRun('countries', 'folder', device='cpu')
    for query in (('Austria', 'neighbour'), ('Chile', 'in_continent')):
        assert (run.answers().predict(*query, k=3).labels
                == again.answers().predict(*query, k=3).labels)


@pytest.mark.parametrize('cls', [NBFNet, AdaMF])
def test_any_saved_model(cls) -> None:
    kg = build_graph(load_config('own.yaml', ['model.name=ULTRA']))
    model = cls.from_data(kg, hidden_channels=4)
    model.save_pretrained('folder', kg)
    run = PretrainedRun('own.yaml', 'folder', device='cpu')
    assert type(run.model) is cls
    assert torch.equal(run.evaluate().ranks.realistic,
                       evaluate(model, kg).ranks.realistic)


@pytest.mark.parametrize('name, model, error, match', [
    ('own.yaml', 'ultra_5g', CheckpointError, 'ultra_5g'),
    ('own.yaml', '.', CheckpointError, 'config.json'),
    ('none.yaml', 'some.pth', ConfigError, 'none.yaml'),
    ('empty.yaml', 'some.pth', ConfigError, 'empty.yaml'),
])
def test_bad_input(name, model, error, match) -> None:
    Path('empty.yaml').touch()
    with pytest.raises(error, match=match):
        PretrainedRun(name, model)


def test_a_device_that_does_not_exist() -> None:
    ULTRA(8, 2).save_pretrained('folder')
    with pytest.raises(ConfigError, match="'device' to be a device of this "
                       r"machine \(got 'nope'"):
        open_answers('folder', device='nope')


def test_a_run_of_a_path_model(capsys) -> None:
    """Path models train, evaluate and predict like other models."""
    Path('path.yaml').write_text(
        Path('own.yaml').read_text() +
        'model: {name: NBFNet, hidden_channels: 4, num_layers: 2, '
        'num_negatives: 4}\n'
        'training: {batch_size: 16, epochs: 2, valid_every: 1, '
        'device: cpu}\n')
    assert main(['train', 'path.yaml', '--quiet', '--output', 'run']) == 0
    table = capsys.readouterr().out.partition('run: ')[0].strip()
    assert main(['evaluate', 'run']) == 0
    assert capsys.readouterr().out.strip() == table
    assert main(['predict', 'run', '--head', '3', '--relation',
                 'plus_1']) == 0
    capsys.readouterr()
    # The graph that answers is the present one.
    assert main(['train', 'path.yaml', '--quiet', '--output', 'tuned',
                 '--set', 'model={name: ULTRA, pretrained: some.pth, '
                 'hidden_channels: 8, num_layers: 2}']) == 0
    before = ULTRA.from_pretrained('some.pth').state_dict()
    after = ULTRA.from_pretrained('tuned/model').state_dict()
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[key], after[key]) for key in before)


def test_fine_tuning_of_another_size() -> None:
    config = load_config('own.yaml', [
        'model={name: ULTRA, pretrained: some.pth, num_layers: 2}'])
    from pyg_mmkgc.config import build_model
    with pytest.raises(ConfigError, match='hidden_channels.* 8.* 64'):
        build_model(config, build_graph(config))
