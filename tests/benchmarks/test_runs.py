"""The table of runs: common settings, differences and order."""

import csv
import json
import runpy
import shutil
import sys
from pathlib import Path

import pytest

from pyg_mmkgc.runs import Run

SCRIPT = Path(__file__).resolve().parents[2] / 'benchmarks/runs.py'
CONFIG = """
dataset: {name: FakeMMKG, num_nodes: 30, num_edges: 150}
model: {name: RotatE, hidden_channels: 4}
sampler: {name: UniformSampler, num_negatives: 4}
training: {epochs: 3, valid_every: 1, device: cpu}
"""


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp('runs')
    (folder / 'own.yaml').write_text(CONFIG)
    for i, margin in enumerate([3, 6]):
        Run.create(str(folder / 'own.yaml'), [f'model.margin={margin}'],
                   str(folder / str(i))).train(progress=False)
    (folder / 'unfinished').mkdir()
    return folder


@pytest.fixture
def call(study, monkeypatch):
    """Runs the script in this process. Refused input is a SystemExit."""
    def run(folder, *args):
        monkeypatch.setattr(sys, 'argv', [
            str(SCRIPT), '--dataset', 'fake', '--results',
            str(folder / 'results'), *args])
        runpy.run_path(str(SCRIPT), run_name='__main__')
    return run


def test_the_best_on_validation_is_first(runs, call):
    # What is best on validation is worst on test.
    for i, (val, test) in enumerate([(0.2, 0.4), (0.3, 0.1)]):
        path = runs / str(i) / 'metrics.json'
        found = json.loads(path.read_text())
        found['val']['mrr'] = val
        found['test']['metrics']['mrr'] = test
        path.write_text(json.dumps(found))
    call(runs, *map(str, runs.glob('[01u]*')))
    with open(runs / 'results/runs_fake.csv', newline='') as file:
        columns, *rows = csv.reader(file)
    assert columns[:2] == ['settings', 'validation MRR']
    assert [row[0] for row in rows] == ['`model.margin=6.0`',
                                        '`model.margin=3.0`']
    assert [(row[1], row[3]) for row in rows] == [('30.00', '10.00'),
                                                  ('20.00', '40.00')]
    text = (runs / 'results/runs_fake.md').read_text()
    assert '2 runs of `mmkgc train`' in text
    assert 'sampler.num_negatives=4' in text and str(runs) not in text
    shutil.rmtree(runs / '0')
    call(runs, '--report')
    assert (runs / 'results/runs_fake.md').read_text() == text


def test_what_has_no_common_table(runs, call, tmp_path):
    with pytest.raises(SystemExit, match='Expected folders of finished runs'):
        call(tmp_path, str(runs / 'unfinished'))
    with pytest.raises(SystemExit, match='Pass runs to create it'):
        call(tmp_path, '--report')
    other = tmp_path / 'other'
    shutil.copytree(runs / '1', other)
    config = (other / 'config.yaml').read_text()
    (other / 'config.yaml').write_text(config.replace('FakeMMKG', 'Countries')
                                       .split('  num_nodes')[0]
                                       + config[config.index('model:'):])
    with pytest.raises(SystemExit, match=r"one dataset.name .got \['Countries'"
                       r", 'FakeMMKG'\]"):
        call(tmp_path, str(runs / '1'), str(other))


def test_each_line_says_its_features_if_they_differ(runs, call, tmp_path):
    known = json.loads((runs / '1' / 'metrics.json').read_text())['modalities']
    assert list(known) == ['visual', 'text']
    shutil.copytree(runs / '1', tmp_path / 'other')
    path = tmp_path / 'other' / 'metrics.json'
    path.write_text(json.dumps(json.loads(path.read_text())
                               | {'modalities': {'text': 16},
                                  'platform': 'Another-1.0'}))
    call(tmp_path, str(runs / '1'))
    text = (tmp_path / 'results/runs_fake.md').read_text()
    assert 'Features: structure + visual + text.' in text
    assert '| as below |' in text
    call(tmp_path, str(runs / '1'), str(tmp_path / 'other'))
    text = (tmp_path / 'results/runs_fake.md').read_text()
    assert 'Features: ' not in text and 'Another-1.0, ' in text
    assert '| `features=structure+visual+text` |' in text
    assert '| `features=structure+text` |' in text
