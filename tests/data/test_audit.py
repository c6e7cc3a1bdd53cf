from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.errors import DataError

# Section "measured on the released benchmarks" of the reliability notes:
# rows, duplicates inside valid, valid in train, valid in test, reversed,
# other relation, unseen entity, unseen relation, self-loops, unseen entities.
GOLDEN = {
    'DB15K': [(79222, 9904, 9902), 2423, 6584, 824, (678, '6.8'),
              (2519, '25.4'), (77, '0.8'), 7, 768, 57],
    'MKG-W': [(34196, 4276, 4274), 0, 0, 0, (224, '5.2'), (449, '10.5'),
              (306, '7.2'), 0, 55, 491],
    'MKG-Y': [(21310, 2665, 2663), 0, 0, 0, (50, '1.9'), (704, '26.4'),
              (388, '14.6'), 0, 0, 612],
}


def read_openke(folder: Path) -> KnowledgeGraph:
    def count(name: str) -> int:
        with open(folder / name) as f:
            return int(f.readline())

    parts = [np.loadtxt(folder / f'{split}2id.txt', dtype=np.int64, skiprows=1)
             for split in ['train', 'valid', 'test']]
    head, tail, rel = torch.from_numpy(np.concatenate(parts)).t()
    split = torch.arange(3).repeat_interleave(
        torch.tensor([len(part) for part in parts]))
    return KnowledgeGraph(
        torch.stack([head, tail]), rel, count('entity2id.txt'),
        count('relation2id.txt'), split == 0, split == 1, split == 2)


@pytest.mark.parametrize('name', GOLDEN)
def test_audit_golden(name: str, shared_data: Path) -> None:
    kg = read_openke(shared_data / name)
    report = kg.audit()
    train, val, test = (report.splits[s] for s in ['train', 'val', 'test'])

    def share(count: int) -> tuple[int, str]:
        return count, f'{100 * count / test.triples:.1f}'

    assert [
        (train.triples, val.triples, test.triples), val.duplicates,
        val.overlaps['train'], val.overlaps['test'],
        share(test.reversed_in_train), share(test.other_relation_in_train),
        share(test.unseen_node), test.unseen_relation, train.self_loops,
        report.unseen_nodes
    ] == GOLDEN[name]
    assert train.duplicates == test.duplicates == 0
    assert test.overlaps['train'] == train.overlaps['test'] == 0
    assert val.overlaps['test'] == test.overlaps['val']
    text = str(report)
    assert ('WARNING: val: 6,584 (88.0 %) of the distinct triples are also in '
            'train' in text) == (name == 'DB15K')


def random_kg(seed: int) -> KnowledgeGraph:
    generator = torch.Generator().manual_seed(seed)
    split = torch.randint(3, (60, ), generator=generator)
    return KnowledgeGraph(
        torch.randint(7, (2, 60), generator=generator),
        torch.randint(4, (60, ), generator=generator), num_nodes=9,
        num_relations=6, train_mask=split == 0, val_mask=split == 1,
        test_mask=split == 2)


@pytest.mark.parametrize('seed', range(10))
def test_audit_equals_brute_force(seed: int) -> None:
    kg = random_kg(seed)
    report = kg.audit()
    splits = {
        name: list(zip(*kg.split(name).edge_index.tolist(),
                       kg.split(name).edge_type.tolist(), strict=True))
        for name in ['train', 'val', 'test']
    }
    train = set(splits['train'])
    nodes = {h for h, _, _ in train} | {t for _, t, _ in train}
    relations = {r for _, _, r in train}
    for name, rows in splits.items():
        out, known = report.splits[name], set(rows)
        assert out.triples == len(rows)
        assert out.duplicates == len(rows) - len(known)
        assert out.self_loops == sum(h == t for h, t, _ in rows)
        for other in splits:
            if other != name:
                assert out.overlaps[other] == len(known & set(splits[other]))
        assert out.reversed_in_train == sum(
            any((t, h, q) in train for q in range(6)) for h, t, r in known)
        assert out.other_relation_in_train == sum(
            any((h, t, q) in train for q in range(6) if q != r)
            for h, t, r in known)
        assert out.unseen_node == sum(
            not {h, t} <= nodes for h, t, r in known)
        assert out.unseen_relation == sum(r not in relations
                                          for h, t, r in known)
    assert report.unseen_nodes == 9 - len(nodes)
    assert report.unseen_relations == 6 - len(relations)


