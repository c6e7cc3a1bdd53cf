"""A split by nodes, against a check of every triple."""

import pytest
import torch

from pyg_mmkgc import FakeMMKG, KnowledgeGraph
from pyg_mmkgc.errors import DataError
from pyg_mmkgc.transforms import InductiveSplit


def graph() -> KnowledgeGraph:
    return FakeMMKG(num_nodes=60, num_relations=4, num_edges=200,
                    modalities={'text': 3})[0]


def nodes(kg: KnowledgeGraph, split: str) -> set[int]:
    return set(kg.split(split).edge_index.flatten().tolist())


@pytest.mark.parametrize('sizes', [(0.1, 0.2), (5, 9)])
def test_no_training_triple_has_a_held_out_node(sizes: tuple) -> None:
    kg = graph()
    out = InductiveSplit(*sizes, seed=3)(kg)
    out.validate()
    assert torch.equal(out.edge_index, kg.edge_index)
    assert (out.train_mask.long() + out.val_mask.long()
            + out.test_mask.long()).tolist() == [1] * kg.num_edges
    train, rest = nodes(out, 'train'), set(range(60))
    for split, other in (('val', train), ('test', train)):
        for h, t in out.split(split).edge_index.t().tolist():
            assert {h, t} - other  # At least one end is new.
    # The held-out nodes of the test explain all test triples, and no other.
    tested = rest - train - nodes(out, 'val')
    for name in ('train', 'val'):
        assert not nodes(out, name) & tested
    assert all({h, t} & tested for h, t in
               out.split('test').edge_index.t().tolist())
    assert len(rest - train) >= 0.3 * 60 - 4 or sizes == (5, 9)


def test_seed() -> None:
    kg = graph()
    same = [InductiveSplit(seed=0)(kg).test_mask for _ in range(2)]
    assert torch.equal(*same)
    assert not torch.equal(same[0], InductiveSplit(seed=1)(kg).test_mask)
    assert 'val_mask' not in InductiveSplit(num_val=0)(kg)


def test_relations_keep_a_training_triple() -> None:
    # Relation 1 has one triple: neither of its nodes is held out.
    kg = KnowledgeGraph(torch.tensor([[0, 1, 2, 3, 4], [1, 2, 3, 4, 5]]),
                        torch.tensor([0, 0, 1, 0, 0]), num_nodes=6)
    for seed in range(20):
        try:
            out = InductiveSplit(num_val=0, num_test=2, seed=seed)(kg)
        except DataError:  # Both random nodes were 2 and 3.
            continue
        assert set(out.split('train').edge_type.tolist()) == {0, 1}
        assert bool(out.train_mask[2])


def test_bad_arguments() -> None:
    with pytest.raises(DataError, match="'num_test' .*share in .*got 1.5"):
        InductiveSplit(num_test=1.5)
    with pytest.raises(DataError, match="'num_val' .*got -1"):
        InductiveSplit(num_val=-1)
    with pytest.raises(DataError, match='at least one node .got 0 and 0'):
        InductiveSplit(0, 0)(graph())
    for sizes in ((0, 10**6), (0, 60), (30, 30), (0.5, 0.6)):
        with pytest.raises(DataError, match="'num_val' and 'num_test' to leav"
                           'e nodes .*of 60 nodes'):
            InductiveSplit(*sizes)(graph())
    with pytest.raises(DataError, match="triples in the split 'test'"):
        InductiveSplit(0, 1)(KnowledgeGraph(
            torch.tensor([[0], [1]]), torch.tensor([0])))
