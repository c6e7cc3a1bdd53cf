import io
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import warnings

import pytest
import torch

import pyg_mmkgc
from pyg_mmkgc.cli import main
from pyg_mmkgc.config import build_graph, load_config, shipped_configs
from pyg_mmkgc.io.tensors import load_tensors
from pyg_mmkgc.kernels.compiling import MESSAGE

TINY = """
dataset: {name: FakeMMKG, num_nodes: 60, num_edges: 300, seed: 1}
model: {name: AdaMFMAT, hidden_channels: 8, generator_channels: 8}
sampler: {name: PooledSampler, num_negatives: 4, chunk_size: 16}
loss: {name: SelfAdversarialLoss}
adversary: {name: MAT, weight: 0.1}
training: {batch_size: 128, epochs: 3, valid_every: 1, device: cpu}
"""
PYG = """
dataset: {name: FakeMMKG, num_nodes: 60, num_edges: 300, modalities: []}
model: {name: PyG.TransE, hidden_channels: 8, p_norm: 2.0}
training: {batch_size: 128, epochs: 2, valid_every: 1, device: cpu}
"""
FILES = {'config.yaml', 'metrics.json', 'model', 'history.json',
         'rankings.safetensors', 'checkpoint.safetensors', '.lock'}


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'tiny.yaml').write_text(TINY)
    (tmp_path / 'pyg.yaml').write_text(PYG)
    (tmp_path / 'empty.yaml').touch()
    (tmp_path / 'syntax.yaml').write_text('model:\n  - a: [\n')
    (tmp_path / 'own.tsv').write_text('a\tr\tb\n')
    (tmp_path / 'own.yaml').write_text(
        'dataset: {name: TSV, train: own.tsv}\n'
        'model: {name: AdaMF, hidden_channels: 2}')
    return tmp_path


def fails(capsys, *argv, status=2):
    """Runs a command that fails and returns its message of one line."""
    assert main(list(argv)) == status
    out, err = capsys.readouterr()
    # Loops may have to be compiled first.
    lines = [x for x in err.strip().splitlines() if x != MESSAGE]
    assert len(lines) == 1 and lines[0].startswith('mmkgc: error: ')
    assert 'Traceback' not in err
    return lines[0]


def test_a_run_from_training_to_prediction(capsys):
    assert main(['train', 'tiny.yaml', '--quiet']) == 0
    out = capsys.readouterr().out
    assert "Ranking of 'test'" in out
    assert 'run: runs/tiny-seed0' in out
    table = out[:out.index('run: ')].strip()

    folder = pathlib.Path('runs/tiny-seed0')
    names = {path.name for path in folder.iterdir()}
    assert FILES <= names <= FILES | {'history.png'}
    assert load_config(str(folder / 'config.yaml')) == load_config('tiny.yaml')

    metrics = json.loads((folder / 'metrics.json').read_text())
    assert metrics['test']['protocol']['split'] == 'test'
    assert metrics['test']['protocol']['ties'] == 'realistic'
    assert 0 < metrics['test']['metrics']['mrr'] <= 1
    assert metrics['epochs'] == 3 and metrics['seed'] == 0
    assert 1 <= metrics['best_epoch'] <= 3
    graph = build_graph(load_config('tiny.yaml'))
    assert metrics['modalities'] == {name: x.size(1) for name, x
                                     in graph.features().items()} != {}
    assert metrics['versions']['torch'] == torch.__version__
    assert set(metrics['versions']) == {'python', 'pyg_mmkgc', 'torch',
                                        'torch_geometric', 'numpy'}
    assert metrics['commit'] is None or re.fullmatch(
        r'[0-9a-f]{40}(-dirty)?', metrics['commit'])
    assert re.fullmatch('[0-9a-f]{64}', metrics['config_sha256'])
    history = json.loads((folder / 'history.json').read_text())
    assert [e['epoch'] for e in history['epochs']] == [1, 2, 3]
    best = max(e['val_mrr'] for e in history['epochs'])
    assert metrics['val']['mrr'] == best
    labels = json.loads((folder / 'model/labels.json').read_text())
    assert len(labels['nodes']) == 60

    # The folder alone is enough, and gives the same numbers again.
    assert main(['evaluate', str(folder)]) == 0
    assert capsys.readouterr().out.strip() == table
    assert main(['evaluate', str(folder), '--split', 'val']) == 0
    assert f'{best:.4f}' in capsys.readouterr().out

    node, relation = labels['nodes'][3], labels['relations'][0]
    argv = ['predict', str(folder), '--relation', relation, '-k', '5']
    assert main([*argv, '--head', node]) == 0
    by_label = capsys.readouterr().out
    assert len(by_label.splitlines()) == 6
    assert f'({node}, {relation}, ?)' in by_label
    assert main(['predict', str(folder), '--relation', '0', '-k', '5',
                 '--head', '3']) == 0
    assert capsys.readouterr().out == by_label
    assert main([*argv, '--tail', node, '--new']) == 0
    out = capsys.readouterr().out
    assert f'(?, {relation}, {node})' in out and 'known' not in out

    # Bad questions.
    assert "got 'nobody'" in fails(capsys, *argv, '--head', 'nobody')
    assert 'relation' in fails(capsys, 'predict', str(folder), '--head',
                               node, '--relation', 'nothing')
    assert "'k'" in fails(capsys, *argv, '--head', node, '-k', '0')
    assert '--set training.epochs=N to extend it' in fails(
        capsys, 'train', '--resume', str(folder))


