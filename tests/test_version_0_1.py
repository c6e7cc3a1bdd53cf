"""Folders of version 0.1 load, return the same ranks, and resume."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from pyg_mmkgc import FakeMMKG, MMKGEModel, Trainer, evaluate, nn
from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.runs.run import Run
from pyg_mmkgc.sampler import PooledSampler

FOLDER = Path(__file__).parent / 'version_0_1'
RANKS = json.loads((FOLDER / 'ranks.json').read_text('utf-8'))


@pytest.fixture
def kg() -> KnowledgeGraph:
    return FakeMMKG(num_nodes=24, num_relations=3, num_edges=64,
                    modalities={'visual': 6, 'text': 5})[0]


@pytest.mark.parametrize('name, kind', [('adamf_mat', nn.AdaMFMAT),
                                        ('mose', nn.MoSE)])
def test_models(name: str, kind: type[MMKGEModel], kg: KnowledgeGraph) -> None:
    with pytest.warns(UserWarning, match="'manifest.json' in .*got none"):
        model = MMKGEModel.from_pretrained(FOLDER / name)
    assert type(model) is kind
    assert evaluate(model, kg, 'train').ranks.realistic.tolist() == (
        RANKS[name])


def test_run() -> None:
    was = json.loads((FOLDER / 'run' / 'metrics.json').read_text('utf-8'))
    with pytest.warns(UserWarning, match="'manifest.json' in .*got none"):
        now = Run.open(str(FOLDER / 'run')).evaluate('test').to_dict()
    assert now['metrics']['mrr'] == pytest.approx(
        was['test']['metrics']['mrr'], rel=1e-6)


def test_training_is_resumed(kg: KnowledgeGraph, tmp_path: Path) -> None:
    """A training resumed after two epochs ends like four epochs."""
    shutil.copytree(FOLDER / 'transe', tmp_path / 'transe')
    if torch.__version__.split('+')[0] != '2.13.0':
        pytest.skip('a checkpoint is resumed by the torch that wrote it')
    model = nn.TransE(24, 3, 4, margin=3.0, p_norm=2.0)
    history = Trainer(model, kg, sampler=PooledSampler(4), lr=0.05,
                      batch_size=16, epochs=4, valid_every=None,
                      progress=False, folder=tmp_path / 'transe').fit(
                          resume=True)
    assert len(history.epochs) == 4
    was = torch.tensor(RANKS['transe'])
    now = evaluate(model, kg, 'train').mrr
    assert now == pytest.approx(float(was.reciprocal().mean()), abs=0.01)
