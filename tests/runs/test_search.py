"""A search in a folder: its files, interruptions, pruning."""

import csv
import json
import subprocess
import sys

import pytest

from pyg_mmkgc.cli import main
from pyg_mmkgc.config import load_config
from pyg_mmkgc.errors import ConfigError, NonFiniteError
from pyg_mmkgc.runs import Search
from pyg_mmkgc.training import Trainer

pytest.importorskip('optuna')

YAML = """
dataset: {name: FakeMMKG, num_nodes: 60, num_edges: 300, modalities: []}
model: {name: PyG.TransE, hidden_channels: 8, p_norm: 2.0}
training: {batch_size: 128, epochs: 4, valid_every: 1, device: cpu}
search:
  training: {lr: {low: 1e-3, high: 1.0, log: true}}
  model: {margin: [1.0, 4.0]}
"""


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'my.yaml').write_text(YAML)
    return tmp_path


def rows(folder):
    with open(folder / 'trials.csv', newline='') as file:
        return list(csv.DictReader(file))


def test_a_search_from_the_command_line(work, capsys):
    assert main(['search', 'my.yaml', '--trials', '6', '--quiet']) == 0
    out = capsys.readouterr().out
    folder = work / 'runs/my-search'
    found = rows(folder)
    assert len(found) == 6
    assert (found[0]['training.lr'], found[0]['model.margin']) == ('', '')
    complete = {row['trial']: float(row['val_mrr']) for row in found
                if row['state'] == 'complete'}
    best = max(complete, key=complete.get)
    assert f'best: trial {best}, validation MRR {complete[best]:.4f}' in out

    # The best settings can be trained, and are those of the row.
    config = load_config(str(folder / 'best.yaml'))
    if best != '0':
        row = found[int(best)]
        assert config.training.lr == float(row['training.lr'])
        assert config.model.options['margin'] == float(row['model.margin'])
    history = json.loads((folder / f'trials/{int(best):04d}/history.json'
                          ).read_text())
    assert max(x['val_mrr'] for x in history['epochs']) == complete[best]
    assert len(history['epochs']) == 4
    # Neither the test triples nor large files have a part in it.
    names = {path.name for path in folder.rglob('*')}
    assert not {'metrics.json', 'rankings.safetensors', 'model',
                'checkpoint.safetensors'} & names
    if 'importance.png' in names:
        assert (folder / 'importance.png').read_bytes()[:4] == b'\x89PNG'

    # More trials continue it, fewer change nothing.
    assert main(['search', '--resume', str(folder), '--trials', '7',
                 '--quiet']) == 0
    assert rows(folder)[:6] == found and len(rows(folder)) == 7
    assert main(['search', '--resume', str(folder), '--quiet']) == 0
    assert len(rows(folder)) == 7


def test_an_interrupted_search_equals_a_whole_one(work, monkeypatch, capsys):
    Search.create('my.yaml', 5, folder='whole').run(progress=False)
    step, calls = Trainer.train_step, []

    def interrupted(self, batch, where):
        calls.append(where)
        if len(calls) in (20, 30):
            raise KeyboardInterrupt
        return step(self, batch, where)

    monkeypatch.setattr(Trainer, 'train_step', interrupted)
    assert main(['search', 'my.yaml', '--trials', '5', '--quiet', '--output',
                 'b']) == 130
    assert 'mmkgc search --resume b' in capsys.readouterr().err
    done = len(rows(work / 'b'))
    assert 1 <= done < 5
    assert main(['search', '--resume', 'b', '--quiet']) == 130
    assert main(['search', '--resume', 'b', '--quiet']) == 0
    assert rows(work / 'b') == rows(work / 'whole')
    # A trial goes on from its checkpoint: each interruption costs at most
    # one of the two steps of an epoch, and the step that raises.
    epochs = sum(len(json.loads(path.read_text())['epochs'])
                 for path in work.glob('b/trials/*/history.json'))
    assert len(calls) <= 2 * epochs + 4
    assert (work / 'b/best.yaml').read_bytes() == (
        work / 'whole/best.yaml').read_bytes()


def test_a_search_over_datasets(work, monkeypatch):
    text = YAML.replace(', modalities: []', '').replace(
        'PyG.TransE, hidden_channels: 8, p_norm: 2.0',
        'AdaMF, hidden_channels: 8').replace('epochs: 4', 'epochs: 1')
    (work / 'my.yaml').write_text(text[:text.index('search:')] + """search:
  dataset: {modalities: [[visual], [text], [visual, text]]}
""")
    trained, graphs, fit = [], [], Trainer.fit

    def note(trainer, **kwargs):
        trained.append(list(trainer.model.modalities))
        graphs.append(trainer.data)
        return fit(trainer, **kwargs)

    monkeypatch.setattr(Trainer, 'fit', note)
    found = Search.create('my.yaml', 6, folder='found').run(progress=False)
    wanted = [trial.overrides for trial in found.trials]
    assert [f'dataset.modalities=[{", ".join(x)}]' for x in trained[1:]] == [
        x for x, in wanted[1:]]
    assert len({x for x, in wanted[1:]}) > 1
    # The graph is read again only for another dataset.
    for i in range(1, 6):
        assert (graphs[i] is graphs[i - 1]) == (wanted[i] == wanted[i - 1])