def test_the_plot(work, capsys, monkeypatch):
    pytest.importorskip('matplotlib')
    assert main(['train', 'tiny.yaml', '--quiet', '--output', 'a']) == 0
    assert (work / 'a/history.png').read_bytes().startswith(b'\x89PNG')
    capsys.readouterr()

    # Without matplotlib, everything but the plot is there.
    monkeypatch.setitem(__import__('sys').modules, 'matplotlib.figure', None)
    assert main(['train', 'tiny.yaml', '--quiet', '--output', 'b']) == 0
    out = capsys.readouterr().out
    assert "no history.png: Expected 'matplotlib' to be installed for plots. "\
        'Run: pip install' in out
    assert {path.name for path in (work / 'b').iterdir()} == FILES


def test_a_model_of_pyg(work, capsys):
    assert main(['train', 'pyg.yaml', '--quiet', '--seed', '3']) == 0
    out = capsys.readouterr().out
    assert 'run: runs/pyg-seed3' in out
    assert main(['evaluate', 'runs/pyg-seed3']) == 0
    assert capsys.readouterr().out.strip() == out[:out.index('run: ')].strip()
    argv = ['--head', '0', '--relation', '0']
    assert main(['predict', 'runs/pyg-seed3', *argv]) == 0
    answers = capsys.readouterr().out
    # Its model is saved like any other, and needs no graph.
    assert main(['predict', 'runs/pyg-seed3/model', *argv]) == 0
    assert capsys.readouterr().out.splitlines()[0] == answers.splitlines()[0]


def test_the_seed_decides_the_weights(work):
    before = torch.random.get_rng_state()
    for name, seed in [('a', '1'), ('b', '1'), ('c', '2')]:
        assert main(['train', 'tiny.yaml', '--quiet', '--seed', seed,
                     '--output', name, '--set', 'training.epochs=1']) == 0
        # The state of the process is no seed, and stays as it was.
        assert torch.equal(torch.random.get_rng_state(), before)
        before = torch.random.manual_seed(7).get_state()
    a, b, c = (load_tensors(work / name / 'model/model.safetensors')[0]
               for name in 'abc')
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert not torch.equal(a['rel_emb.weight'], c['rel_emb.weight'])


