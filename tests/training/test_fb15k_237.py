"""Tests of PyG's dataset, loader and models on real triples."""

import shutil
from pathlib import Path

import pytest
import torch
from torch_geometric.data import Data
from torch_geometric.datasets import FB15k_237
from torch_geometric.nn import RotatE, TransE

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.evaluation import evaluate
from pyg_mmkgc.training import Trainer

SPLITS = {'train': 'train', 'valid': 'val', 'test': 'test'}


@pytest.fixture(scope='module')
def splits(shared_data: Path, tmp_path_factory) -> list[Data]:  # noqa: ANN001
    root = tmp_path_factory.mktemp('FB15k-237')
    (root / 'raw').mkdir()
    for name in SPLITS:
        shutil.copy(shared_data / 'FB15k-237' / f'{name}.txt', root / 'raw')
    return [FB15k_237(str(root), split=split)[0] for split in SPLITS.values()]


@pytest.mark.parametrize('cls', [TransE, RotatE])
def test_loader_trainer_and_evaluate(cls, splits) -> None:  # noqa: ANN001
    train, val, test = splits
    model = cls(train.num_nodes, train.num_edge_types, 16)
    loader = model.loader(train.edge_index[0], train.edge_type,
                          train.edge_index[1], batch_size=1024)
    few = torch.arange(0, test.num_edges, 200)  # Every 200th triple.
    test = Data(edge_index=test.edge_index[:, few],
                edge_type=test.edge_type[few], num_nodes=test.num_nodes)
    kg = KnowledgeGraph.from_pyg(train, val=val, test=test)
    before = evaluate(model, kg)
    history = Trainer(model, loader, lr=0.01, batch_size=2048, epochs=2,
                      progress=False).fit()
    assert history.epochs[1]['loss'] < history.epochs[0]['loss']
    after = evaluate(model, kg)
    assert after.protocol['num_nodes'] == 14541
    assert after.mrr > 5 * before.mrr