def audit_features(x: Tensor, mask: Tensor | None = None) -> dict:
    kg = KnowledgeGraph(torch.tensor([[0], [1]]), torch.tensor([0]),
                        num_nodes=x.size(0), x_v=x, mask_v=mask)
    return kg.audit().to_dict()['modalities']['v']


def test_audit_of_features() -> None:
    inf, nan = float('inf'), float('nan')
    x = torch.tensor([[3., 4., 7.], [0., 0., 7.], [-0., 0., 7.], [3., 4., 7.],
                      [6., 8., 7.], [nan, 1., 7.], [1., -inf, 7.]])
    out = audit_features(x)
    assert out['channels'] == 3 and out['rows'] == 7
    assert out['nonfinite_rows'] == 2
    assert out['duplicate_rows'] == 2  # Minus zero is zero.
    assert out['dead_channels'] == 1 and out['zero_rows'] == 0

    mask = torch.tensor([1, 1, 1, 0, 1, 0, 0]).bool()
    out = audit_features(x[:, :2], mask)
    assert out == dict(channels=2, rows=4, nonfinite_rows=0, zero_rows=2,
                       duplicate_rows=1, dead_channels=0, min_norm=0.0,
                       mean_norm=3.75, max_norm=10.0)
    half = torch.randn(3000, 5).half()
    half[2500] = half[3]
    assert audit_features(half)['duplicate_rows'] == 1
    assert audit_features(x, torch.zeros(7).bool())['rows'] == 0

    # A node counts once, and each of its rows counts.
    several, mask = torch.stack([x[:5], x[:5]], 1), torch.eye(5, 2) > 0
    out = audit_features(several, mask)
    assert (out['channels'], out['rows'], out['zero_rows']) == (3, 2, 0)
    assert out['max_norm'] == pytest.approx(74**0.5)
    out = audit_features(several)
    assert (out['rows'], out['duplicate_rows']) == (5, 7)


def test_report() -> None:
    kg = random_kg(0)
    kg.x_visual, kg.mask_visual = torch.ones(9, 2), torch.arange(9) < 6
    kg.filter_edge_index = torch.tensor([[0, 1], [0, 1]])
    kg.filter_edge_type = torch.tensor([0, 1])
    report = kg.audit()
    assert json.loads(json.dumps(report.to_dict())) == report.to_dict()
    lines = str(report).split('\n')
    assert lines[0].endswith('2 triples in the filter only')
    table = lines[2:13]
    assert len({len(line) for line in table}) == 1  # Aligned.
    assert any('6 (66.7 %)' in line for line in lines)
    assert 'WARNING: modality visual: 2 channels are the same' in str(report)
    assert any(w.startswith('test: ') and 'also in train' in w
               for w in report.warnings)
    assert not any(w.startswith('train: ') and 'also in' in w
                   for w in report.warnings)


def test_audit_without_splits() -> None:
    kg = KnowledgeGraph(torch.tensor([[0, 1, 1], [1, 0, 0]]),
                        torch.tensor([0, 0, 0]), num_nodes=3)
    report = kg.audit()
    assert list(report.splits) == ['train']
    assert report.splits['train'].duplicates == 1
    assert report.unseen_nodes == 1
    assert 'train: 1 triples repeat' in report.warnings[0]
    kg.num_nodes = 2**32
    with pytest.raises(DataError, match='64 bits'):
        kg.audit()


def test_inverse_leakage_warning() -> None:
    kg = KnowledgeGraph(torch.tensor([[0, 1, 1, 2], [1, 2, 0, 1]]),
                        torch.tensor([0, 0, 1, 1]))
    kg.train_mask = torch.tensor([1, 1, 0, 0]).bool()
    kg.test_mask = ~kg.train_mask
    assert kg.audit().warnings == [
        'test: 2 (100.0 %) of the distinct triples are reversed in train',
        'test: 2 (100.0 %) of the distinct triples have a relation that is in '
        'no training triple']
