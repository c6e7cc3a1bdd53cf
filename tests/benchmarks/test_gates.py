"""The table of modalities in a path model."""

import json
import runpy
import sys
from pathlib import Path

import pytest

from pyg_mmkgc.evaluation import evaluate
from pyg_mmkgc.runs import Run

SCRIPT = Path(__file__).resolve().parents[2] / 'benchmarks/gates.py'
CONFIG = """
dataset: {name: FakeMMKG, num_nodes: 30, num_edges: 150}
model: {name: NBFNet, hidden_channels: 4, num_layers: 2}
training: {epochs: 1, valid_every: null, device: cpu}
"""


@pytest.mark.filterwarnings('ignore::pyg_mmkgc.evaluation.result.TieWarning')
def test_table(study, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    Path('own.yaml').write_text(CONFIG)
    Run.create('own.yaml', folder='run').train(progress=False)
    call = ['gates.py', '--dataset', 'fake', '--results', 'out']
    monkeypatch.setattr(sys, 'argv', [*call, 'run'])
    runpy.run_path(str(SCRIPT), run_name='__main__')
    line = json.loads(Path('out/gates_fake.jsonl').read_text())
    run = Run.open('run')
    model, kg = run.load_model(), run.graph
    assert line['test']['mrr'] == evaluate(model, kg).mrr
    assert set(line['without']) == set(kg.modalities) != set()
    for name, found in line['without'].items():
        other = kg.clone()
        x = kg[f'x_{name}']
        other[f'x_{name}'] = x[kg.masks()[name]].mean(dim=0).expand(
            x.shape).contiguous()
        assert found['test']['mrr'] == pytest.approx(
            evaluate(model, other).mrr, abs=1e-3)
        gates = line['gates']['head'][name]
        assert len(gates) == kg.num_relations and len(gates[0]) == 2
    table = Path('out/gates_fake.md').read_text()
    assert table.count('\n| without ') == len(kg.modalities)
    monkeypatch.setattr(sys, 'argv', [*call, '--report'])
    runpy.run_path(str(SCRIPT), run_name='__main__')
    assert Path('out/gates_fake.md').read_text() == table
