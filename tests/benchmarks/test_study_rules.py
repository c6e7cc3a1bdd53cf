"""Refusals, captions and reused trainings of studies."""

import argparse
import importlib
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import pyg_mmkgc.datasets
from pyg_mmkgc.errors import DataError

BENCHMARKS = Path(__file__).resolve().parents[2] / 'benchmarks'


def args_of(folder, **options):
    return argparse.Namespace(**{
        'results': folder, 'runs': folder / 'runs', 'dataset': 'countries',
        'data_root': None, 'add': False, 'budget': 'full', 'trials': 1,
        'seeds': [0], 'set': [], 'rows': ['*'], 'cells': '*', **options})


def result(row='AdaMF', **options):
    return {
        'row': row, 'seed': 0, 'overrides': [], 'commit': 'a' * 40,
        'modalities': {'text': 4}, 'curve': [[1, 1.0, 0.1], [2, 2.0, 0.2]],
        'protocol': {'split': 'test', 'num_triples': 9, 'filter': 'train',
                     'sides': ['head', 'tail'], 'ties': 'realistic'},
        'val': {'mrr': 0.2}, 'threads': 1, 'cores': 2, 'device': 'cpu',
        'minutes': 1.0, 'autocast': False, 'gigabytes': 1.0,
        'test': dict.fromkeys(('mrr', 'hits@1', 'hits@3', 'hits@10'), 0.5),
        **options}


def head_of(command='python benchmarks/table2.py', **options):
    return {'dataset': 'countries', 'budget': 'full', 'machine': 'x',
            'command': command, **options}


def write_results(folder, head, results):
    (folder / 'table2_countries.jsonl').write_text(
        ''.join(json.dumps(x) + '\n' for x in (head, *results)))


def study_command(folder, *options):
    return subprocess.run(
        [sys.executable, str(BENCHMARKS / 'table2.py'), '--budget', 'smoke',
         '--threads', '1', '--results', str(folder / 'results'), '--runs',
         str(folder / 'runs'), '--rows', 'AdaMF', '--set',
         'model.hidden_channels=8', 'training.batch_size=4096', *options],
        text=True, capture_output=True, timeout=600)


def test_features_are_compared_by_content(study, tmp_path):
    source = Path(pyg_mmkgc.datasets.__file__).parent / 'countries_data'
    for path in source.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    cell = study.cells.Cell('AdaMF', 'adamf/countries', (), 0)
    look, seen = study.features, study.features._seen
    run = tmp_path / 'run'
    run.mkdir()
    record = look.features_of(cell.resolved, str(tmp_path))
    assert set(record) == {'text', 'visual'}
    (run / look.RECORD).write_text(json.dumps(record))
    look.check_features(cell.resolved, run, str(tmp_path))
    # One number changes, and the shape does not.
    file = tmp_path / 'features.safetensors'
    tensors = load_file(file)
    name = next(key for key, x in tensors.items() if x.is_floating_point())
    tensors[name].view(-1)[0] += 1
    save_file(tensors, file)
    look.check_features(cell.resolved, run, str(tmp_path))  # Seen already.
    seen.clear()
    with pytest.raises(DataError, match=f'in .{run}. to have.*sha256'):
        look.check_features(cell.resolved, run, str(tmp_path))
    # What takes no features does not look at them.
    alone = cell.set('dataset.modalities=[]').resolved
    assert look.features_of(alone, str(tmp_path / 'nowhere')) == {}
    one = cell.set('dataset.modalities=[text]').resolved
    assert set(look.features_of(one, str(tmp_path))) == {'text'}


@pytest.mark.nightly
@pytest.mark.slow
def test_a_run_with_other_features_is_not_reused(tmp_path):
    done = study_command(tmp_path)
    assert done.returncode == 0, done.stderr
    run, = (tmp_path / 'runs').glob('*/')
    record = json.loads((run / 'features.json').read_text())
    assert study_command(tmp_path).returncode == 0
    record['text']['sha256'] = '0' * 64
    (run / 'features.json').write_text(json.dumps(record))
    done = study_command(tmp_path)
    assert done.returncode != 0
    assert f"error: Expected the training in '{run}' to have the dataset's " \
        'features' in done.stderr
    assert 'Delete the folder' in done.stderr
    # An interrupted one is not continued.
    kept = (run / 'cell.json').read_text()
    (run / 'cell.json').unlink()
    assert study_command(tmp_path).returncode != 0
    assert "the dataset's features" in Path(f'{run}.log').read_text()
    # One that is older than the record: its result has names and channels.
    (run / 'cell.json').write_text(kept)
    (run / 'features.json').unlink()
    assert study_command(tmp_path).returncode == 0
    metrics = json.loads((run / 'metrics.json').read_text())
    del metrics['modalities']['visual']
    (run / 'metrics.json').write_text(json.dumps(metrics))
    done = study_command(tmp_path)
    assert '(got text (' in done.stderr


