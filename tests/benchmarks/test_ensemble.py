"""The table of ensembles, and its store of scores."""

import json
import re
import runpy
import sys
from pathlib import Path

import pytest
import torch

from pyg_mmkgc.evaluation import evaluate
from pyg_mmkgc.evaluation.scorer import Scorer
from pyg_mmkgc.nn import Ensemble
from pyg_mmkgc.runs import Run
from pyg_mmkgc.training import fit_weights

SCRIPT = Path(__file__).resolve().parents[2] / 'benchmarks/ensemble.py'
CONFIG = """
dataset: {{name: FakeMMKG, num_nodes: 30, num_edges: 150}}
model: {{name: {}, hidden_channels: 4}}
training: {{epochs: 1, valid_every: null, device: cpu}}
"""


@pytest.mark.filterwarnings('ignore::pyg_mmkgc.evaluation.result.TieWarning')
def test_table(study, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name, model, seed in (('a0', 'ComplEx', 0), ('a1', 'ComplEx', 1),
                              ('n', 'NBFNet', 0)):
        Path('own.yaml').write_text(CONFIG.format(model))
        Run.create('own.yaml', [f'training.seed={seed}'], name).train(
            progress=False)
    call = ['ensemble.py', '--dataset', 'fake', '--results', 'out']
    monkeypatch.setattr(sys, 'argv', [
        *call, '--member', 'A', 'a0', 'a1', '--member', 'B', 'n',
        # All members, as without it.
        '--ensemble', 'B', 'A', '--queries', '40'])
    runpy.run_path(str(SCRIPT), run_name='__main__')
    head, *lines = [json.loads(x) for x in Path(
        'out/ensemble_fake.jsonl').read_text().splitlines()]
    ours = Path('out/ensemble_fake_queries.safetensors')
    found = {(x['row'], x['seed']): x['test']['mrr'] for x in lines}
    assert len(found) == len(lines) == 7
    assert head['command'].count('RUNS/') == 3
    for seed in (0, 1):
        run = Run.open(f'a{seed}')
        members = [run.load_model(), Run.open('n').load_model()]
        assert found['A', seed] == evaluate(members[0], run.graph).mrr
        for per in ('graph', 'relation'):
            model = Ensemble(members, run.graph.num_relations)
            fit_weights(model, run.graph, per=per, num_queries=40, seed=seed)
            assert found[f'A + B, per {per}', seed] == pytest.approx(
                evaluate(model, run.graph).mrr, abs=1e-9)
    table = Path('out/ensemble_fake.md').read_text()
    assert '| A | 2 |' in table and '| B | 1 |' in table
    assert '- A + B, per graph, less B: ' in table
    # Against the rows of another table, here of the same one.
    other = ours.rename('table2_fake_queries.safetensors')
    call += ['--member', 'A', 'a0', '--member', 'B', 'n', '--queries', '40']
    monkeypatch.setattr(sys, 'argv', [*call, '--against', str(other), 'B'])
    runpy.run_path(str(SCRIPT), run_name='__main__')
    table = Path('out/ensemble_fake.md').read_text()
    gain = re.search(r'per graph, less B: (.*)', table)
    assert gain is not None
    assert f'per graph, less B (table2_fake): {gain[1]}' in table
    monkeypatch.setattr(sys, 'argv', [*call, '--against', str(other), 'C'])
    with pytest.raises(SystemExit, match=r"rows of .*\(got \['C'\]\)"):
        runpy.run_path(str(SCRIPT), run_name='__main__')
    # With the weights of another file.
    Path('out/ensemble_fake.jsonl').rename('weights.jsonl')
    monkeypatch.setattr(sys, 'argv', [
        *call, '--weights', str(tmp_path / 'weights.jsonl')])
    runpy.run_path(str(SCRIPT), run_name='__main__')
    head, *again = [json.loads(x) for x in Path(
        'out/ensemble_fake.jsonl').read_text().splitlines()]
    learned = [json.loads(x) for x in Path(
        'weights.jsonl').read_text().splitlines()[1:]]
    assert head['command'].endswith(' --weights weights.jsonl')
    assert [x['row'] for x in again] == [x['row'] for x in learned]
    for x, y in zip(again, learned, strict=True):
        assert x['test']['mrr'] == pytest.approx(y['test']['mrr'], abs=1e-9)
        assert x.get('weight') == y.get('weight')
    table = Path('out/ensemble_fake.md').read_text()
    assert 'Weights: those in `weights.jsonl`' in table
    monkeypatch.setattr(sys, 'argv', [
        *call, '--member', 'C', 'n', '--weights', 'weights.jsonl'])
    with pytest.raises(SystemExit, match=r"with --weights \(got 'A \+ B \+ C"):
        runpy.run_path(str(SCRIPT), run_name='__main__')
    monkeypatch.setattr(sys, 'argv', call)
    before = table, Path('out/ensemble_fake.jsonl').read_bytes()
    monkeypatch.setattr(sys, 'argv', [*call, '--report'])
    runpy.run_path(str(SCRIPT), run_name='__main__')
    assert before == (Path('out/ensemble_fake.md').read_text(),
                      Path('out/ensemble_fake.jsonl').read_bytes())
    Path('out/ensemble_fake.txt').write_text('Who *B* is.\n')
    runpy.run_path(str(SCRIPT), run_name='__main__')
    above, _, below = Path('out/ensemble_fake.md').read_text().partition(
        'Who *B* is.\n\n## Differences')
    assert above + '## Differences' + below == table


def test_scores_are_kept(study, tmp_path: Path) -> None:
    scorer = Scorer(
        lambda node, rel_type, side, table: torch.rand(node.numel(), 7),
        num_nodes=7, device=torch.device('cpu'),
        table=lambda: torch.empty(7, 0))
    kept = runpy.run_path(str(SCRIPT))['Remembered'](
        torch.nn.Identity(), scorer, tmp_path / 'scores')
    node, rel = torch.tensor([3, 1, 4]), torch.tensor([0, 1, 1])
    first = kept.score_all(node, rel, 'tail')
    assert not torch.equal(first, kept.score_all(node, rel, 'head'))
    order = torch.tensor([2, 0])
    assert torch.equal(kept.score_all(node[order], rel[order], 'tail'),
                       first[order])
    more = torch.tensor([3, 6]), torch.tensor([1, 0])
    assert not torch.equal(kept.score_all(*more, 'tail')[0], first[0])
    assert torch.equal(kept.score_all(node, rel, 'tail'), first)