def test_bad_trials_are_pruned(work, monkeypatch):
    """From the sixth complete trial and the second validation on, below the
    median of the others.
    """
    from pyg_mmkgc.training import trainer as module
    seen = []

    class Result:
        def metrics(self):
            trial = len({folder for folder, _ in seen}) - 1
            return {'mrr': 0.5 if trial < 6 else 0.1}

    def evaluate(model, data, split):
        seen.append((id(model), split))
        return Result()

    monkeypatch.setattr(module, 'evaluate', evaluate)
    keep = []  # No id is used twice.
    run = Trainer.fit
    monkeypatch.setattr(Trainer, 'fit', lambda self, resume=None: (
        keep.append(self), run(self, resume))[1])
    result = Search.create('my.yaml', 8, folder='a').run(progress=False)
    assert [x.state for x in result.trials] == ['complete'] * 6 + [
        'pruned'] * 2
    assert {split for _, split in seen} == {'val'}
    history = json.loads((work / 'a/trials/0007/history.json').read_text())
    assert len(history['epochs']) == 2
    assert result.best.place == 0


def test_a_trial_that_diverges(work, monkeypatch):
    run = Trainer.fit

    def fit(self, resume=None):
        if self.lr > 0.01:
            raise NonFiniteError('Expected a finite loss (got NaN)')
        return run(self, resume)

    monkeypatch.setattr(Trainer, 'fit', fit)
    result = Search.create('my.yaml', 6, folder='a').run(progress=False)
    found = {(x.settings.get('training.lr', 0.001) > 0.01,
              x.state == 'diverged') for x in result.trials}
    assert found == {(True, True), (False, False)}
    assert result.best.state == 'complete'
    assert 'diverged' in str(result)
    note = next(x.note for x in result.trials if x.state == 'diverged')
    assert note == 'Expected a finite loss (got NaN)'


OTE = """
dataset: {name: FakeMMKG, num_nodes: 60, num_edges: 300, modalities: []}
model: {name: OTE, hidden_channels: 8, block_size: 4}
sampler: {name: UniformSampler, num_negatives: 2}
training: {batch_size: 128, epochs: 1, valid_every: 1, device: cpu}
search:
"""


@pytest.mark.parametrize('space, key, good, match', [
    ('model: {block_size: [4, 3]}', 'model.block_size', 4,
     "'model.hidden_channels' to be a multiple of"),
    ('training: {valid_every: [1, null]}', 'training.valid_every', 1,
     "validation triples and 'training.valid_every'")])
def test_impossible_trials_are_recorded(space, key, good, match, work):
    (work / 'my.yaml').write_text(f'{OTE}  {space}\n')
    result = Search.create('my.yaml', 8, folder='a').run(progress=False)
    assert [x.place for x in result.trials] == list(range(8))
    possible = [x.settings.get(key, good) == good for x in result.trials]
    assert set(possible) == {True, False}
    assert [x.state == 'complete' for x in result.trials] == possible
    assert all(x.note.startswith(f'Expected {match}') for x, fits
               in zip(result.trials, possible) if not fits)
    assert len(rows(work / 'a')) == 8 and result.best.state == 'complete'


def test_an_impossible_configuration_is_an_error(work):
    """Also later, so that a search on another machine records no failures."""
    (work / 'my.yaml').write_text(f'{OTE}  model: {{margin: [1.0, 4.0]}}\n')
    search = Search.create('my.yaml', 3, folder='a')
    path = work / 'a/search.yaml'
    good = path.read_text()
    bad = good.replace('hidden_channels: 8', 'hidden_channels: 7')
    for trials in (0, 1):
        path.write_text(bad)
        with pytest.raises(ConfigError, match='hidden_channels'):
            search.run(progress=False)
        path.write_text(good)
        Search.open('a', trials + 1).run(progress=False)
        assert [row['state'] for row in rows(work / 'a')] == [
            'complete'] * (trials + 1)


@pytest.mark.parametrize('argv, match', [
    (['search'], 'either NAME|FILE'),
    (['search', 'my.yaml', '--resume', 'a'], 'either NAME|FILE'),
    (['search', 'countries'], "the section 'search'"),
    (['search', 'my.yaml', '--set', 'search.training.lrr=[1.0]'],
     "Did you mean 'lr'?"),
    (['search', 'my.yaml', '--trials', '0'], "'trials' to be an integer"),
    (['search', 'my.yaml', '--set', 'training.valid_every=null'],
     "'training.valid_every' to select settings by"),
    (['search', '--resume', 'nowhere'], 'the folder of a search'),
    (['search', '--resume', 'a', '--set', 'a=1'], 'Expected no --set'),
])
def test_errors(argv, match, capsys, work):
    assert main(argv) == 2
    err = capsys.readouterr().err
    assert match in err and 'Traceback' not in err
    assert [path.name for path in work.iterdir()] == ['my.yaml']


HOLD = """
import pathlib
import sys
from pyg_mmkgc.runs.folder import lock_folder
with lock_folder(pathlib.Path(sys.argv[1])):
    print('held', flush=True)
    sys.stdin.read()
"""


def test_two_processes_do_not_run_one_search(work):
    pytest.importorskip('fcntl')
    search = Search.create('my.yaml', 2, folder='a')
    with subprocess.Popen([sys.executable, '-c', HOLD, 'a'],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as other:
        assert other.stdout.readline() == 'held\n'
        with pytest.raises(ConfigError, match='no other process'):
            search.run()
        other.kill()