def test_captions_say_what_is_dirty_and_what_differs(study):
    say = study.report.protocol
    text = say(head_of(), [result(), result('B', commit='b' * 40 + '-dirty')])
    assert 'commit aaaaaaa, bbbbbbb-dirty;' in text
    assert 'Features: structure + text; no visual' in text
    text = say(head_of(), [result(), result('B'), result('RotatE',
                           modalities={}), result('C', modalities={
                               'text': 4, 'visual': 3})])
    assert ('not comparable: C with text (4 channels), visual (3 channels)'
            in text)
    text = say(head_of(), [result(modalities={'text': 4, 'visual': 3}),
                           result('IKRL')])
    assert 'structure + text + visual; of IKRL only text (4 ch' in text
    with pytest.raises(SystemExit, match='seeds of AdaMF to .* for seed 1'):
        say(head_of(), [result(), result(seed=1, modalities={'text': 5})])


def test_captions_say_the_precision(study):
    say = study.report.protocol
    assert 'Projections: in single precision. Seed' in say(
        head_of(), [result(), result('B')])
    assert 'Projections: in bfloat16. S' in say(
        head_of(), [result(autocast=True)])
    text = say(head_of(), [result(autocast=True), result('B', autocast=True),
                           *(result(x) for x in 'CDE'), result(
                               'B', autocast='auto', seed=1)])
    assert ('Projections: in single precision; of B in bfloat16 if the '
            'hardware supports it; of AdaMF, B in bfloat16. S') in text


def test_results_say_the_precision(study, tmp_path):
    cell = study.cells.Cell('A', 'adamf/mkg_w', (), 0)
    (tmp_path / 'cell.json').write_text('{}')
    (tmp_path / 'history.json').write_text('{"epochs": []}')
    found = dict.fromkeys(('best_epoch', 'epochs', 'parameters', 'modalities',
                           'commit', 'versions', 'device', 'val'))
    found['test'] = {'protocol': {}, 'metrics': {}}
    for more, expected in (({'autocast': False}, False), ({'autocast': True},
                           True), ({}, 'auto')):  # Of an earlier version.
        (tmp_path / 'metrics.json').write_text(json.dumps(found | more))
        assert study.cells.read_run(cell, tmp_path, None)[
            'autocast'] == expected


def test_captions_say_what_was_chosen(study):
    say = study.report.protocol
    assert ('Epoch chosen by validation MRR. Settings not searched: as in the '
            'shipped configurations. F') in say(head_of(), [result()])
    # One validation is that of the last epoch.
    once = result(curve=[[15, 1.0, 0.1]], overrides=[
        'training.epochs=15', 'model.margin=3', 'adversary.weight=0.1'])
    text = say(head_of('x.py --set training.epochs=15 Ada*:model.margin=3'),
               [once])
    assert 'No epoch was selected' in text and 'chosen by' not in text
    assert ('configurations, except for the settings of the study and the '
            'changes by `--set`.') in text
    assert 'chosen by validation MRR, except for B: the last' in say(
        head_of(), [result(), once | {'row': 'B'}])
    text = say(head_of(budget='quick'), [result(overrides=[
        'training.epochs=8', 'training.valid_every=4'])])
    assert 'configurations, except for the epochs of `--budget quick`.' in text
    # The same settings twice are one trial; one trial chooses nothing.
    tried = [{'row': row, 'overrides': [x], 'val_mrr': 0.1} for row, x in (
        ('A', 'a=1'), ('A', 'a=2'), ('A', 'a=1'), ('B', 'a=1'))]
    text = say(head_of(tried=tried), [result('A'), result('B')])
    assert ('chosen by validation MRR among 2 trials each. Settings of B not '
            'searched') in text


def test_notes_name_what_was_not_searched(study):
    notes = importlib.import_module('table2').tried_notes
    found = {'A': [result('A')]}
    assert notes(head_of(tried=[]), found) == [
        'No settings were searched: they are the settings of the shipped '
        'configurations.']
    found['B'] = [result('B', overrides=['model.margin=3'])]
    lines = notes(head_of(tried=[]), found)
    assert 'except for the following' in lines[0]
    assert lines[-1] == '- B, not searched: `model.margin=3`'


@pytest.mark.parametrize('script, function', [
    ('mat', 'measure'), ('figure5', 'weights_of')])
