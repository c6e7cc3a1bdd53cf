"""The command `mmkgc features`, and the use of its folders."""

import json
import re

import numpy as np
import pytest
import torch

from pyg_mmkgc import KnowledgeGraph
from pyg_mmkgc.cli import main
from pyg_mmkgc.cli.features import ENCODERS
from pyg_mmkgc.cli.parser import make_parser
from pyg_mmkgc.features import catalogue, load_feature_folder
from pyg_mmkgc.features.extract import DTYPES
from pyg_mmkgc.kernels.compiling import MESSAGE

Image = pytest.importorskip('PIL.Image')
pytest.importorskip('skimage')
pytest.importorskip('sklearn')

OWN = """
dataset:
  name: TSV
  root: data
  train: all.tsv
  val_ratio: 0.1
  test_ratio: 0.1
  features: {visual: ../visual}
  modalities: [visual]
  drop_features: {visual: 0.0}
model: {name: IKRL, hidden_channels: 4}
sampler: {name: UniformSampler, num_negatives: 4}
training: {epochs: 1, device: cpu}
"""
IMAGES = ['features', 'images', 'raw', '--encoder', 'descriptor', '--graph',
          'own.yaml', '--out', 'visual', '--workers', '0', '--quiet']


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    """A graph of 30 nodes; n1 to n7 have one to three images each, of which
    all of n2's and one of n3's are broken.
    """
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'data').mkdir()
    lines = [f'n{i}\t{rel}\tn{(i * k + 1) % 30}' for i in range(30)
             for k, rel in [(7, 'a'), (11, 'b')]]
    (tmp_path / 'data/all.tsv').write_text('\n'.join(lines))
    (tmp_path / 'own.yaml').write_text(OWN)
    rng = np.random.default_rng(0)
    for i in range(1, 8):
        folder = tmp_path / 'raw' / f'n{i}'
        folder.mkdir(parents=True)
        for j in range(i % 3 + 1):
            pixels = rng.integers(0, 256, (8, 9, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f'{j}.png')
    for file in ['n2/0.png', 'n2/1.png', 'n2/2.png', 'n3/0.png']:
        (tmp_path / 'raw' / file).write_bytes(b'<html>404</html>')
    Image.new('RGB', (5, 5)).save(tmp_path / 'raw/n3/1.png')
    (tmp_path / 'raw/stranger').mkdir()
    Image.new('RGB', (5, 5)).save(tmp_path / 'raw/stranger/1.png')
    return tmp_path


def fails(capsys, *argv):
    """Runs a command that fails and returns its message of one line."""
    assert main(list(argv)) == 2
    line, = (x for x in capsys.readouterr().err.strip().splitlines()
             if x != MESSAGE)
    assert line.startswith('mmkgc: error: ')
    return line


def test_from_images_to_a_model(work, capsys):
    assert 'visual' in fails(capsys, 'train', 'own.yaml')
    assert main(IMAGES) == 0
    out = capsys.readouterr().out
    for line in ['6 of 30 (20.0 %) covered; 1 entities are not in the graph',
                 '11 of 15 (73.3 %) usable', 'unusable: 4 x',
                 'not in the graph: stranger', 'features: visual']:
        assert line in out
    features = load_feature_folder('visual')
    assert sorted(features.labels) == ['n1', 'n3', 'n4', 'n5', 'n6', 'n7']

    graph = KnowledgeGraph.from_tsv('data/all.tsv',
                                    features={'visual': 'visual'})
    assert graph.x_visual.shape == (30, 304)
    there = [graph.node_names[i] for i in graph.mask_visual.nonzero()]
    assert sorted(there) == sorted(features.labels)
    for label, row in zip(features.labels, features.x):
        assert torch.equal(graph.x_visual[graph.node_names.index(label)], row)
    assert not graph.x_visual[~graph.mask_visual].any()

    assert main(['train', 'own.yaml', '--quiet', '--output', 'run']) == 0
    metrics = json.loads((work / 'run/metrics.json').read_text())
    assert metrics['modalities'] == {'visual': 304}
    for more in [], ['--data-root', str(work / 'data')]:
        assert main(['audit', 'own.yaml', *more]) == 0
        assert '6 (20.0 %)' in capsys.readouterr().out


def test_all_images_of_a_node(work, capsys):
    assert main([*IMAGES, '--pool', 'all', '--dtype', 'float16']) == 0
    graph = KnowledgeGraph.from_tsv('data/all.tsv',
                                    features={'visual': 'visual'})
    assert graph.x_visual.shape == (30, 3, 304)
    assert graph.x_visual.dtype == torch.half
    count = dict(zip(graph.node_names, graph.mask_visual.sum(dim=1).tolist()))
    assert {label: n for label, n in count.items() if n > 0} == {
        'n1': 2, 'n3': 1, 'n4': 2, 'n5': 3, 'n6': 1, 'n7': 2}
    features = load_feature_folder('visual')
    row = features.labels.index('n5')
    assert features.ptr is not None
    assert torch.equal(graph.x_visual[graph.node_names.index('n5')],
                       features.x[features.ptr[row]:features.ptr[row + 1]])
    assert main(['train', 'own.yaml', '--quiet', '--output', 'run']) == 0
    assert "Ranking of 'test'" in capsys.readouterr().out


def test_texts(work, capsys):
    (work / 'texts.tsv').write_text('entity\ttext\n0\tOne\n7\tTwo\n7\tTwo b\n'
                                    '99\tNobody\n8\t \n')
    argv = ['features', 'texts', 'texts.tsv', '--encoder', 'hashing',
            '--graph', 'own.yaml', '--match', 'id', '--out', 'text',
            '--workers', '0', '--quiet']
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert '2 of 30 (6.7 %) covered; 1 entities are not in the graph' in out
    assert '3 of 4 (75.0 %) usable' in out and 'a blank text' in out
    names = KnowledgeGraph.from_tsv('data/all.tsv').node_names
    assert load_feature_folder('text').labels == [names[0], names[7]]

    # By labels, from a table without header.
    (work / 'labels.txt').write_text('\n'.join(names))
    (work / 'texts.csv').write_text(f'{names[0]},One\n{names[7]},Two\n'
                                    f'{names[7]},"Two b"\n')
    assert main(['features', 'texts', 'texts.csv', '--no-header', '--encoder',
                 'hashing', '--graph', 'labels.txt', '--out', 'again',
                 '--workers', '0', '--quiet']) == 0
    one, two = (load_feature_folder(name) for name in ('text', 'again'))
    assert one.labels == two.labels and torch.equal(one.x, two.x)

    # Without a graph, every entity is a node.
    assert main(['features', 'texts', 'texts.csv', '--no-header', '--encoder',
                 'hashing', '--out', 'alone', '--quiet']) == 0
    assert '2 of 2 (100.0 %)' in capsys.readouterr().out


def test_numbers(work, capsys):
    """Next to the table by default, where benchmarks look for them."""
    table = work / 'numeric.tsv'
    table.write_text('n1\tage\t3\nn5\tage\t5\nn5\tborn\t1999-01-01\n'
                     'n6\tage\told\n')
    argv = ['features', 'numbers', str(table), '--no-header', '--graph',
            'own.yaml']
    for _ in range(2):
        assert main(argv) == 0
        out = capsys.readouterr().out
        assert '2 of 30 (6.7 %) covered' in out
        assert '3 of 4 (75.0 %) usable' in out and "got 'old'" in out
        assert f'features: {work / "numeric"}' in out
    graph = KnowledgeGraph.from_tsv('data/all.tsv',
                                    features={'numeric': 'numeric'})
    place = {name: i for i, name in enumerate(graph.node_names)}
    assert graph.x_numeric[place['n1']].tolist() == [-1, 0, 1, 0]
    assert graph.x_numeric[place['n5']].tolist() == [1, 0, 1, 1]
    assert int(graph.mask_numeric.sum()) == 2
    assert main(['train', 'own.yaml', '--quiet', '--output', 'run', '--set',
                 'dataset.features={numeric: ../numeric}',
                 'dataset.modalities=[numeric]',
                 'dataset.drop_features={numeric: 0.0}',
                 'model.name=IKRL', 'model.encoder_channels={numeric: 3}'
                 ]) == 0
    metrics = json.loads((work / 'run/metrics.json').read_text())
    assert metrics['modalities'] == {'numeric': 4}
    assert main(['features', 'inspect', 'numeric', '--entity', 'n1']) == 0
    assert '3 of 4 (75.0 %) usable' in capsys.readouterr().out


def test_where_features_go_by_default(work, capsys):
    (work / 'texts.v2.tsv').write_text('entity\ttext\nn1\tOne\n')
    assert main(['features', 'texts', 'texts.v2.tsv', '--encoder', 'hashing',
                 '--workers', '0', '--quiet']) == 0
    assert load_feature_folder('texts.v2').labels == ['n1']
    argv = IMAGES[:IMAGES.index('--out')]
    assert "or .jsonl (got 'raw')" in fails(
        capsys, *argv)


def test_the_same_command_goes_on(work, capsys, monkeypatch):
    assert main(IMAGES) == 0
    from pyg_mmkgc.features.descriptor import DescriptorEncoder
    encode, calls = DescriptorEncoder.encode, []

    def interrupted(self, batch):
        calls.append(len(batch))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return encode(self, batch)

    argv = [*IMAGES, '--batch-size', '2']
    argv[argv.index('visual')] = 'other'
    with monkeypatch.context() as patch:
        patch.setattr(DescriptorEncoder, 'encode', interrupted)
        assert main(argv) == 130
    assert 'to continue: the same command' in capsys.readouterr().err
    assert 'Expected complete features' in fails(
        capsys, 'features', 'inspect', 'other')
    calls.clear()
    monkeypatch.setattr(DescriptorEncoder, 'encode', lambda self, batch: (
        calls.append(len(batch)), encode(self, batch))[1])
    assert main(argv) == 0
    assert sum(calls) < 11  # Two batches were there already.
    one, two = (load_feature_folder(name) for name in ('visual', 'other'))
    assert one.labels == two.labels and torch.equal(one.x, two.x)

    calls.clear()
    assert main(argv) == 0  # Complete: nothing is left to do.
    assert calls == []
    assert 'same encoder, inputs and options (got other ones' in fails(
        capsys, *argv, '--dtype', 'float16')


def test_inspect(work, capsys, monkeypatch):
    pytest.importorskip('matplotlib')
    assert main([*IMAGES, '--pool', 'all']) == 0
    capsys.readouterr()
    assert main(['features', 'inspect', 'visual', '--entity', 'n1',
                 'n5']) == 0
    out = capsys.readouterr().out
    assert 'neighbours of n1: ' in out and 'neighbours of n5: ' in out
    assert '11 rows, 304 channels' in out and 'no images' not in out
    picture = (work / 'visual/inspect.png').read_bytes()
    assert picture.startswith(b'\x89PNG')

    # From another folder, and when the images have moved.
    argv = ['features', 'inspect', '../visual', '--entity', 'n1', 'n5',
            '--output', '../again.png']
    monkeypatch.chdir(work / 'data')
    assert main(argv) == 0
    assert (work / 'again.png').read_bytes() == picture
    (work / 'raw').rename(work / 'moved')
    capsys.readouterr()
    assert main(argv) == 0
    assert 'no images in the picture: ' in capsys.readouterr().out
    assert (work / 'again.png').read_bytes() != picture
    assert main([*argv, '--source', '../moved']) == 0
    assert (work / 'again.png').read_bytes() == picture

    # As if the features had been extracted in Python.
    (work / 'visual/source.json').unlink()
    capsys.readouterr()
    assert main(argv) == 0
    assert 'Pass --source to locate the images' in capsys.readouterr().out
    assert main([*argv, '--source', '../moved']) == 0
    assert (work / 'again.png').read_bytes() == picture
    assert "a node with features in '../visual' (got 'x')" in fails(
        capsys, 'features', 'inspect', '../visual', '--entity', 'x')


def test_inspect_without_matplotlib(work, capsys, monkeypatch):
    assert main(IMAGES) == 0
    monkeypatch.setitem(__import__('sys').modules, 'matplotlib.figure', None)
    assert main(['features', 'inspect', 'visual']) == 0
    out = capsys.readouterr().out
    assert "no picture: Expected 'matplotlib' to be installed for plots. Run:"\
        ' pip install' in out
    assert 'norms' in out


def swap(old, *new):
    i = IMAGES.index(old)
    return [*IMAGES[:i], *new, *IMAGES[i + 1:]]


@pytest.mark.parametrize(('argv', 'match'), [
    (swap('descriptor', 'resnet'), "got 'resnet'"),
    (swap('descriptor', 'descriptr'), "Did you mean 'descriptor'?"),
    (swap('descriptor', 'hashing'), "for images .got 'hashing', which enc"),
    (swap('raw', 'nowhere'), "'nowhere' to be a folder with one subfol"),
    (swap('raw', 'raw/n1/0.png'), 'table that ends in .tsv.*got .*n1/0.png'),
    (swap('own.yaml', 'none.yaml'), "'none.yaml' to be readable"),
    (swap('own.yaml', 'contries'), "Did you mean 'countries'"),
    (swap('own.yaml', 'countries'), 'entities to match a node by its label'),
    ([*IMAGES, '--device', 'tpu9'], "Expected '--device' to be .*got 'tpu9'"),
    ([*IMAGES, '--batch-size', '0'], "'batch_size' to be positive.*got 0 and"),
    ([*IMAGES, '--workers', '-1'], "'num_workers' not to .* and -1"),
    ([*IMAGES, '--revision', 'main'], 'revision'),
    (['features', 'inspect', 'nowhere'], 'Expected complete features'),
    (['features', 'inspect', 'nowhere', '--output', 'picture'],
     "picture that ends in .jpeg, .jpg, .pdf, .*got 'picture'"),
    (['features', 'inspect', 'nowhere', '--output', 'a.docx'],
     "Expected a picture that ends in .*got 'a.docx'"),
])
def test_errors(capsys, argv, match):
    assert re.search(match, fails(capsys, *argv))


def test_a_source_that_is_none(work, capsys):
    assert main(IMAGES) == 0
    (work / 'visual/source.json').write_text('{"kind": "image", "pat": "."}')
    capsys.readouterr()
    assert main(['features', 'inspect', 'visual']) == 0
    assert "a known key (got 'source.json.pat')" in capsys.readouterr().out


def test_help(capsys):
    for argv, words in [
        (['features'], ['images', 'texts', 'numbers', 'inspect']),
        (['features', 'images'], ['vgg16', 'clip', 'descriptor', 'timm:']),
        (['features', 'texts'], ['bert', 'hashing', 'TABLE']),
        (['features', 'numbers'], ['attribute', 'value', 'TABLE']),
    ]:
        with pytest.raises(SystemExit) as info:
            main([*argv, '--help'])
        assert info.value.code == 0
        out = capsys.readouterr().out
        assert all(word in out for word in words)


def test_help_names_every_encoder():
    """It is written out, so that help does not import the encoders."""
    named = re.split(r'[ ,]+', ' '.join(ENCODERS.values()))
    assert {*catalogue.ENCODERS, *catalogue._OFFLINE} <= set(named)
    assert {x.partition(':')[0] for x in named if ':' in x} == set(
        catalogue._CLASSES)
    help = make_parser().commands.choices['features'].commands.choices[
        'images'].format_help()
    assert all(name in help for name in DTYPES.values())


def test_entities_that_are_identifiers(tmp_path) -> None:
    """Texts keyed by the identifiers of nodes, some of which share a label."""
    (tmp_path / 'all.tsv').write_text('Q1\tin\tQ2\nQ3\tin\tQ4\n')
    (tmp_path / 'texts.tsv').write_text('Q1\tone\nQ3\tthree\nTexas\tfour\n')
    for third, labels in (('Rome', ['Paris', 'Rome', 'Texas']),
                          ('Paris', ['Q1', 'Q3', 'Q4'])):
        (tmp_path / 'names.tsv').write_text(
            f'Q1\tParis\nQ2\tFrance\nQ3\t{third}\nQ4\tTexas\n')
        config = tmp_path / f'{third}.yaml'
        config.write_text(f'dataset: {{name: TSV, root: {tmp_path}, train: '
                          'all.tsv, node_names: names.tsv}\n'
                          'model: {name: RotatE, hidden_channels: 4}\n')
        out = tmp_path / f'out_{third}'
        assert main(['features', 'texts', str(tmp_path / 'texts.tsv'),
                     '--no-header', '--encoder', 'hashing', '--graph',
                     str(config), '--out', str(out), '--quiet', '--workers',
                     '0']) == 0
        assert (out / 'labels.txt').read_text().split() == labels
        # Ids of nodes need no labels that differ.
        (tmp_path / 'ids.tsv').write_text('0\tone\n3\tfour\n')
        out = tmp_path / f'ids_{third}'
        assert main(['features', 'texts', str(tmp_path / 'ids.tsv'),
                     '--no-header', '--encoder', 'hashing', '--graph',
                     str(config), '--match', 'id', '--out', str(out),
                     '--quiet', '--workers', '0']) == 0
        assert (out / 'labels.txt').read_text().split() == [labels[0],
                                                            labels[2]]