def test_an_interrupted_run_goes_on(work, capsys, monkeypatch):
    assert main(['train', 'tiny.yaml', '--quiet', '--output', 'whole']) == 0
    from pyg_mmkgc.training import AdversarialTrainer
    step, count = AdversarialTrainer.train_step, []

    def interrupted(self, batch, where):
        count.append(where)
        if where.startswith('epoch 3'):
            raise KeyboardInterrupt
        return step(self, batch, where)

    with monkeypatch.context() as patch:
        patch.setattr(AdversarialTrainer, 'train_step', interrupted)
        assert main(['train', 'tiny.yaml', '--quiet', '--output', 'b']) == 130
    assert 'mmkgc train --resume b' in capsys.readouterr().err
    assert '--resume b' in fails(capsys, 'train', 'tiny.yaml', '--output',
                                 'b')
    assert "to be set for a run that is resumed (got 'training.lr')" in fails(
        capsys, 'train', '--resume', 'b', '--set', 'training.lr=1')
    assert 'Expected no --seed' in fails(capsys, 'train', '--resume', 'b',
                                         '--seed', '1')

    assert main(['train', '--resume', 'b', '--quiet']) == 0
    whole, resumed = (load_tensors(work / name / 'model/model.safetensors')[0]
                      for name in ['whole', 'b'])
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    test = [json.loads((work / name / 'metrics.json').read_text())['test']
            for name in ['whole', 'b']]
    assert test[0] == test[1]
    # As if it had been killed before the last file of the model.
    (work / 'b/model/config.json').unlink()
    assert "a model in 'b' (got none yet)" in fails(capsys, 'evaluate', 'b')


def stop_before(monkeypatch, where):
    from pyg_mmkgc.training import AdversarialTrainer
    step = AdversarialTrainer.train_step

    def interrupted(self, batch, place):
        if place == where:
            raise KeyboardInterrupt
        return step(self, batch, place)

    monkeypatch.setattr(AdversarialTrainer, 'train_step', interrupted)


def test_an_interrupted_run_can_be_asked(work, capsys, monkeypatch):
    """With its best weights so far, which a whole run of as many epochs has
    at its end.
    """
    assert main(['train', 'tiny.yaml', '--quiet', '--output', 'two', '--set',
                 'training.epochs=2']) == 0
    with monkeypatch.context() as patch:
        stop_before(patch, 'epoch 3, step 1')
        assert main(['train', 'tiny.yaml', '--quiet', '--output', 'b']) == 130
        stop_before(patch, 'epoch 1, step 1')
        assert main(['train', 'tiny.yaml', '--quiet', '--output', 'c']) == 130
    labels = json.loads((work / 'two/model/labels.json').read_text())
    best = json.loads((work / 'two/metrics.json').read_text())['best_epoch']
    capsys.readouterr()
    for command in (['evaluate'], ['predict', '--head', labels['nodes'][3],
                                   '--relation', labels['relations'][0]]):
        answers = []
        for name in ('two', 'b'):
            with warnings.catch_warnings(record=True) as found:
                warnings.simplefilter('always')
                assert main([command[0], name, *command[1:]]) == 0
            answers.append(capsys.readouterr().out)
        assert answers[0] == answers[1]
        assert (f"'b' is not finished. This is its model after {best} of 2 "
                'epochs so far. To continue: mmkgc train --resume b') in [
                    str(x.message) for x in found][0]
    # Before the first checkpoint, there are no weights.
    assert "a model in 'c' (got none yet)" in fails(capsys, 'evaluate', 'c')
    assert main(['train', '--resume', 'b', '--quiet']) == 0


