from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data, HeteroData
from torch_geometric.datasets import FakeDataset, FB15k_237

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.errors import DataError

SPLITS = {
    'train': (torch.tensor([[0, 1, 2], [1, 2, 3]]), torch.tensor([0, 1, 0])),
    'val': (torch.tensor([[3], [0]]), torch.tensor([1])),
    'test': (torch.tensor([[0, 4], [2, 1]]), torch.tensor([1, 2])),
}


def check(kg: KnowledgeGraph, splits: dict[str, tuple[Tensor, Tensor]],
          num_nodes: int, num_relations: int) -> None:
    assert type(kg) is KnowledgeGraph and kg.validate()
    assert kg.num_nodes == num_nodes and kg.num_relations == num_relations
    assert kg.num_edges == sum(r.numel() for _, r in splits.values())
    assert list(kg.splits()) == list(splits)
    for name, (edge_index, edge_type) in splits.items():
        split = kg.split(name)
        assert torch.equal(split.edge_index, edge_index)
        assert torch.equal(split.edge_type, edge_type)
        assert (split.num_nodes, split.num_relations) == (num_nodes,
                                                          num_relations)


def test_one_object_per_split() -> None:
    data = {name: Data(edge_index=index, edge_type=rel, num_nodes=6)
            for name, (index, rel) in SPLITS.items()}
    kg = KnowledgeGraph.from_pyg(data['train'], data['val'], data['test'])
    check(kg, SPLITS, 6, 3)
    kg = KnowledgeGraph.from_pyg(data['train'], test=data['test'])
    check(kg, {k: SPLITS[k] for k in ['train', 'test']}, 6, 3)
    data['test'].num_nodes = 9  # The largest number counts.
    data['val'].num_relations = 5
    kg = KnowledgeGraph.from_pyg(data['train'], data['val'], data['test'])
    check(kg, SPLITS, 9, 5)


@pytest.mark.parametrize('valid', ['val', 'valid'])
def test_prefixed_keys_and_inverse_edges(valid: str) -> None:
    keys = {'train': 'train', 'val': valid, 'test': 'test'}
    index, rel = SPLITS['train']
    data = Data(
        num_nodes=5,
        # As in `RelLinkPredDataset`, inverses have their own relations.
        edge_index=torch.cat([index, index.flip(0)], dim=1),
        edge_type=torch.cat([rel, rel + 3]),
        **{f'{keys[s]}_edge_index': v[0] for s, v in SPLITS.items()},
        **{f'{keys[s]}_edge_type': v[1] for s, v in SPLITS.items()},
    )
    check(KnowledgeGraph.from_pyg(data), SPLITS, 5, 3)


def test_masks_and_features() -> None:
    order = torch.tensor([3, 0, 4, 1, 5, 2])  # Splits may be interleaved.
    index = torch.cat([v[0] for v in SPLITS.values()], dim=1)[:, order]
    rel = torch.cat([v[1] for v in SPLITS.values()])[order]
    split = torch.tensor([0, 0, 0, 1, 2, 2])[order]
    data = Data(
        x=torch.randn(6, 4), edge_index=index, edge_type=rel,
        train_mask=split == 0, val_mask=split == 1, test_mask=split == 2)
    kg = KnowledgeGraph.from_pyg(data, modality='text')
    check(kg, SPLITS, 6, 3)
    assert kg.modalities == ['text'] and kg.x_text is data.x
    assert 'x' not in kg
    assert KnowledgeGraph.from_pyg(data).modalities == ['features']
    data.test_mask = data.test_mask[:5]
    with pytest.raises(DataError, match="'test_mask' to be a bool tensor"):
        KnowledgeGraph.from_pyg(data)


