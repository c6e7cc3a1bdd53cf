"""The runner of the paper's experiments, cell by cell and whole."""

import argparse
import contextlib
import csv
import json
import math
import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats as scipy_stats

from pyg_mmkgc.io import load_tensors, save_tensors

BENCHMARKS = Path(__file__).resolve().parents[2] / 'benchmarks'
TINY = ['--budget', 'smoke', '--threads', '1', '--set',
        'model.hidden_channels=8', 'training.batch_size=4096']


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    """A folder whose trainings the tests share, like studies."""
    return tmp_path_factory.mktemp('runs')


def command(script, folder, *args):
    return [sys.executable, str(BENCHMARKS / f'{script}.py'), '--results',
            str(folder / 'results'), '--runs', str(folder / 'runs'), *TINY,
            *args]


def run(script, folder, *args):
    done = subprocess.run(command(script, folder, *args), text=True,
                          capture_output=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture
def here(study, monkeypatch):
    """Runs a script in this process. It must not start other processes."""
    def run_here(script, folder, *args):
        monkeypatch.setattr(sys, 'argv', command(script, folder, *args)[1:])
        runpy.run_path(sys.argv[0], run_name='__main__')
    return run_here


def table(folder, name):
    with open(folder / 'results' / f'{name}.csv', newline='') as file:
        return list(csv.DictReader(file))


def test_a_cell_is_its_resolved_configuration(study):
    cell = study.cells.Cell('row', 'rotate/mkg_y', (), 3)
    margin = cell.resolved.model.options['margin']
    same = study.cells.Cell('other', 'rotate/mkg_y',
                            (f'model.margin={margin}',), 3)
    assert same.digest == cell.digest
    assert cell.set('dataset.root=/somewhere').digest == cell.digest
    assert cell.set('training.device=cpu').digest == cell.digest
    assert cell.set(f'model.margin={margin + 1}').digest != cell.digest
    seeds = {study.cells.Cell('row', 'rotate/mkg_y', (), seed).digest
             for seed in range(3)}
    assert len(seeds) == 3
    assert cell.command('/somewhere') == (
        'mmkgc train rotate/mkg_y --set training.seed=3 --data-root DATA')


def test_trials_are_balanced_and_equal_for_all(study):
    space = {'model.margin': (3.0, 6.0, 9.0), 'training.lr': (1e-3, 1e-2)}
    first = study.search.Method('A', 'a', space).trials(7)
    assert first[0] == ()
    assert len(first) == 7
    for i, (key, values) in enumerate(space.items()):
        column = [trial[i] for trial in first[1:]]
        for value in values:
            assert column.count(f'{key}={value}') == 6 / len(values)
    more = study.search.Method('B', 'b', {**space, 'x.y': (1, 2)}).trials(4)
    assert [trial[:2] for trial in more[1:]] == first[1:4]
    assert study.search.Method('A', 'a', space).trials(1) == [()]


def test_settings_reach_the_rows_that_match(study):
    class Args:
        budget = 'quick'
        set = ['training.lr=0.1', 'Ada*:model.margin=3']

    out = study.budgets.settings(Args, 'AdaMF')
    assert 'model.margin=3' in out and 'training.lr=0.1' in out
    assert 'training.epochs=8' in out
    out = study.budgets.settings(Args, 'RotatE')
    assert 'training.lr=0.1' in out
    assert not any('margin' in x for x in out)


def test_interval_is_students(study):
    for size in (2, 3, 5, 10):
        values = np.random.default_rng(size).normal(size=size).tolist()
        low, high = scipy_stats.t.interval(
            0.95, size - 1, np.mean(values), scipy_stats.sem(values))
        assert study.stats.interval(values) == pytest.approx(
            (high - low) / 2, rel=1e-3)
    assert math.isnan(study.stats.interval([1.0]))


def test_tables_in_three_forms(study):
    made = study.report.Table('A_1 is 5 % of B.', ['name', 'MRR'],
                              [['A_1', '1.00 ± 0.10'], ['B', 'x, y']])
    assert made.markdown().splitlines() == [
        '| name | MRR |', '| --- | --- |', '| A_1 | 1.00 ± 0.10 |',
        '| B | x, y |', '', 'A_1 is 5 % of B.']
    assert list(csv.reader(made.csv().splitlines())) == [
        ['name', 'MRR'], ['A_1', '1.00 ± 0.10'], ['B', 'x, y']]
    assert r'A\_1 & 1.00 $\pm$ 0.10 \\' in made.latex()
    assert r'\caption{A\_1 is 5 \% of B.}' in made.latex()


@pytest.mark.nightly
@pytest.mark.slow
def test_table2(tmp_path):
    run('table2', tmp_path, '--rows', 'RotatE', 'AdaMF-MAT', '--seeds', '0',
        '1', '--trials', '2', '--workers', '2')
    rows = {row['model']: row for row in table(tmp_path, 'table2_countries')}
    assert list(rows) == ['RotatE', 'AdaMF-MAT']
    assert 'p ' in rows['RotatE']['difference from AdaMF-MAT']
    lines = (tmp_path / 'results' / 'table2_countries.jsonl').read_text()
    head, *results = [json.loads(line) for line in lines.splitlines()]
    # Two trials a method, and the settings that validated best for both
    # seeds.
    assert len(head['tried']) == 4
    for row in rows:
        tried = [x for x in head['tried'] if x['row'] == row]
        best = max(tried, key=lambda x: x['val_mrr'])['overrides']
        chosen = [x['overrides'] for x in results if x['row'] == row]
        assert chosen == [best[:-1]] * 2  # Less the epochs of a trial.
    # Every number is that of a run folder, and of the ranks of its queries.
    queries, _ = load_tensors(
        tmp_path / 'results' / 'table2_countries_queries.safetensors')
    for row in rows:
        found = [x for x in results if x['row'] == row]
        assert [x['seed'] for x in found] == [0, 1]
        for x in found:
            folder, = (tmp_path / 'runs').glob(f"*{x['digest']}/")
            metrics = json.loads((folder / 'metrics.json').read_text())
            assert x['test'] == metrics['test']['metrics']
        mrr = np.mean([100 * x['test']['mrr'] for x in found])
        assert rows[row]['MRR'].startswith(f'{mrr:.2f} ± ')
        assert 100 * float(queries[row].mean()) == pytest.approx(mrr)
    # Nothing is trained a second time, and the report needs no run.
    before = (tmp_path / 'results' / 'table2_countries.md').read_text()
    done = run('table2', tmp_path, '--rows', 'RotatE', 'AdaMF-MAT', '--seeds',
               '0', '1', '--trials', '2')
    assert 'done in' not in done.stderr
    # Row by row, they make the same table.
    apart = ['--seeds', '0', '1', '--trials', '2', '--results',
             str(tmp_path / 'apart'), '--add', '--rows']
    for row in ('AdaMF-MAT', 'RotatE'):
        run('table2', tmp_path, *apart, row)
    added = (tmp_path / 'apart' / 'table2_countries.md').read_text()
    assert sorted(added.splitlines()[2:6]) == sorted(before.splitlines()[2:6])
    assert added.count('\n- `python benchmarks/table2.py') == 2
    assert added.count('--add --rows') == 2
    assert 'Commands: 2, listed' in added
    assert added.count('RotatE, `') == before.count('RotatE, `') > 0
    (tmp_path / 'runs').rename(tmp_path / 'gone')
    run('table2', tmp_path, '--report')
    after = (tmp_path / 'results' / 'table2_countries.md').read_text()
    assert after.splitlines()[2:6] == before.splitlines()[2:6]


def test_a_table_of_trainings_without_validation(tmp_path):
    run('table2', tmp_path, '--rows', 'RotatE', '--set',
        'training.valid_every=null')
    row, = table(tmp_path, 'table2_countries')
    assert row['validation MRR'] == '' and float(row['MRR']) > 0
    text = (tmp_path / 'results' / 'table2_countries.md').read_text()
    assert 'No epoch was selected' in text and 'chosen by' not in text


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize('script, args, figures', [
    ('table3', ['--rows', 'AdaMF-MAT', 'AdaMF, mean',
                'AdaMF without structure',
                'MAT without (h, r, t[*])'], []),
    ('figure3', ['--rows', 'AdaMF', 'AdaMF, drop', 'IKRL + MAT', '--ratios',
                 '0.2', '0.8'],
     ['figure3_countries.png', 'figure3_countries_policies.png']),
    ('figure4', ['--groups', '1', '2', '--weights', '0.01', '0.1'],
     ['figure4_countries.png']),
    ('figure5', ['--seeds', '0', '1'],
     ['figure5_countries.png', 'figure5_countries_degree.png']),
    ('efficiency', ['--rows', 'RotatE', 'AdaMF'],
     ['efficiency_countries.png']),
    ('gc_ote', ['--seeds', '0', '1', '--set', 'model.hidden_channels=20'],
     []),
    ('mat', ['--rows', 'AdaMF', 'weight 0.01', 'released*0.01'], []),
])
def test_scripts(tmp_path, runs, script, args, figures):
    run(script, tmp_path, '--runs', str(runs), *args)
    results = tmp_path / 'results'
    rows = table(tmp_path, f'{script}_countries')
    assert rows and all(None not in row.values() for row in rows)
    for name in figures:
        assert (results / name).read_bytes().startswith(b'\x89PNG')
        assert name in (results / f'{script}_countries.md').read_text()
    first = (results / f'{script}_countries.csv').read_bytes()
    run(script, tmp_path, '--report')
    assert (results / f'{script}_countries.csv').read_bytes() == first
    if script == 'figure5':
        weights_sum_to_one(results / 'figure5_countries.jsonl')


@pytest.mark.nightly
@pytest.mark.slow
def test_gc_ote_begins_with_the_weights_of_ote(tmp_path):
    """A learning rate without effect leaves the initial values."""
    run('gc_ote', tmp_path, '--set', 'GC-OTE*:training.lr=1e-30',
        'model.hidden_channels=20')
    first, second = (load_tensors(next((tmp_path / 'runs').glob(
        f'countries-{name}-*/model')) / 'model.safetensors')[0]
        for name in ('ote', 'gc_ote'))
    assert first.keys() < second.keys()
    assert all(torch.equal(x, second[name]) for name, x in first.items())
    one, other = table(tmp_path, 'gc_ote_countries')
    assert other['model'] == 'GC-OTE, from OTE' and one['MRR'] != other['MRR']


def weights_sum_to_one(path):
    for line in path.read_text().splitlines()[1:]:
        x = json.loads(line)
        for part in ('relations', 'degrees', 'presence'):
            for entry in x[part]:
                assert sum(entry['weights']) == pytest.approx(1, abs=1e-4)
        # Every test triple is in one relation, every entity of one degree.
        assert sum(r['count'] for r in x['relations']) == 1236
        assert sum(d['count'] for d in x['degrees']) == 3706


@pytest.mark.filterwarnings('ignore:The published validation split')
def test_table1_names_what_it_leaves_out(here, tmp_path, capsys):
    here('table1', tmp_path, '--data-root', str(tmp_path / 'none'))
    rows = table(tmp_path, 'table1_all')
    assert [row['dataset'] for row in rows] == ['countries']
    assert rows[0]['train'] == '9,901'
    assert 'mkg_w is left out' in capsys.readouterr().out


@pytest.mark.nightly
@pytest.mark.slow
def test_killed_studies_end_in_the_same_table(tmp_path):
    args = ['--rows', 'RotatE', 'AdaMF', 'TransE']
    # A process that compiles numba's loops differs in the last bits from
    # those that read them, as all after this study.
    run('table2', tmp_path / 'first', *args)
    run('table2', tmp_path / 'whole', *args)
    # Killed with all its processes: in the first training, then after the
    # first line of progress, which is in the second or third.
    for lines in (0, 1):
        process = subprocess.Popen(
            command('table2', tmp_path / 'killed', *args), text=True,
            stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
            start_new_session=True)
        if lines == 0:
            runs = tmp_path / 'killed' / 'runs'
            while not list(runs.glob('*/config.yaml')):
                assert process.poll() is None, process.stderr.read()
        for _ in range(lines):
            assert 'done in' in process.stderr.readline()
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stderr.close()
        assert not (tmp_path / 'killed' / 'results').exists()
    run('table2', tmp_path / 'killed', *args)
    one, other = (
        [{key: value for key, value in row.items()
          if key not in ('minutes', 'GB')}
         for row in table(tmp_path / x, 'table2_countries')]
        for x in ('whole', 'killed'))
    assert one == other
    one, other = (load_tensors(
        tmp_path / x / 'results' / 'table2_countries_queries.safetensors')[0]
        for x in ('whole', 'killed'))
    assert all((one[row] == other[row]).all() for row in one)


def test_ranks_of_other_trainings_are_refused(study, tmp_path):
    """A study that is killed between its two files leaves such a state."""
    args = argparse.Namespace(results=tmp_path, dataset='x')
    runs = {'A': [{'test': {'mrr': 0.5}}, {'test': {'mrr': 0.25}}],
            'B': [{'test': {'mrr': 0.75}}]}
    ranks = {'A': torch.tensor([0.5, 0.25]), 'B': torch.tensor([1.0, 0.5])}
    file = tmp_path / 'table2_x_queries.safetensors'
    for row, refused in (('', False), ('A', True), ('B', True)):
        save_tensors(file, {name: x + 0.01 * (name == row)
                            for name, x in ranks.items()}, {})
        table = study.report.Table('', ['model', 'MRR'],
                                   [['A', ''], ['B', '']])
        with (pytest.raises(SystemExit, match=f'same trainings of {row} ')
              if refused else contextlib.nullcontext()):
            study.queries.with_differences(table, runs, 1, 'table2', args,
                                           'A')
        assert ('difference from A' in table.columns) != refused


@pytest.mark.nightly
@pytest.mark.slow
def test_failures_are_named(tmp_path):
    args = command('table2', tmp_path, '--rows', 'RotatE', 'TransE')
    done = subprocess.run([*args, '--set', 'TransE:training.lr=no'],
                          text=True, capture_output=True)
    assert done.returncode != 0
    assert done.stderr.startswith("error: Expected 'training.lr'")
    # A training that fails in its process: its folder cannot be made.
    run('table2', tmp_path, '--rows', 'RotatE')
    folder, = (tmp_path / 'runs').glob('*-rotate-*/')
    for path in folder.iterdir():
        if path.is_file():
            path.unlink()
    done = subprocess.run(args, text=True, capture_output=True)
    assert done.returncode != 0
    assert 'Expected 2 trainings to finish (got 1 failures)' in done.stderr
    assert f'{folder.name}.log' in done.stderr
    assert 'to be empty (got files' in Path(f'{folder}.log').read_text()
    assert len(list((tmp_path / 'runs').glob('*-transe-*/cell.json'))) == 1


def test_unknown_rows_are_refused(here, tmp_path):
    with pytest.raises(SystemExit, match='--rows to match some of TransE,'):
        here('table2', tmp_path, '--rows', 'Rotate')