def test_a_finished_run_is_extended(work, capsys, monkeypatch):
    """As if it had been longer from the start, but for the validation at its
    first end.
    """
    whole, more = ['--set', 'training.epochs=4'], ['--resume', 'a', '--quiet',
                                                   '--set']
    assert main(['train', 'tiny.yaml', '--quiet', '--output', 'whole',
                 *whole]) == 0
    assert main(['train', 'tiny.yaml', '--quiet', '--output', 'a', '--set',
                 'training.epochs=2']) == 0
    before = json.loads((work / 'a/metrics.json').read_text())
    capsys.readouterr()
    for override, match in [
            ('training.epochs=2', 'more than the 2 epochs of the finished'),
            ('training.lr=1', "(got 'training.lr')"),
            ('training.epochs=no', "'training.epochs' to be an integer")]:
        assert match in fails(capsys, 'train', *more, override)
        assert json.loads((work / 'a/metrics.json').read_text()) == before

    # Interrupted, it still has its weights and both results.
    with monkeypatch.context() as patch:
        stop_before(patch, 'epoch 4, step 1')
        assert main(['train', *more, 'training.epochs=4']) == 130
    assert not (work / 'a/metrics.json').exists()
    kept = json.loads((work / 'a/metrics-2-epochs.json').read_text())
    assert kept == before
    assert main(['train', '--resume', 'a', '--quiet']) == 0
    assert load_config('a/config.yaml') == load_config('whole/config.yaml')
    one, other = (load_tensors(work / name / 'model/model.safetensors')[0]
                  for name in ('whole', 'a'))
    assert all(torch.equal(one[key], other[key]) for key in one)
    test = [json.loads((work / name / 'metrics.json').read_text())
            for name in ('whole', 'a')]
    assert test[0]['test'] == test[1]['test']
    assert test[1]['epochs'] == 4

    # Without its checkpoint, it cannot go on, and stays as it is.
    (work / 'a/checkpoint.safetensors').unlink()
    capsys.readouterr()
    assert "'checkpoint.safetensors' in 'a' to continue from" in fails(
        capsys, 'train', *more, 'training.epochs=9')
    assert (work / 'a/metrics.json').exists()


def test_a_run_that_stopped_early_needs_more_patience(work, capsys):
    argv = ['train', 'tiny.yaml', '--quiet', '--output', 'a', '--set',
            'training.epochs=30', 'training.patience=1', 'training.lr=0.5',
            'adversary.lr=0.5']
    assert main(argv) == 0
    done = json.loads((work / 'a/metrics.json').read_text())['epochs']
    assert done < 30
    capsys.readouterr()
    assert "'training.patience' to be more than 1, since" in fails(
        capsys, 'train', '--resume', 'a', '--set', 'training.epochs=40')
    assert main(['train', '--resume', 'a', '--quiet', '--set',
                 f'training.epochs={done + 2}', 'training.patience=99']) == 0
    assert json.loads((work / 'a/metrics.json').read_text())[
        'epochs'] == done + 2


def test_a_run_is_tracked(work, capsys):
    pytest.importorskip('tensorboard')
    assert main(['train', 'tiny.yaml', '--quiet', '--output', 'a', '--set',
                 'training.track=[csv, tensorboard]']) == 0
    assert (work / 'a/history.csv').read_text().count('\n') == 4
    assert list((work / 'a/tensorboard').glob('events.*'))
    assert load_config('a/config.yaml').training.track == ['csv',
                                                           'tensorboard']
    assert "'training.track' to be 'csv' or" in fails(
        capsys, 'train', 'tiny.yaml', '--set', 'training.track=disk')


@pytest.mark.parametrize('name, status', [('SIGTERM', 143), ('SIGHUP', 129)])
def test_a_run_that_the_system_ends_goes_on(work, capsys, monkeypatch, name,
                                            status):
    assert main(['train', 'tiny.yaml', '--quiet', '--output', 'whole']) == 0
    from pyg_mmkgc.training import AdversarialTrainer
    step = AdversarialTrainer.train_step

    def ended(self, batch, where):
        if where == 'epoch 3, step 1':
            os.kill(os.getpid(), getattr(signal, name))
        return step(self, batch, where)

    with monkeypatch.context() as patch:
        patch.setattr(AdversarialTrainer, 'train_step', ended)
        assert main(['train', 'tiny.yaml', '--quiet', '--output',
                     'b']) == status
    assert 'mmkgc train --resume b' in capsys.readouterr().err
    assert main(['train', '--resume', 'b', '--quiet']) == 0
    whole, resumed = (load_tensors(work / name / 'model/model.safetensors')[0]
                      for name in ['whole', 'b'])
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


