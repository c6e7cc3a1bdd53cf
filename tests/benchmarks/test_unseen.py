"""The table of unseen entities, and inductive splits as files."""

import json
import runpy
import sys
from pathlib import Path

import pytest

from pyg_mmkgc import Countries
from pyg_mmkgc.cli import main
from pyg_mmkgc.config import build_graph, load_config
from pyg_mmkgc.transforms import InductiveSplit

SCRIPT = Path(__file__).resolve().parents[2] / 'benchmarks/unseen.py'


@pytest.mark.filterwarnings('ignore::pyg_mmkgc.evaluation.result.TieWarning')
def test_split_and_table(study, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)

    def call(*args: str) -> None:
        monkeypatch.setattr(sys, 'argv', ['unseen.py', '--dataset',
                                          'countries', *args])
        runpy.run_path(str(SCRIPT), run_name='__main__')

    call('--split', 'split', '--methods', 'adamf', 'nbfnet',
         'nbfnet_features', '--held-out', '0.02', '--seed', '4')
    wanted = InductiveSplit(0.02, 0.02, seed=4)(Countries()[0])
    graphs = {name: build_graph(load_config(f'split/{name}.yaml'))
              for name in ('nbfnet', 'nbfnet_features')}
    assert graphs['nbfnet'].modalities == []
    kg = graphs['nbfnet_features']
    assert kg.modalities == wanted.modalities
    for name, part in wanted.splits().items():
        mine = kg.split(name)
        assert {(kg.node_names[h], kg.relation_names[r], kg.node_names[t])
                for h, t, r in zip(*mine.edge_index.tolist(),
                                   mine.edge_type.tolist(), strict=True)} == {
            (wanted.node_names[h], wanted.relation_names[r],
             wanted.node_names[t])
            for h, t, r in zip(*part.edge_index.tolist(),
                               part.edge_type.tolist(), strict=True)}
    place = {name: i for i, name in enumerate(wanted.node_names)}
    for i in range(0, kg.num_nodes, 97):
        j = place[kg.node_names[i]]
        for modality in kg.modalities:
            has = bool(wanted.masks()[modality][j])
            assert bool(kg.masks()[modality][i]) == has
            if has:
                assert bool((kg[f'x_{modality}'][i]
                             == wanted[f'x_{modality}'][j].float()).all())
    assert main(['train', 'split/adamf.yaml', '--quiet', '--output', 'run',
                 '--set', 'training.epochs=1', 'training.valid_every=null',
                 'model.hidden_channels=4', 'training.device=cpu']) == 0
    call('run', '--results', 'out')
    lines = [json.loads(x) for x in Path(
        'out/unseen_countries.jsonl').read_text().splitlines()]
    assert [x['settings']['model.name'] for x in lines] == [
        'NeighborBaseline, no training', 'AdaMF']
    table = Path('out/unseen_countries.md').read_text()
    assert '\n| NeighborBaseline, no training, `' in table
    assert '\n| AdaMF | 1 |' in table
    call('--results', 'out', '--report')
    assert table == Path('out/unseen_countries.md').read_text()
