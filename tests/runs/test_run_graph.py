"""Runs refuse other graphs than the graph of their training."""

import json

import pytest
import torch

from pyg_mmkgc.cli import main
from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.data.fingerprint import differences, fingerprint
from pyg_mmkgc.errors import (
    CheckpointError,
    DataError,
    FormatError,
    ModelError,
)
from pyg_mmkgc.evaluation import evaluate
from pyg_mmkgc.io import load_tensors, save_tensors, seal
from pyg_mmkgc.runs import Run

LINES = [f'n{i}\t{rel}\tn{(i * k + 1) % 20}' for i in range(20)
         for k, rel in [(3, 'a'), (7, 'b')]]
SPLIT = """
dataset: {name: TSV, train: all.tsv, val_ratio: 0.1, test_ratio: 0.1}
model: {name: RotatE, hidden_channels: 2}
sampler: {name: UniformSampler, num_negatives: 4}
training: {epochs: 1, device: cpu}
"""
FILES = SPLIT.replace('val_ratio: 0.1, test_ratio: 0.1', 'test: test.tsv')
# Sums of absolute values would make ties: of two candidates that a query
# exceeds in every channel, with the same signs, only a rounding says which is
# nearer.
PYG = """
dataset: {name: TSV, train: all.tsv, val_ratio: 0.1, test_ratio: 0.1}
model: {name: PyG.TransE, hidden_channels: 4, p_norm: 2.0}
training: {epochs: 1, device: cpu}
"""


def write(path, lines):
    path.write_text('\n'.join(lines))


@pytest.fixture
def train(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(config, lines=LINES):
        write(tmp_path / 'all.tsv', lines)
        write(tmp_path / 'test.tsv', ['n1\ta\tn2', 'n2\tb\tn3'])
        (tmp_path / 'own.yaml').write_text(config)
        Run.create('own.yaml', (), 'run').train(progress=False)
        return tmp_path
    return run


# Another split, another numbering, other nodes, other relations.
CHANGES = [
    (LINES + ['n3\ta\tn5'], 'differs in triples of train, triples of val, '
     'triples of test.. Restore'),
    (LINES[::-1], 'differs in triples of train, triples of val, triples'),
    (LINES + ['n3\ta\tnew'], r'number of nodes \(20, now 21\), labels of '),
    (LINES + ['n3\tc\tn5'], r'number of relations \(2, now 3\), labels of ')]


@pytest.mark.parametrize('config', [SPLIT, PYG], ids=['own', 'pyg'])
def test_another_graph_is_refused(config, train, capsys):
    folder = train(config)
    mrr = Run.open('run').evaluate('val').mrr
    for lines, match in CHANGES:
        write(folder / 'all.tsv', lines)
        with pytest.raises(CheckpointError, match=match):
            Run.open('run').evaluate('test')
    for lines, match in CHANGES[2:]:  # Other triples are no other graph.
        write(folder / 'all.tsv', lines)
        with pytest.raises(CheckpointError, match=match):
            Run.open('run').predict('n1', 'a')
    assert main(['evaluate', 'run']) == 2
    assert 'train again' in capsys.readouterr().err
    write(folder / 'all.tsv', LINES)
    assert Run.open('run').evaluate('val').mrr == mrr


@pytest.mark.parametrize('config', [SPLIT, PYG], ids=['own', 'pyg'])
def test_predictions_take_new_triples(config, train):
    folder = train(config)
    before, = Run.open('run').predict('n3', 'a', k=20).to_dict()
    write(folder / 'all.tsv', LINES + ['n3\ta\tn5'])
    run = Run.open('run')
    with pytest.warns(UserWarning, match='other triples .triples of'
                      ) as caught:
        after, = run.predict('n3', 'a', k=20).to_dict()
    assert caught[0].filename == __file__
    # Of all answers, one has become known, and nothing else has changed.
    changed, = [(old, new) for old, new in zip(
        before['tails'], after['tails'], strict=True) if old != new]
    assert changed[0] | {'known': True} == changed[1]
    assert (changed[1]['label'], changed[0]['known']) == ('n5', False)

    # Numbered otherwise, and without node 19.
    write(folder / 'all.tsv', [line for line in LINES[::-1]
                               if 'n19' not in line])
    with pytest.warns(UserWarning, match='other triples'):
        there, = Run.open('run').predict('n3', 'a', k=20).to_dict()
    assert [x | {'known': True} for x in there['tails']] == [
        x | {'known': True} for x in before['tails']]


@pytest.mark.parametrize('config', [FILES, FILES.replace(
    '{name: RotatE, hidden_channels: 2}',
    '{name: PyG.TransE, hidden_channels: 4, p_norm: 2.0}').replace(
    'sampler: {name: UniformSampler, num_negatives: 4}', '')])
def test_the_order_of_a_file_does_not_matter(config, train):
    folder = train(config)
    mrr = Run.open('run').evaluate().mrr
    write(folder / 'all.tsv', LINES[::-1])
    run = Run.open('run')
    graph = run.graph
    assert graph.node_names[0] == 'n19'
    model = run.load_model()
    assert run.graph.node_names[0] == 'n0'  # As the model from now on.
    assert evaluate(model, run.graph).mrr == mrr == run.evaluate().mrr
    with pytest.raises(ModelError, match="'n19' to be node"):
        evaluate(model, graph)


def test_the_split_is_named(train):
    folder = train(FILES)
    # The same triples in another order are the same.
    write(folder / 'test.tsv', ['n2\tb\tn3', 'n1\ta\tn2'])
    Run.open('run').evaluate()
    write(folder / 'test.tsv', ['n2\tb\tn3', 'n1\ta\tn3'])
    with pytest.raises(CheckpointError, match='in triples of test.. R'):
        Run.open('run').evaluate()


@pytest.mark.parametrize('config', [SPLIT, PYG])
def test_a_run_of_an_earlier_version_opens(train, config):
    """Such a run has no manifest, or no record of its graph."""
    folder = train(config) / 'run/model'
    (folder / 'manifest.json').unlink()
    if config == SPLIT:
        saved = json.loads((folder / 'config.json').read_text())
        del saved['version']
        (folder / 'config.json').write_text(json.dumps(saved))
    else:  # It had no models of PyG that load without their run.
        (folder / 'config.json').unlink()
    with pytest.warns(UserWarning,
                      match='An earlier version wrote the folder'):
        Run.open('run').evaluate()
    (folder / 'graph.json').unlink()
    with pytest.warns(UserWarning, match='may have changed since') as caught:
        Run.open('run').evaluate()
    assert caught[0].filename == __file__
    seal(folder)
    (folder / 'graph.json').write_text('[]')
    with pytest.raises(FormatError, match='graph.json.*which is missing'):
        Run.open('run').evaluate()
    seal(folder)
    with pytest.raises(CheckpointError, match='got list instead of an object'):
        Run.open('run').evaluate()


@pytest.mark.parametrize('config', [SPLIT, PYG])
def test_files_of_a_run_are_sealed(train, config):
    folder = train(config) / 'run/model'
    names = {path.name for path in folder.iterdir()} - {'manifest.json'}
    assert 'graph.json' in names
    for name in names:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:-3] + b'x' + content[-2:])
        with pytest.raises(FormatError, match=f'{name}.*SHA-256'):
            Run.open('run').evaluate()
        (folder / name).write_bytes(content)
    Run.open('run').evaluate()