@pytest.mark.parametrize('name, status', [('SIGTERM', 143), ('SIGHUP', 129)])
def test_any_command_can_be_ended(work, capsys, monkeypatch, name, status):
    monkeypatch.setattr('pyg_mmkgc.config.catalogue', lambda: os.kill(
        os.getpid(), getattr(signal, name)))
    handler = signal.getsignal(signal.SIGTERM)
    assert main(['models']) == status
    assert signal.getsignal(signal.SIGTERM) is handler


def test_runs_are_never_overwritten(work, capsys):
    short = ['--quiet', '--set', 'training.epochs=1']
    for _ in range(3):
        assert main(['train', 'tiny.yaml', *short]) == 0
    assert {path.name for path in (work / 'runs').iterdir()} == {
        'tiny-seed0', 'tiny-seed0-2', 'tiny-seed0-3'}
    message = fails(capsys, 'train', 'tiny.yaml', *short, '--output',
                    'runs/tiny-seed0')
    assert 'would be overwritten' in message and 'resume' not in message
    message = fails(capsys, 'train', 'tiny.yaml', '--output', 'tiny.yaml/foo')
    assert ("Expected 'tiny.yaml/foo' to be a folder that can be written (got "
            'an error: Not a directory). Pass another --output.') in message
    assert 'got a file' in fails(capsys, 'train', 'tiny.yaml', '--output',
                                'tiny.yaml')
    pathlib.Path('killed').mkdir()  # As its first file was written.
    pathlib.Path('killed/.lock').touch()  # Of a run that was deleted.
    pathlib.Path('killed/.config.yaml.x1.tmp').touch()
    assert main(['train', 'tiny.yaml', '--output', 'killed', '--quiet']) == 0


@pytest.mark.parametrize(('argv', 'match'), [
    (['train'], 'to train, or --resume RUN (got neither)'),
    (['train', 'contries'], "Did you mean 'countries'"),
    (['train', 'none.yaml'],
     "'none.yaml' to be readable (got an error: No such file"),
    (['train', 'tiny.yaml', '--set', 'training.epoch=3'],
     "Expected a known key (got 'training.epoch'). Did you mean 'epochs'?"),
    (['train', 'tiny.yaml', '--device', 'tpu9'], "got 'tpu9'"),
    (['train', 'tiny.yaml', '--set', 'dataset.modalities=[smell]'],
     "'dataset.modalities' to name modalities of the graph ['visual', "),
    (['train', 'tiny.yaml', '--set', 'dataset.modalities=[]'], 'modality'),
    (['train', 'tiny.yaml', '--set', 'adversary=null'], 'AdversarialTrainer'),
    (['train', 'empty.yaml', '--seed', '1'], 'to be a mapping'),
    (['train', 'mkg_w'], "'dataset.root' to be the folder of the files"),
    (['audit', 'nothing'], 'a file ending in .yaml'),
    (['audit'], 'Expected NAME|FILE, the configuration to audit'),
    (['profile', '--set', 'training.epochs=1'],
     'the configuration to profile'),
    (['audit', '--set', 'training.epochs=1', 'nothing'],
     'a file ending in .yaml'),
    (['train', '--set', 'training.epoch=3', 'tiny.yaml'], "'training.epoch'"),
    (['evaluate', 'nowhere'], 'to be the folder of a run'),
    (['predict', 'nowhere', '--head', 'a', '--relation', 'b'],
     'to be the folder of a run'),
    (['predict', 'r', '--relation', 'a'], 'two of --head, --relation'),
    (['predict', 'r', '--head', 'a', '--tail', 'b', '--relation', 'c'],
     'two of --head, --relation'),
    (['predict', 'r', '--queries', 'q.tsv'], 'Expected --out with --queries'),
    (['predict', 'r', '--queries', 'q', '--out', 'o', '--head', 'a'],
     'no --head'),
    (['predict', 'r', '--head', 'a', '--tail', 'b', '--out', 'o.tsv'],
     'Expected --queries with --out'),
    (['compare', 'nowhere', 'there'], "'nowhere' to be the folder"),
    (['compare', 'nowhere', 'nowhere'], 'different runs'),
])
def test_errors(work, capsys, argv, match):
    assert match in fails(capsys, *argv)
    assert not list(work.glob('runs/*/*'))  # Nothing was begun.


