"""The benchmark of speed runs and reports its measurements."""

import importlib.util
import itertools
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch_geometric.nn import RotatE

from pyg_mmkgc import evaluate

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / 'benchmarks' / 'speed'


def load(name, monkeypatch):
    """A module of the benchmark, which imports its neighbours by name."""
    monkeypatch.syspath_prepend(str(FOLDER))
    known = set(sys.modules)
    spec = importlib.util.spec_from_file_location(f'speed_{name}',
                                                  FOLDER / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    for other in set(sys.modules) - known:  # Names of no package.
        if (FOLDER / f'{other}.py').exists():
            monkeypatch.delitem(sys.modules, other)
    return module


def run(folder, *args):
    done = subprocess.run(
        [sys.executable, str(FOLDER / 'run.py'), '--quick', '--threads', '1',
         '--results', str(folder), *args],
        capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rows(folder, part):
    groups = json.loads((folder / f'{part}.json').read_text())['groups']
    return {group: {x['name']: x for x in content['rows']}
            for group, content in groups.items()}


@pytest.mark.nightly
@pytest.mark.slow
def test_measures_in_process(tmp_path):
    pytest.importorskip('matplotlib')
    run(tmp_path, 'training', 'pyg_loop:RotatE', 'sampling:preparation',
        'ranking', 'growth:negatives', 'roofline:db15k_pooled')
    found = rows(tmp_path, 'training')
    assert {'RotatE, pooled, sparse, bf16: epoch',
            'AdaMF-MAT, bernoulli, sparse, bf16: epoch'} <= set(
        found['mkg_w_epochs'])
    assert all(x['median'] > 0 and x['min'] <= x['median'] <= x['max']
               for x in found['full_size_steps'].values())
    ranking = rows(tmp_path, 'ranking')
    for side in ('PyG', 'ours'):
        wrong = ranking['pyg_test'][
            f'ranks of {side} that rounding does not explain']
        assert wrong['median'] == 0 and wrong['detail']['compared'] == 4
    roofline = rows(tmp_path, 'roofline')['db15k_pooled']
    detail = roofline['score negatives']['detail']
    # B=64 positives, K=8 negatives, D=8 channels.
    assert detail['counted']['G moduli'] == pytest.approx(64 * 8 * 8e-9)
    assert roofline['ceiling: matrix product, single precision']['median'] > 0
    growth = rows(tmp_path, 'growth')
    assert 'pooled, negatives: exponent' in growth['negatives']
    # Quick runs are marked, and meet no bar.
    content = json.loads((tmp_path / 'ranking.json').read_text())
    group = content['groups']['full']
    assert group['quick'] and group['versions']['torch'] == torch.__version__
    assert group['command'].startswith('python benchmarks/speed/run.py')
    assert str(tmp_path) not in json.dumps(content)
    assert not any('bar' in x for x in group['rows'])
    text = (tmp_path / 'README.md').read_text()
    assert 'Quick: tiny sizes, no measurement' in text
    for name in ('growth', 'training_mkg_w_epochs', 'roofline_db15k_pooled'):
        assert f'({name}.png)' in text
        assert (tmp_path / f'{name}.png').stat().st_size > 5000
    # What is there is not measured again.
    assert 'ranking:full' not in run(tmp_path, 'ranking:full')


@pytest.mark.nightly
@pytest.mark.slow
def test_measures_in_processes_of_their_own(tmp_path):
    pytest.importorskip('matplotlib')
    pytest.importorskip('numba')
    run(tmp_path, 'memory:step', 'kernels:kernels', 'kernels:agreement')
    peak = rows(tmp_path, 'memory')['step']['pooled, features fp32: peak']
    assert 0.1 < peak['median'] < 10
    kernels = rows(tmp_path, 'kernels')
    for name, x in kernels['kernels'].items():
        if 'largest relative difference' in name:
            assert x['median'] < 1e-5
            assert x['detail']['numba'] == {'compiled': True, 'plain': False}


def test_sides_take_turns(monkeypatch):
    protocol = load('protocol', monkeypatch)
    setup = protocol.Setup(False, 3, torch.device('cpu'), Path())
    monkeypatch.setattr(protocol.gc, 'collect', lambda: None)
    order = []
    found = setup.interleave({
        'a': lambda: order.append('a'), 'b': lambda: order.append('b') or 2.0})
    assert order == list('abababab')  # One round does not count.
    assert found['b'] == [2.0] * 3
    assert len(found['a']) == 3 and all(0 <= x < 1 for x in found['a'])


def test_bars(monkeypatch):
    protocol = load('protocol', monkeypatch)
    full = protocol.Setup(False, 5, torch.device('cpu'), Path())
    quick = protocol.Setup(True, 5, torch.device('cpu'), Path())
    assert quick.bar(('<=', 1.0)) is None
    assert full.bar(('<=', 1.0), ('<=', 2.0)) == ('<=', 1.0)
    row = protocol.row('x', [3.0, 1.0, 2.0], bar=('<=', 2.0))
    assert (row['median'], row['min'], row['max']) == (2.0, 1.0, 3.0)
    assert row['met'] and not protocol.row('x', 2.1, bar=('<=', 2.0))['met']
    assert protocol.row('x', 36.0, bar=('>=', 35.0))['met']
    assert protocol.ratio('x', [8.0, 9.0, 1.0], [2.0])['median'] == 4.0


def test_exponent(monkeypatch):
    growth = load('part_growth', monkeypatch)
    x = [10, 20, 40, 80]
    assert growth.exponent(x, [3 * v**1.5 for v in x]) == pytest.approx(1.5)


def test_graph_with_some_test_triples_is_filtered_by_all(monkeypatch):
    ranking = load('part_ranking', monkeypatch)
    workloads = load('workloads', monkeypatch)
    kg = workloads.synthetic(30, 200, num_relations=3, num_test=20)
    part = ranking.with_test(kg, torch.tensor([3, 7]))

    def triples(graph):
        edge_index, kind = graph.known_triples()
        return {tuple(x) for x in torch.cat([edge_index, kind[None]]).t(
        ).tolist()}

    assert triples(part) == triples(kg)
    assert part.split('test').num_edges == 2


def test_wrong_ranks_are_not_explained(monkeypatch):
    ranking = load('part_ranking', monkeypatch)
    workloads = load('workloads', monkeypatch)
    kg = workloads.synthetic(80, 900, num_relations=3, num_test=20)
    rows = torch.arange(20)
    for model, side in itertools.product(
            (RotatE(80, 3, 8), workloads.build('AdaMF', kg, 8)),
            ('head', 'tail')):
        for filtered in (True, False):
            ranks = evaluate(model, kg, sides=[side], filtered=filtered
                             ).ranks.by_ties('realistic')
            limits = ranking.bounds(model, kg, rows, side, filtered)
            assert ranking.unexplained(ranks, limits) == 0
            assert int((limits[1] - limits[0]).max()) == 0
            # A rank too many, or the filter left out, is seen.
            assert ranking.unexplained(ranks + 1, limits) == 20
            other = ranking.bounds(model, kg, rows, side, not filtered)
            assert ranking.unexplained(ranks, other) > 0


def test_a_child_that_fails_says_why(monkeypatch, tmp_path):
    peer = load('peer', monkeypatch)
    script = tmp_path / 'child.py'
    script.write_text(
        f'import sys\nsys.path.insert(0, {str(FOLDER)!r})\nimport peer\n'
        'def bad(): raise ValueError("what went wrong")\n'
        'print("noise")\n'
        'peer.serve({"add": lambda a, b: a + b, "bad": bad})\n')
    with peer.Peer(sys.executable, str(script),
                   log=tmp_path / 'log') as child:
        assert child.ask('add', a=2, b=3) == 5
        with pytest.raises(RuntimeError, match='what went wrong'):
            child.ask('bad')


def test_mapped_features_are_what_was_written(monkeypatch, tmp_path):
    workloads = load('workloads', monkeypatch)
    x = workloads.mapped_features(tmp_path / 'x.bin', 20000, 3)
    assert x.shape == (20000, 3) and x.dtype == torch.float16
    assert 0.9 < float(x.float().std()) < 1.1
    y = workloads.mapped_features(tmp_path / 'y.bin', 20000, 3)
    assert torch.equal(x, y)


def test_steps_say_how_long_each_took(monkeypatch):
    workloads = load('workloads', monkeypatch)
    protocol = load('protocol', monkeypatch)
    setup = protocol.Setup(True, 1, torch.device('cpu'), Path())
    kg = workloads.mkg_w(setup)
    size = workloads.Size.of(setup)
    run = workloads.trainer(setup, workloads.build('RotatE', kg, 8), kg,
                            'pooled', size)
    start = time.perf_counter()
    found = workloads.steps(run, setup, 3)()
    assert len(found) == 3
    assert 0 < sum(found) < time.perf_counter() - start
