from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.datasets.fake import FakeMMKG
from pyg_mmkgc.errors import DataError


def test_fake_mmkg() -> None:
    dataset = FakeMMKG()
    assert str(dataset) == 'FakeMMKG()' and len(dataset) == 1
    kg = dataset[0]
    assert type(kg) is KnowledgeGraph and kg.validate()
    assert (kg.num_nodes, kg.num_relations, kg.num_edges) == (200, 6, 1200)
    assert dataset.num_relations == 6
    assert {n: x.size(1) for n, x in kg.features().items()} == {
        'visual': 32, 'text': 16}
    assert len(kg.node_names) == 200 and len(kg.relation_names) == 6
    report = kg.audit()
    assert {n: s.triples for n, s in report.splits.items()} == {
        'train': 960, 'val': 120, 'test': 120}
    for split in report.splits.values():
        assert split.duplicates == split.self_loops == 0
        assert not any(split.overlaps.values())
    for modality in report.modalities.values():
        assert modality.rows == 160
        assert modality.zero_rows == modality.dead_channels == 0
    assert not kg.x_visual[~kg.mask_visual].any()
    assert not torch.equal(kg.mask_visual, kg.mask_text)


def test_fake_mmkg_seed() -> None:
    state = torch.random.get_rng_state()
    first, same, other = (FakeMMKG(num_edges=300, seed=s)[0]
                          for s in [0, 0, 1])
    assert torch.equal(state, torch.random.get_rng_state())
    for key, value in first:
        if isinstance(value, Tensor):
            assert torch.equal(value, same[key]), key
    assert not torch.equal(first.edge_index, other.edge_index)
    assert not torch.equal(first.x_text, other.x_text)


@pytest.mark.parametrize('kwargs', [
    dict(num_nodes=10, num_relations=1, num_edges=12),
    dict(modalities={}),
    dict(modalities={'audio': 3}, coverage=1.0),
    dict(modalities={f'm{i}': 2 for i in range(9)}, coverage=0.01),
    dict(val_ratio=0.0, test_ratio=0.2),
    dict(num_nodes=1000, num_edges=3000),
], ids=str)
def test_fake_mmkg_arguments(kwargs: dict) -> None:
    kg = FakeMMKG(**kwargs)[0]
    assert kg.validate()
    for key in ['num_nodes', 'num_relations', 'num_edges']:
        assert getattr(kg, key) == kwargs.get(key, getattr(kg, key))
    assert kg.modalities == list(kwargs.get('modalities',
                                            ['visual', 'text']))
    if kwargs.get('val_ratio') == 0.0:
        assert list(kg.splits()) == ['train', 'test']


def test_fake_mmkg_errors() -> None:
    with pytest.raises(DataError, match='enough plausible .*=100 .got too'):
        FakeMMKG(num_nodes=5, num_relations=1, num_edges=100)
    for kwargs in [dict(num_nodes=1), dict(num_relations=0),
                   dict(num_edges=0)]:
        with pytest.raises(DataError, match="Expected 'num_nodes' >= 2"):
            FakeMMKG(**kwargs)
    with pytest.raises(DataError, match="'noise' to be non-neg.*got -0.1"):
        FakeMMKG(noise=-0.1)
    with pytest.raises(DataError, match="'coverage' to lie in .*got 0.0"):
        FakeMMKG(coverage=0.0)
    with pytest.raises(DataError, match='leave triples to train .got 0.5 and'):
        FakeMMKG(val_ratio=0.5, test_ratio=0.5)
    with pytest.raises(DataError, match=r'to leave triples.*0\.49 of 2'):
        FakeMMKG(num_edges=2, val_ratio=0.49, test_ratio=0.49)


def probe(kg: KnowledgeGraph, x: Tensor) -> float:
    """Returns the test MRR of one ridge regression per relation, from the
    features of heads to the features of tails."""
    train, test, ranks = kg.split('train'), kg.split('test'), []
    bias = torch.ones(kg.num_nodes, 1)
    for relation in range(kg.num_relations):
        head, tail = train.edge_index[:, train.edge_type == relation]
        a = torch.cat([x, bias], dim=1)
        lhs = a[head].t() @ a[head] + 0.3 * torch.eye(a.size(1))
        weight = torch.linalg.solve(lhs, a[head].t() @ x[tail])
        head, tail = test.edge_index[:, test.edge_type == relation]
        distance = torch.cdist(a[head] @ weight, x)
        ranks.append((distance <= distance.gather(1, tail.view(-1, 1))).sum(1))
    return float((1.0 / torch.cat(ranks)).mean())


@pytest.mark.parametrize('seed', range(4))
def test_features_carry_the_signal(seed: int) -> None:
    kg = FakeMMKG(coverage=1.0, seed=seed)[0]
    x = torch.cat(list(kg.features().values()), dim=1)
    chance = float((1.0 / torch.arange(1, 201)).mean())
    shuffled = sum(
        probe(kg, x[torch.randperm(kg.num_nodes)]) for _ in range(5)) / 5
    assert shuffled < 2 * chance
    assert probe(kg, x) > 5 * shuffled
    # Both modalities are needed for the best result.
    for part in kg.features().values():
        assert probe(kg, x) > 1.5 * probe(kg, part)


def test_structure_alone_is_poor() -> None:
    # Many nodes are in few training triples, and a few are in many.
    kg = FakeMMKG()[0]
    degree = torch.bincount(kg.split('train').edge_index.view(-1),
                            minlength=kg.num_nodes)
    assert (degree <= 3).float().mean() > 0.05
    assert degree.max() > 4 * degree.median()
    test = kg.split('test').edge_index
    assert (degree[test].amin(dim=0) <= 5).any()


def test_transform() -> None:
    def transform(kg: KnowledgeGraph) -> KnowledgeGraph:
        kg.touched = True
        return kg

    assert FakeMMKG(num_edges=300, transform=transform)[0].touched