def test_out_of_memory(capsys, monkeypatch):
    def fail(*args):
        raise torch.OutOfMemoryError

    monkeypatch.setattr('pyg_mmkgc.evaluation.scorer.Queries.against', fail)
    assert 'enough memory on cpu to score one query against 60 nodes' \
        in fails(capsys, 'train', 'pyg.yaml', '--quiet')


@pytest.mark.parametrize('error', [
    MemoryError('no room'), torch.OutOfMemoryError('no room'),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: no room"),
    RuntimeError('a defect')])
def test_training_out_of_memory(work, capsys, monkeypatch, error):
    """Memory errors are a message, while other errors have a traceback."""
    def fail(*_):
        raise error

    from pyg_mmkgc.training import AdversarialTrainer
    monkeypatch.setattr(AdversarialTrainer, 'train_step', fail)
    if 'no room' not in str(error):
        with pytest.raises(RuntimeError, match='a defect'):
            main(['train', 'tiny.yaml', '--quiet'])
        return
    err = fails(capsys, 'train', 'tiny.yaml', '--quiet')
    assert 'out of memory: reduce training.batch_size' in err
    assert 'no room' in err
    with pytest.raises(type(error)):
        main(['train', 'tiny.yaml', '--quiet', '--debug'])


def test_labels_that_the_terminal_cannot_show(work, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding='ascii')
    monkeypatch.setattr('sys.stdout', stream)
    monkeypatch.setattr('pyg_mmkgc.cli.models.call',
                        lambda args: print('K\u00f6ln'))
    assert main(['models']) == 0
    stream.seek(0)
    assert stream.read() == 'K\\xf6ln\n'


def test_debug_shows_where(work):
    from pyg_mmkgc.errors import ConfigError
    with pytest.raises(ConfigError):
        main(['train', 'contries', '--debug'])


@pytest.mark.parametrize('argv', [
    [], ['fly'], ['explain', 'r', '--relation', 'a'], ['export', 'r'],
    ['compare'], ['similar', 'r'],
    ['train', 'countries', '--seed', 'x'],
])
def test_usage(argv, capsys):
    with pytest.raises(SystemExit) as info:
        main(argv)
    assert info.value.code == 2
    assert 'usage: mmkgc' in capsys.readouterr().err


@pytest.mark.parametrize('argv, hint', [
    (['trian'], "(got 'trian'). Did you mean 'train'?"),
    (['features', 'imags'], "(got 'imags'). Did you mean 'images'?"),
    (['fly'], "(got 'fly').\n"),
])
def test_a_mistyped_command(argv, hint, capsys):
    with pytest.raises(SystemExit) as info:
        main(argv)
    assert info.value.code == 2
    assert hint in capsys.readouterr().err


def test_version(capsys):
    with pytest.raises(SystemExit) as info:
        main(['--version'])
    assert info.value.code == 0
    assert capsys.readouterr().out == f'mmkgc {pyg_mmkgc.__version__}\n'


LIGHT = """
import sys
import mmkgc
try:
    status = mmkgc.main(sys.argv[1:])
except SystemExit as error:
    status = error.code
heavy = [name for name in ('torch', 'torch_geometric', 'numba', 'numpy')
         if name in sys.modules]
print(status, heavy)
"""