def test_weights_of_another_model_of_pyg(train):
    folder = train(PYG) / 'run/model'
    tensors, _ = load_tensors(folder / 'model.safetensors')
    tensors['node_emb.weight'] = tensors['node_emb.weight'][:5]
    save_tensors(folder / 'model.safetensors', tensors)
    seal(folder)
    with pytest.raises(CheckpointError, match='size mismatch for node_emb'):
        Run.open('run').evaluate()


def test_the_filter_is_a_part():
    edges = {'edge_index': torch.tensor([[0, 1], [1, 2]]),
             'edge_type': torch.zeros(2).long(), 'num_nodes': 3}
    first, second = (KnowledgeGraph(
        **edges, filter_edge_index=torch.tensor([[0], [tail]]),
        filter_edge_type=torch.zeros(1).long()) for tail in (1, 2))
    saved = json.loads(json.dumps(fingerprint(first)))
    assert differences(saved, first) == []
    assert differences(saved, second) == ['triples of the filter']
    assert differences(saved, KnowledgeGraph(**edges)) == [
        'triples of the filter']


def test_a_number_that_is_no_label_is_no_id(train):
    train(SPLIT, [line.replace('n', '') for line in LINES
                  if 'n7' not in line])
    run = Run.open('run')
    assert '(8, a, ?)' in str(run.predict('8', 'a'))
    with pytest.raises(DataError, match="got '7'.*nearest labels are '17'"):
        run.predict('7', 'a')
    with pytest.raises(DataError, match="got '7'.*label rather than an id"):
        run.predict('7', 'a')
    # No relation has a number for a label.
    assert str(run.predict('8', '0')) == str(run.predict('8', 'a'))


@pytest.mark.parametrize('label', ['{}.0', '-{}', '{}e3', '.{}'])
def test_numbers_that_are_no_ids(train, label):
    """Numbers that pandas writes for ids are not mistaken for other ids."""
    train(SPLIT, ['\t'.join([label.format(head[1:]), rel,
                             label.format(tail[1:])])
                  for head, rel, tail in map(str.split, LINES)])
    run = Run.open('run')
    assert f"({label.format('8')}, a, ?)" in str(
        run.predict(label.format('8'), 'a'))
    with pytest.raises(DataError, match="got '8'.*label rather than an id"):
        run.predict('8', 'a')


def test_without_test_triples(train, capsys):
    """A run without test triples trains on all triples."""
    work = train(SPLIT)
    assert main(['train', 'own.yaml', '--quiet', '--output', 'all', '--set',
                 'dataset.test_ratio=0', 'dataset.val_ratio=0']) == 0
    assert 'no test triples to evaluate on' in capsys.readouterr().out
    assert json.loads((work / 'all/metrics.json').read_text())['test'] is None
    run = Run.open('all')
    assert run.finished and '(n3, b, ?)' in str(run.predict('n3', 'b'))
    with pytest.raises(DataError, match="the split 'test' .got"):
        run.evaluate()
