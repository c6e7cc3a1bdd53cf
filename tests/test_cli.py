import io
import json
import os
import pathlib
import re
import signal

import pytest
import torch

from pyg_mmkgc.cli import main
from pyg_mmkgc.config import build_graph, load_config, shipped_configs
from pyg_mmkgc.io.tensors import load_tensors

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
    (tmp_path / 'own.tsv').write_text('a\tr\tb\n')
    (tmp_path / 'own.yaml').write_text(
        'dataset: {name: TSV, train: own.tsv}\n'
        'model: {name: AdaMF, hidden_channels: 2}')
    return tmp_path


def fails(capsys, *argv, status=2):
    """Runs a command that fails and returns its message of one line."""
    assert main(list(argv)) == status
    out, err = capsys.readouterr()
    lines = err.strip().splitlines()
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
    assert 'a finished run' in fails(capsys, 'train', '--resume', str(folder))


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
    assert main(['predict', 'runs/pyg-seed3', '--head', '0', '--relation',
                 '0']) == 0


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
    assert "a model in 'b' (got none yet)" in fails(capsys, 'evaluate', 'b')
    assert '--resume b' in fails(capsys, 'train', 'tiny.yaml', '--output',
                                 'b')
    assert '--set cannot change' in fails(
        capsys, 'train', '--resume', 'b', '--set', 'training.lr=1')

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
    assert 'got a file' in fails(capsys, 'train', 'tiny.yaml', '--output',
                                'tiny.yaml')
    pathlib.Path('killed').mkdir()  # As its first file was written.
    pathlib.Path('killed/.lock').touch()  # Of a run that was deleted.
    pathlib.Path('killed/.config.yaml.x1.tmp').touch()
    assert main(['train', 'tiny.yaml', '--output', 'killed', '--quiet']) == 0


@pytest.mark.parametrize(('argv', 'match'), [
    (['train'], 'what to train or --resume'),
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
    (['audit'], 'expected NAME|FILE, what to audit'),
    (['profile', '--set', 'training.epochs=1'], 'what to profile'),
    (['audit', '--set', 'training.epochs=1', 'nothing'],
     'a file ending in .yaml'),
    (['train', '--set', 'training.epoch=3', 'tiny.yaml'], "'training.epoch'"),
    (['evaluate', 'nowhere'], 'to be the folder of a run'),
    (['predict', 'nowhere', '--head', 'a', '--relation', 'b'],
     'to be the folder of a run'),
    (['predict', 'r', '--relation', 'a'], 'two of --head, --relation'),
    (['predict', 'r', '--head', 'a', '--tail', 'b', '--relation', 'c'],
     'two of --head, --relation'),
    (['predict', 'r', '--queries', 'q.tsv'], '--queries needs --out'),
    (['predict', 'r', '--queries', 'q', '--out', 'o', '--head', 'a'],
     'no --head'),
    (['predict', 'r', '--head', 'a', '--tail', 'b', '--out', 'o.tsv'],
     '--out needs the file of --queries'),
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
    assert 'out of memory: a smaller training.batch_size' in err
    assert 'no room' in err
    with pytest.raises(type(error)):
        main(['train', 'tiny.yaml', '--quiet', '--debug'])


def test_labels_that_the_terminal_cannot_show(work, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding='ascii')
    monkeypatch.setattr('sys.stdout', stream)
    monkeypatch.setattr('pyg_mmkgc.cli._models',
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