def light(*argv):
    """Status and output of a command that must not import torch or PyG,
    which takes seconds.
    """
    done = subprocess.run([sys.executable, '-c', LIGHT, *argv],
                          capture_output=True, text=True, timeout=300)
    out, _, last = done.stdout.strip().rpartition('\n')
    status, _, heavy = last.partition(' ')
    assert heavy == '[]', done.stderr
    return int(status), out + done.stderr


@pytest.mark.parametrize('argv, status, text', [
    (['--help'], 0, 'COMMAND'),
    (['train', '--help'], 0, '--resume'),
    (['features', 'images', '--help'], 0, '--encoder'),
    (['trian'], 2, "Did you mean 'train'?"),
    (['train', 'countries', '--epochs', '3'], 2, 'unrecognized arguments'),
    (['train', 'none.yaml'], 2, "Expected 'none.yaml' to be readable"),
    (['train', 'contries'], 2, "Did you mean 'countries'?"),
    (['train', 'syntax.yaml'], 2, "Expected valid YAML in 'syntax.yaml' "
     '(got an error in line 3, column 1: expected the node content'
     ''),
    (['train', 'tiny.yaml', '--set', 'training.epoch=3'], 2,
     "Did you mean 'epochs'?"),
    (['train', 'tiny.yaml', '--set', 'model.name=AdaM'], 2,
     "Did you mean 'AdaMF'?"),
    (['train', 'tiny.yaml', '--set', 'training.lr=fast'], 2,
     "Expected 'training.lr' to be a finite number (got 'fast')"),
    (['train', 'tiny.yaml', '--set', 'model.margin=[1]'], 2,
     "Expected 'model.margin' to be a finite number (got [1])"),
    (['train', 'tiny.yaml', '--set', 'model.modalities=[text]'], 2,
     "Set 'dataset.modalities' to train with some of them."),
    (['audit', 'tiny.yaml', '--set', 'dataset.nodes=3'], 2, "'num_nodes'"),
    (['search', 'tiny.yaml'], 2, "Expected the section 'search'"),
])
def test_help_and_usage_import_no_torch(argv, status, text):
    found, out = light(*argv)
    assert found == status and text in out


def test_the_package_is_a_command(capfd):
    subprocess.run([sys.executable, '-m', 'pyg_mmkgc', '--version'],
                   check=True, timeout=300)
    assert capfd.readouterr().out == f'mmkgc {pyg_mmkgc.__version__}\n'


@pytest.mark.parametrize('shell', ['bash', 'zsh', 'tcsh'])
def test_tab_completion(shell, capsys):
    pytest.importorskip('shtab')
    assert main(['completion', shell]) == 0
    out = capsys.readouterr().out
    for word in ('features', 'inspect', '--split', 'train'):
        assert word in out


def test_bash_completes(work, capsys):
    """A real shell takes the script and offers what fits."""
    pytest.importorskip('shtab')
    bash = shutil.which('bash')
    if bash is None:
        pytest.skip('there is no bash')
    assert main(['completion', 'bash']) == 0
    (work / 'mmkgc.sh').write_text(capsys.readouterr().out)

    def complete(*words):
        done = subprocess.run(
            [bash, '--norc', '-c', 'source mmkgc.sh; COMP_WORDS=("$@"); '
             'COMP_CWORD=$(($# - 1)); _shtab_mmkgc; '
             'printf "%s\n" "${COMPREPLY[@]}"', '-', *words],
            capture_output=True, text=True, timeout=60, check=True)
        return [x.strip() for x in done.stdout.splitlines()]

    assert complete('mmkgc', 'tr') == ['train']
    assert complete('mmkgc', 'evaluate', 'r', '--spl') == ['--split']
    assert 'tiny.yaml' in complete('mmkgc', 'train', 'tin')


def test_completion_without_shtab(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'shtab', None)
    assert 'pip install shtab' in fails(capsys, 'completion', 'bash')