def test_measured_on_the_cpu(study, monkeypatch, script, function):
    from pyg_mmkgc.runs import Run

    class Opened(Exception):
        pass

    def opened(folder, data_root=None, device=None):
        raise Opened(device)

    monkeypatch.setattr(Run, 'open', opened)
    with pytest.raises(Opened, match='cpu'):
        getattr(importlib.import_module(script), function)('run', None)


def test_figure5_leaves_out_what_diverged(study, monkeypatch, tmp_path):
    figure5 = importlib.import_module('figure5')
    kept = []
    monkeypatch.setattr(figure5, 'run_cells', lambda cells, args: [
        {'digest': cell.digest, 'error': 'not finite'} for cell in cells])
    monkeypatch.setattr(figure5, 'write_results',
                        lambda study, results, args: kept.extend(results))
    figure5.train(args_of(tmp_path))
    assert len(kept) == 2
    (tmp_path / 'figure5_countries.jsonl').write_text(''.join(
        json.dumps({'row': 'AdaMF', **x}) + '\n' for x in ({}, *kept)))
    with pytest.raises(SystemExit, match='with weights to show'):
        figure5.report(args_of(tmp_path))


def test_captions_name_every_machine(study):
    caption = study.report.protocol(head_of(), [
        result(), result('RotatE'),
        result('TransE', machine='y', threads=16, cores=16, device='cuda')])
    assert ('; machine: x, 1 thread(s) each of 2 cores; y, 16 thread(s) each '
            'of 16 cores and a GPU.') in caption


def test_trials_need_validation_before_they_train(study, monkeypatch,
                                                  tmp_path):
    monkeypatch.setattr(study.search, 'run_cells',
                        lambda *args: pytest.fail('trained'))
    args = args_of(tmp_path, trials=2, set=['training.valid_every=null'])
    with pytest.raises(SystemExit, match='RotatE.*Pass --trials 1'):
        study.search.tune([study.methods.METHODS['RotatE']], 'countries',
                          args)


def test_no_trial_comes_twice(study):
    for method in study.methods.METHODS.values():
        trials = method.trials(8)
        assert len(set(trials)) == len(trials)
    # All of a grid that is smaller.
    small = study.search.Method('A', 'a', {'training.lr': (1, 2, 3)})
    assert sorted(small.trials(9)) == [
        (), ('training.lr=1',), ('training.lr=2',), ('training.lr=3',)]
    # Margins beyond 12 came later: the trials before them are the same.
    assert [x[0].partition('=')[2] for x in
            study.methods.METHODS['MANS'].trials(7)[1:]] == [
        '6.0', '1.0', '3.0', '12.0', '24.0', '48.0']


def test_results_without_their_queries(study, tmp_path):
    table2 = importlib.import_module('table2')
    rows = [result('AdaMF'), result('AdaMF-MAT')]
    write_results(tmp_path, head_of(tried=[]), rows)
    args = args_of(tmp_path)
    table2.report(args)
    text = (tmp_path / 'table2_countries.md').read_text()
    assert 'difference from' not in text
    assert ('No differences from AdaMF-MAT: table2_countries_queries'
            '.safetensors is missing') in text
    args.add = True
    with pytest.raises(SystemExit, match='queries.safetensors.* for --add '
                       '.got no such file'):
        table2.train(args)
    # With them, and with a row that they lack.
    from pyg_mmkgc.io import save_tensors
    mrr = rows[0]['test']['mrr']
    save_tensors(tmp_path / 'table2_countries_queries.safetensors', {
        name: mrr + torch.tensor([-x, 0.0, x])
        for name, x in (('AdaMF-MAT', 0.1), ('AdaMF', 0.05))}, {})
    write_results(tmp_path, head_of(tried=[]), [*rows, result('TransE')])
    table2.report(args)
    text = (tmp_path / 'table2_countries.csv').read_text().splitlines()
    assert text[0].split(',')[6] == 'difference from AdaMF-MAT'
    assert text[1].split(',')[6] != '' and text[3].split(',')[6] == ''


def test_results_stay_where_queries_are_refused(study, monkeypatch, tmp_path):
    table2 = importlib.import_module('table2')
    monkeypatch.setattr(table2, 'run_cells', lambda *args: [])

    def refuse(*args):
        raise SystemExit('other queries')

    monkeypatch.setattr(table2, 'write_queries', refuse)
    write_results(tmp_path, head_of(tried=[]), [result()])
    before = (tmp_path / 'table2_countries.jsonl').read_bytes()
    with pytest.raises(SystemExit, match='other queries'):
        table2.train(args_of(tmp_path))
    assert (tmp_path / 'table2_countries.jsonl').read_bytes() == before


