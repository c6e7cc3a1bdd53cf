"""The commands that query a trained model."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from pyg_mmkgc.cli import main
from pyg_mmkgc.evaluation import RankingResult
from pyg_mmkgc.io.tensors import save_tensors

TINY = """
dataset: {{name: TSV, root: ., train: all.tsv, val_ratio: 0.1,
          test_ratio: 0.1, features: {{audio: audio.npz}}}}
model: {{name: {model}, hidden_channels: 4}}
sampler: {{name: UniformSampler, num_negatives: 4}}
training: {{epochs: 1, batch_size: 64, valid_every: 1, device: cpu}}
"""


@pytest.fixture(scope='module')
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of two methods, one with two seeds."""
    folder = tmp_path_factory.mktemp('runs')
    (folder / 'all.tsv').write_text('\n'.join(
        f'n{i}\t{rel}\tn{(i * k + 1) % 40}' for i in range(40)
        for k, rel in [(3, 'a'), (7, 'b'), (11, 'c')]))
    g = np.random.default_rng(0)
    np.savez(folder / 'audio.npz', **{
        f'n{i}': g.normal(size=4).astype('f4') for i in range(40)})
    for name, model, seed in [('a0', 'AdaMF', 0), ('a1', 'AdaMF', 1),
                              ('r', 'RotatE', 0)]:
        config = folder / f'{model}.yaml'
        text = TINY.format(model=model)
        config.write_text(text if model == 'AdaMF' else text.replace(
            ', features: {audio: audio.npz}', ''))
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            assert main(['train', config.name, '--quiet', '--seed', str(seed),
                         '--output', name]) == 0
    return folder