def test_models(capsys):
    assert main(['models']) == 0
    text = capsys.readouterr().out
    assert set(shipped_configs()) <= set(text.split())
    assert ('AdaMF: multi-modal; modalities: any number, or none\n'
            '    Unleashing the Power of Imbalanced Modality Information for '
            'Multi-modal Knowledge Graph Completion\n'
            '    https://arxiv.org/abs/2402.15444\n') in text
    assert "'mmkgc train countries' is adamf_mat/countries" in text


def test_models_as_json(capsys):
    assert main(['models', '--json']) == 0
    found = {entry['name']: entry
             for entry in json.loads(capsys.readouterr().out)}
    assert found['MAT']['section'] == 'adversary'
    assert 'adamf_mat/mkg_w' in found['MAT']['configs']
    assert found['AdaMFMAT']['trained_with'][:1] == ['PooledSampler']


def test_audit(capsys):
    assert main(['audit', 'tiny.yaml']) == 0
    assert 'train' in capsys.readouterr().out


def test_countries(work, capsys):
    assert main(['train', 'countries', '--quiet', '--set',
                 'training.epochs=1', 'model.hidden_channels=8',
                 'training.device=cpu']) == 0
    capsys.readouterr()
    assert main(['predict', 'runs/adamf_mat-countries-seed0', '--head',
                 'Austria', '--relation', 'neighbour', '-k', '10']) == 0
    assert '(Austria, neighbour, ?)' in capsys.readouterr().out
    assert main(['audit', 'countries']) == 0


def test_the_data_of_a_benchmark_is_found_from_anywhere(
        work, capsys, shared_data, monkeypatch):
    (work / 'link').symlink_to(shared_data)
    argv = ['train', 'rotate/mkg_y', '--data-root', 'link', '--quiet',
            '--output', 'run', '--device', 'cpu', '--set',
            'training.epochs=1', 'training.batch_size=20000',
            'model.hidden_channels=2', 'sampler.num_negatives=2']
    assert main(argv) == 0
    table = capsys.readouterr().out.split('run: ')[0].strip()
    (work / 'other').mkdir()
    monkeypatch.chdir(work / 'other')
    assert main(['evaluate', '../run']) == 0
    assert capsys.readouterr().out.strip() == table

    # The data has moved.
    (work / 'link').unlink()
    (work / 'moved').symlink_to(shared_data)
    assert main(['evaluate', '../run', '--data-root', '../moved']) == 0
    assert capsys.readouterr().out.strip() == table


def test_own_triples(work, capsys, monkeypatch):
    (work / 'data').mkdir()
    lines = [f'n{i}\t{rel}\tn{(i * k + 1) % 40}' for i in range(40)
             for k, rel in [(3, 'a'), (7, 'b'), (11, 'c')]]
    (work / 'data/all.tsv').write_text('\n'.join(lines))
    from pyg_mmkgc.io.tensors import save_tensors
    save_tensors(work / 'data/audio.safetensors', {'x': torch.randn(30, 4)},
                 {})
    (work / 'data/labels.txt').write_text(
        ''.join(f'n{i}\n' for i in range(30)))
    (work / 'own.yaml').write_text("""
dataset:
  name: TSV
  root: data
  train: all.tsv
  val_ratio: 0.1
  test_ratio: 0.1
  features: {audio: audio.safetensors}
model: {name: AdaMF, hidden_channels: 4, missing: drop}
sampler: {name: UniformSampler, num_negatives: 4}
training: {epochs: 1, device: cpu}
""")
    assert main(['audit', 'own.yaml']) == 0
    assert 'audio' in capsys.readouterr().out
    assert main(['train', 'own.yaml', '--quiet', '--output', 'run']) == 0
    (work / 'data').rename(work / 'moved')
    monkeypatch.chdir(work / 'moved')
    assert 'all.tsv' in fails(capsys, 'evaluate', '../run')
    assert main(['evaluate', '../run', '--data-root', '.']) == 0
    assert main(['predict', '../run', '--data-root', '.', '--head', 'n3',
                 '--relation', 'b', '-k', '2']) == 0
    assert '(n3, b, ?)' in capsys.readouterr().out