def test_lines_of_figure3_stand_side_by_side(study, monkeypatch, tmp_path):
    figure3 = importlib.import_module('figure3')
    kept = []
    monkeypatch.setattr(figure3, 'save', lambda figure, *x: kept.append(
        figure) or 'name')
    points = {name: {0.1: [1.0, 2.0], 0.5: [1.0, 2.0]}
              for name in ('AdaMF', 'AdaMF + MAT')}
    figure3.plot(points, list(points), args_of(tmp_path), '', 'title')
    without, with_mat = (x.lines[0] for x in kept[0].axes[0].containers)
    assert set(without.get_xdata()).isdisjoint(with_mat.get_xdata())
    assert (without.get_linestyle(), with_mat.get_linestyle()) == ('--', '-')
    assert figure3.epochs_set([result(overrides=['training.epochs=15'])]) \
        == 'Epochs: 15. '
    assert figure3.epochs_set([result()]) == ''


@pytest.mark.parametrize('script', ['figure3', 'figure4'])
def test_captions_of_figures_explain_their_bars(study, tmp_path, script):
    row = 'AdaMF @ 0.1' if script == 'figure3' else 'groups = 1'
    (tmp_path / f'{script}_countries.jsonl').write_text(''.join(
        json.dumps(x) + '\n' for x in (
            head_of(), *(result(row, seed=i) for i in range(2)))))
    importlib.import_module(script).report(args_of(tmp_path, report=True))
    text = (tmp_path / f'{script}_countries.md').read_text()
    assert "Bars in the figure: Student's 95 % intervals" in text


@pytest.mark.parametrize('script, option', [
    ('figure4', '--rows=x'), ('figure5', '--rows=x'), ('table1', '--rows=x'),
    ('table1', '--dataset=mkg_y'), ('table1', '--trials=2'),
    ('table3', '--trials=2'), ('figure3', '--trials=2'),
    ('figure4', '--trials=2'), ('figure5', '--trials=2'),
    ('gc_ote', '--trials=2'), ('gc_ote', '--rows=x'),
    ('mat', '--trials=2'), ('efficiency', '--trials=2')])
def test_options_without_a_use_are_refused(study, monkeypatch, capsys,
                                           script, option):
    path = str(BENCHMARKS / f'{script}.py')
    monkeypatch.setattr(sys, 'argv', [path, option])
    with pytest.raises(SystemExit):
        runpy.run_path(path, run_name='__main__')
    name = option.partition('=')[0]
    assert (f'{name}: {script}.py does not use this option'
            in capsys.readouterr().err)


def test_reproduce_gives_each_study_its_options(study, monkeypatch):
    reproduce = importlib.import_module('reproduce')
    calls = {}

    def call(command):
        calls[Path(command[1]).stem] = command[2:]
        return 0

    monkeypatch.setattr(subprocess, 'call', call)
    monkeypatch.setattr(sys, 'argv', [
        'reproduce.py', '--dataset', 'mkg_y', '--trials', '2', '--seeds',
        '0'])
    reproduce.main()
    assert calls['table1'] == ['--seeds', '0']
    assert calls['mat'] == ['--seeds', '0', '--dataset', 'mkg_y']
    assert calls['table2'] == [*calls['mat'], '--trials', '2']


def test_reproduce_has_no_rows_of_its_own(study, monkeypatch, capsys):
    reproduce = importlib.import_module('reproduce')
    monkeypatch.setattr(subprocess, 'call', lambda _: pytest.fail('called'))
    monkeypatch.setattr(sys, 'argv', ['reproduce.py', '--rows', 'AdaMF'])
    with pytest.raises(SystemExit):
        reproduce.main()
    assert 'every study has its own rows' in capsys.readouterr().err


def test_tables_and_figures_are_replaced_whole(study, tmp_path):
    args = args_of(tmp_path)
    (tmp_path / 'table2_countries.jsonl').write_text('{"command": "x"}\n')
    table = study.report.Table('caption', ['a', 'b'], [['1', '2']])
    study.report.write_table('table2', 'title', table, args)
    for ending in ('csv', 'tex', 'md'):
        os.link(tmp_path / f'table2_countries.{ending}', tmp_path / ending)
    table.rows = [['3', '4']]
    study.report.write_table('table2', 'title', table, args)
    for ending in ('csv', 'tex', 'md'):  # Written anew, not over the old.
        new = tmp_path / f'table2_countries.{ending}'
        assert '3' in new.read_text() and '3' not in (
            tmp_path / ending).read_text()
    figure, _ = study.figures.axes()
    name = study.figures.save(figure, 'figure', args)
    before = (tmp_path / name).read_bytes()
    assert before.startswith(b'\x89PNG')

    class Killed:
        def savefig(self, path, **options):
            Path(path).write_bytes(b'half')
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        study.figures.save(Killed(), 'figure', args)
    assert (tmp_path / name).read_bytes() == before