@pytest.fixture(autouse=True)
def work(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(trained)
    return trained


def out_of(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    capsys.readouterr()
    assert main(list(argv)) == 0
    return capsys.readouterr().out


def error_of(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    capsys.readouterr()
    assert main(list(argv)) == 2
    out, err = capsys.readouterr()
    assert out == '' and err.startswith('mmkgc: error: ')
    return err


def test_relations_and_loops(capsys) -> None:
    out = out_of(capsys, 'predict', 'a0', '--head', 'n1', '--tail', 'n4')
    lines = out.splitlines()
    assert lines[0] == '(n1, ?, n4)' and len(lines) == 4
    assert {line.split()[1] for line in lines[1:]} == {'a', 'b', 'c'}
    argv = ['predict', 'a0', '--head', 'n1', '--relation', 'a', '-k', '99']
    without, kept = (out_of(capsys, *argv, *more) for more in (
        [], ['--self-loops']))
    assert without.startswith('(n1, a, ?)  without n1 itself\n')
    assert [line.split()[1] for line in kept.splitlines()[1:]
            if line.split()[1] == 'n1'] == ['n1']
    assert ' n1 ' not in without.split('\n', 1)[1]


def test_a_file_of_queries(capsys, tmp_path) -> None:
    queries = tmp_path / 'q.tsv'
    queries.write_text('n1\ta\t?\n?\tb\tn2\nn1\t?\tn4\n')
    out = out_of(capsys, 'predict', 'a0', '--queries', str(queries), '--out',
                 str(tmp_path / 'a.tsv'), '-k', '2')
    assert out == f"answers to 3 queries: {tmp_path / 'a.tsv'}\n"
    with open(tmp_path / 'a.tsv', newline='') as file:
        rows = list(csv.DictReader(file, delimiter='\t'))
    assert [(row['query'], row['rank']) for row in rows] == [
        (str(i), str(j)) for i in (1, 2, 3) for j in (1, 2)]
    assert rows[0]['head'] == 'n1' and rows[2]['tail'] == 'n2'
    alone = out_of(capsys, 'predict', 'a0', '--tail', 'n2', '--relation', 'b',
                   '-k', '2')
    assert alone.splitlines()[1].split()[1] == rows[2]['head']
    # Without the graph, nothing is known.
    out_of(capsys, 'predict', 'a0/model', '--queries', str(queries), '--out',
           str(tmp_path / 'b.jsonl'), '-k', '2')
    lines = [json.loads(line) for line in
             (tmp_path / 'b.jsonl').read_text().splitlines()]
    assert [line['head'] for line in lines] == [row['head'] for row in rows]
    assert 'known' not in lines[0]

    queries.write_text('n1\ta\n')
    assert f"in row 1 of '{queries}'" in error_of(
        capsys, 'predict', 'a0', '--queries', str(queries), '--out',
        str(tmp_path / 'c.tsv'))
    assert "'.jsonl'" in error_of(capsys, 'predict', 'a0', '--queries',
                                  str(queries), '--out', 'c.csv')
    assert not Path('c.csv').exists()
    assert not (tmp_path / 'c.tsv').exists()


def test_a_saved_model_without_its_graph(capsys, tmp_path) -> None:
    shutil.copytree('a0/model', tmp_path / 'model')
    argv = ['--head', 'n1', '--relation', 'a', '-k', '3']
    there = out_of(capsys, 'predict', 'a0', *argv)
    out = out_of(capsys, 'predict', str(tmp_path / 'model'), *argv)
    assert out == there.replace('  known', '')
    assert 'filter_known' in error_of(capsys, 'predict', 'a0/model', *argv,
                                      '--new')
    assert 'whose graph explains' in error_of(
        capsys, 'explain', 'a0/model', '--head', 'n1', '--relation', 'a',
        '--tail', 'n4')


def test_explain(capsys, tmp_path) -> None:
    argv = ['explain', 'a0', '--head', 'n1', '--relation', 'a', '--tail',
            'n4', '-k', '2']
    out = out_of(capsys, *argv)
    assert out.startswith('n1  --a->  n4\n')
    assert 'without audio' in out and 'has rank' in out
    found = json.loads(out_of(capsys, *argv, '--json'))
    assert len(found['nearest']) == 2 and found['relation'] == 'a'
    pytest.importorskip('matplotlib')
    out_of(capsys, *argv, '--plot', str(tmp_path / 'a.png'))
    assert (tmp_path / 'a.png').read_bytes().startswith(b'\x89PNG')
    assert "got 'nobody'" in error_of(capsys, 'explain', 'a0', '--head',
                                      'nobody', '--relation', 'a', '--tail',
                                      'n4')


def test_similar_and_export(capsys, tmp_path) -> None:
    out = out_of(capsys, 'similar', 'a0', 'n3', '-k', '2')
    assert out.startswith('most similar to n3\n') and len(
        out.splitlines()) == 3
    for name in ('a.npz', 'folder'):
        path = tmp_path / name
        assert out_of(capsys, 'export', 'a0', '--out', str(path)) == (
            f'embeddings: {path}\n')
    with np.load(tmp_path / 'a.npz') as file:
        assert file['embeddings'].shape == (40, 8)
        first = file['labels'][0]
    assert (tmp_path / 'folder/metadata.tsv').read_text().startswith(
        f'{first}\n')
    assert "'.csv'" in error_of(capsys, 'export', 'a0/model', '--out',
                                str(tmp_path / 'a.csv'))


def test_compare(capsys) -> None:
    out = out_of(capsys, 'compare', 'a0', 'r', 'a1')
    head, first, second, _, caption = out.splitlines()
    assert head.split()[:3] == ['method', 'seeds', 'MRR']
    assert head.endswith('MRR minus AdaMF')
    mrr = [100 * RankingResult.load(f'{name}/rankings.safetensors').mrr
           for name in ('a0', 'a1')]
    assert first.split()[:5] == [
        'AdaMF', '2', f'{np.mean(mrr):.2f}', '±', f'{np.std(mrr, ddof=1):.2f}']
    assert second.split()[:2] == ['RotatE', '1'] and '[' in second
    assert 'paired bootstrap over 24 rankings' in caption
    assert out_of(capsys, 'compare', 'r', 'a0', 'a1', '--reference',
                  'AdaMF') == out
    found = json.loads(out_of(capsys, 'compare', 'a0', 'r', '--json'))
    assert found['reference'] == 'AdaMF' and set(
        found['differences']) == {'RotatE'}
    assert r'\begin{tabular}' in out_of(capsys, 'compare', 'a0', 'r',
                                        '--latex')
    assert 'two or more methods' in error_of(capsys, 'compare', 'a0', 'a1')
    assert "'AdaMF', 'RotatE' (got 'X')" in error_of(
        capsys, 'compare', 'a0', 'r', '--reference', 'X')


def test_compare_names_and_graphs(capsys, tmp_path) -> None:
    argv = ['train', 'AdaMF.yaml', '--quiet', '--set', 'model.margin=3.0']
    out_of(capsys, *argv, '--output', str(tmp_path / 'x/a0'))
    out = out_of(capsys, 'compare', 'a0', str(tmp_path / 'x/a0'))
    assert [line.split()[0] for line in out.splitlines()[1:3]] == [
        'a0', str(tmp_path / 'x/a0')[:59] + '…'
        if len(str(tmp_path / 'x/a0')) > 60 else str(tmp_path / 'x/a0')]
    out_of(capsys, *argv, 'dataset.test_ratio=0.2', '--output',
           str(tmp_path / 'y'))
    out = out_of(capsys, 'compare', 'a0', 'a1', str(tmp_path / 'x/a0'))
    assert out.splitlines()[1].split()[1] == '2'
    assert 'one graph' in (error := error_of(
        capsys, 'compare', 'a0', str(tmp_path / 'y')))
    assert 'the triples of train, the triples of val' in error


def test_compare_ranks_where_an_earlier_version_left_nothing(
        capsys, tmp_path) -> None:
    there = out_of(capsys, 'compare', 'a0', 'r')
    shutil.copytree('a0', tmp_path / 'a0')
    (tmp_path / 'a0/rankings.safetensors').unlink()
    assert out_of(capsys, 'compare', str(tmp_path / 'a0'), 'r') == there


def test_compare_the_methods_of_a_file(capsys, tmp_path) -> None:
    path = tmp_path / 'a.safetensors'
    save_tensors(path, {'x': torch.full((9, ), 0.5), 'y': torch.ones(9)})
    out = out_of(capsys, 'compare', str(path))
    assert out.splitlines()[2].split(maxsplit=2) == [
        'y', '100.00', '+50.00 [+50.00, +50.00], p < 0.001']
    save_tensors(path, {'x': torch.full((9, ), 2.0), 'y': torch.ones(9)})
    assert 'in (0, 1]' in error_of(capsys, 'compare', str(path))
