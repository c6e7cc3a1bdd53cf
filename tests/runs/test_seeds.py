"""Several seeds of one configuration in one folder."""

import json
import statistics

import pytest

from pyg_mmkgc.cli import main
from pyg_mmkgc.errors import CheckpointError, ConfigError
from pyg_mmkgc.runs import Run, SeedRuns, is_seeds
from pyg_mmkgc.training import Trainer

YAML = """
dataset: {name: FakeMMKG, num_nodes: 60, num_edges: 300, modalities: []}
model: {name: PyG.TransE, hidden_channels: 8, p_norm: 2.0}
training: {batch_size: 128, epochs: 3, valid_every: 1, device: cpu}
"""


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'my.yaml').write_text(YAML)
    return tmp_path


def test_three_seeds(work, capsys):
    assert main(['train', 'my.yaml', '--seeds', '3', '--seed', '4',
                 '--quiet']) == 0
    out = capsys.readouterr().out
    folder = work / 'runs/my-seeds3'
    assert is_seeds(str(folder)) and f'run: {folder.relative_to(work)}' in out
    mrr = {}
    for seed in (4, 5, 6):
        run = Run.open(str(folder / f'seed{seed}'))
        assert run.finished and run.config.training.seed == seed
        mrr[seed] = run.rankings().mrr
    assert len(set(mrr.values())) == 3
    lines = {line.split('  ')[0]: line.split()[-5:] for line
             in out.splitlines()[1:-1]}
    for seed, expected in mrr.items():
        assert lines[f'seed {seed}'][0] == f'{expected:.4f}'
    mean, std = (f(list(mrr.values())) for f in (statistics.mean,
                                                 statistics.stdev))
    assert lines['mean'][0] == f'{mean:.4f}'
    assert float(lines['std'][0]) == pytest.approx(std, abs=1e-4)
    saved = json.loads((folder / 'metrics.json').read_text())
    assert saved['mean']['mrr'] == pytest.approx(mean)
    assert saved['std']['mrr'] == pytest.approx(std)
    assert saved['seeds']['5']['mrr'] == pytest.approx(mrr[5])

    # A seed alone is the same run.
    assert main(['train', 'my.yaml', '--seed', '5', '--quiet', '--output',
                 'alone']) == 0
    assert Run.open('alone').rankings().mrr == mrr[5]

    # All seeds are extended, and compared with another method.
    capsys.readouterr()
    assert main(['train', '--resume', str(folder), '--quiet', '--set',
                 'training.epochs=4']) == 0
    assert json.loads((folder / 'seed6/metrics.json').read_text())[
        'epochs'] == 4
    assert main(['train', 'my.yaml', '--seeds', '3', '--seed', '4',
                 '--output', 'b', '--quiet', '--set',
                 'model.margin=3.0']) == 0
    capsys.readouterr()
    assert main(['compare', 'runs/my-seeds3', 'b']) == 0
    out = capsys.readouterr().out
    assert 'runs/my-seeds3/seed4' in out and 'b/seed4' in out


def test_interrupted_seeds_go_on(work, capsys, monkeypatch):
    whole = SeedRuns.create(2, 'my.yaml', folder='whole').train(False)
    step, calls = Trainer.train_step, []

    def interrupted(self, batch, where):
        calls.append(where)
        if len(calls) in (4, 12):  # In the first seed, then in the second.
            raise KeyboardInterrupt
        return step(self, batch, where)

    monkeypatch.setattr(Trainer, 'train_step', interrupted)
    argv = ['train', 'my.yaml', '--seeds', '2', '--quiet', '--output', 'b']
    assert main(argv) == 130
    assert 'mmkgc train --resume b' in capsys.readouterr().err
    assert main(['train', '--resume', 'b', '--quiet']) == 130
    assert main(['train', '--resume', 'b', '--quiet']) == 0
    saved = json.loads((work / 'b/metrics.json').read_text())
    assert saved == whole.to_dict()
    assert str(whole) in capsys.readouterr().out


def test_all_seeds_are_extended_or_none(work):
    SeedRuns.create(2, 'my.yaml', folder='a').train(False)
    one = Run.open('a/seed1')
    one.extend(['training.epochs=5'])
    one.train(progress=False)
    before = {path: path.read_bytes() for path in work.rglob('a/**/*')
              if path.is_file()}
    group = SeedRuns.open('a')
    with pytest.raises(ConfigError, match='the 5 epochs of the finished run '
                       r"in 'a/seed1' \(got 5\)"):
        group.extend(['training.epochs=5'])
    assert before == {path: path.read_bytes() for path in before}
    # One mean over shorter and longer runs would be wrong.
    group.extend(['training.epochs=6'])
    assert not (work / 'a/metrics.json').exists()
    group.train(progress=False)
    for seed in (0, 1):
        saved = json.loads((work / f'a/seed{seed}/metrics.json').read_text())
        assert saved['epochs'] == 6


def test_lost_rankings_are_computed_again(work):
    whole = SeedRuns.create(2, 'my.yaml', folder='a').train(False)
    (work / 'a/seed0/rankings.safetensors').unlink()
    again = SeedRuns.open('a').train(False)
    assert again.to_dict() == whole.to_dict()


def test_without_test_triples(work, capsys):
    assert main(['train', 'my.yaml', '--seeds', '2', '--quiet', '--set',
                 'dataset.test_ratio=0.0']) == 0
    assert 'no test triples' in capsys.readouterr().out
    assert SeedRuns.open('runs/my-seeds2').train(False) is None


def test_errors(work, capsys):
    with pytest.raises(CheckpointError, match=r"'runs' .*\(got no seeds.json"):
        SeedRuns.open('runs')
    assert main(['train', 'my.yaml', '--seeds', '0']) == 2
    assert "'seeds' to be an integer >= 1" in capsys.readouterr().err
    assert main(['train', '--resume', 'a', '--seeds', '2']) == 2
    assert 'Expected no --seeds' in capsys.readouterr().err
    assert not list(work.glob('runs/*'))