def test_plain_data() -> None:
    index, rel = SPLITS['train']
    data = Data(edge_index=index, edge_type=rel, num_nodes=4,
                x_a=torch.ones(4, 2), mask_a=torch.tensor([1, 0, 1, 1]).bool(),
                node_names=list('abcd'), y=torch.ones(4))
    kg = KnowledgeGraph.from_pyg(data)
    check(kg, {'train': SPLITS['train']}, 4, 2)
    assert kg.modalities == ['a'] and kg.node_names == list('abcd')
    assert kg.mask_a is data.mask_a and 'y' not in kg
    assert KnowledgeGraph.from_pyg(kg) is kg


def test_dataset() -> None:
    dataset = FakeDataset(task='graph', num_channels=3)
    with pytest.raises(DataError, match="Expected 'edge_type' in .*got"):
        KnowledgeGraph.from_pyg(dataset)
    dataset._data.edge_type = torch.zeros(dataset[0].num_edges).long()
    kg = KnowledgeGraph.from_pyg(dataset)
    assert kg.num_relations == 1 and kg.x_features.size(1) == 3


def test_errors() -> None:
    with pytest.raises(DataError, match='got HeteroData'):
        KnowledgeGraph.from_pyg(HeteroData())
    index, rel = SPLITS['train']
    good = Data(edge_index=index, edge_type=rel, num_nodes=4)
    with pytest.raises(DataError, match="'edge_type' in the split 'val' .got"):
        KnowledgeGraph.from_pyg(good, Data(edge_index=index))
    with pytest.raises(DataError, match="'test' to be .* .got dict"):
        KnowledgeGraph.from_pyg(good, test={})
    mask = torch.tensor([True, True, False])
    for more in ({'train_mask': mask, 'test_mask': ~mask},
                 {'train_mask': mask}, {'valid_mask': mask},
                 {'train_edge_index': index, 'train_edge_type': rel}):
        split = Data(edge_index=index, edge_type=rel, num_nodes=4, **more)
        with pytest.raises(DataError, match='only training triples.*'
                           rf".got \['{next(iter(more))}'"):
            KnowledgeGraph.from_pyg(split, good)
    kg = KnowledgeGraph.from_pyg(good, good)
    assert kg.split('val').num_edges == 3
    again = KnowledgeGraph.from_pyg(kg.split('train'), test=good)
    assert list(again.splits()) == ['train', 'test']
    with pytest.raises(DataError, match="Expected 'train_edge_type' in"):
        KnowledgeGraph.from_pyg(Data(train_edge_index=index, num_nodes=4))
    with pytest.raises(DataError, match='got 3 at triple 2'):
        KnowledgeGraph.from_pyg(
            Data(edge_index=index, edge_type=rel, num_nodes=3))
    with pytest.raises(DataError, match='a graph with triples .got none'):
        KnowledgeGraph.from_pyg(Data(edge_index=index[:, :0],
                                     edge_type=rel[:0], num_nodes=4))
    with pytest.raises(DataError, match='a graph in dataset .data. .got none'):
        KnowledgeGraph.from_pyg(FakeDataset()[:0])


def test_fb15k_237(shared_data: Path, tmp_path: Path) -> None:
    (tmp_path / 'raw').mkdir()
    for name in ['train', 'valid', 'test']:
        shutil.copy(shared_data / 'FB15k-237' / f'{name}.txt',
                    tmp_path / 'raw')
    splits = [FB15k_237(str(tmp_path), split=s)
              for s in ['train', 'val', 'test']]
    kg = KnowledgeGraph.from_pyg(*splits)
    assert (kg.num_nodes, kg.num_relations) == (14541, 237)
    sizes = {name: split.num_edges for name, split in kg.splits().items()}
    assert sizes == {'train': 272115, 'val': 17535, 'test': 20466}
    assert torch.equal(kg.split('test').edge_index, splits[2][0].edge_index)
    # In this graph, 28 test triples have a node without training triples.
    report = kg.audit()
    assert all(not any(s.overlaps.values()) for s in report.splits.values())
    assert report.splits['test'].unseen_node == 28
