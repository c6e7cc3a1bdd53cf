"""PyG's ToUndirected on graphs with several relations."""

import pickle

import pytest
import torch
from torch_geometric.data import Data
from torch_geometric.transforms import ToUndirected

from pyg_mmkgc import KnowledgeGraph
from pyg_mmkgc.errors import DataError


def test_edges_that_are_undirected_already() -> None:
    """Copies and moves of a graph merge nothing."""
    kg = KnowledgeGraph(torch.tensor([[0, 0, 1, 2], [1, 2, 0, 0]]),
                        torch.tensor([0, 1, 0, 1]), num_nodes=3)
    for out in (kg.clone(), kg.to('cpu'), kg.apply(torch.clone)):
        assert torch.equal(out.edge_index, kg.edge_index)
    assert kg.to('meta').edge_index.is_meta


@pytest.mark.parametrize('reduce', ['add', 'max'])
@pytest.mark.parametrize('edges', [
    [[0, 0, 1], [1, 1, 2]],  # Parallel edges.
    [[0, 1, 1], [1, 0, 2]],  # One in either direction.
    [[0, 1, 2], [1, 2, 2]]])  # A self-loop.
def test_merging_triples_is_refused(edges: list, reduce: str) -> None:
    kg = KnowledgeGraph(torch.tensor(edges), torch.tensor([1, 2, 3]),
                        num_nodes=3, num_relations=4)
    with pytest.raises(DataError, match='merge [12] parallel.*GNNEncoder'):
        ToUndirected(reduce=reduce)(kg)
    assert kg.edge_index.tolist() == edges and kg.validate()


# In both directions, so that merged edges equal sorted edges.
BOTH = torch.tensor([[1, 0, 2, 1], [0, 1, 1, 2]])


@pytest.mark.parametrize('rel', [[1, 1, 1, 1], [1, 2, 0, 2]])
def test_sorting_edges_in_both_directions(rel: list[int]) -> None:
    order = torch.tensor([1, 0, 3, 2])  # By head, then by tail.
    kg = KnowledgeGraph(BOTH, torch.tensor(rel), num_nodes=3)
    out = kg.clone().sort()
    assert torch.equal(out.edge_index, BOTH[:, order])
    assert out.edge_type.tolist() == [rel[i] for i in order]
    assert torch.equal(out.clone().sort().edge_type, out.edge_type)
    kg.edge_index = BOTH[:, order]
    copy = pickle.loads(pickle.dumps(kg))
    for changed in (kg, copy):
        changed.edge_type = torch.tensor([2, 0, 1, 1])
        assert changed.edge_type.tolist() == [2, 0, 1, 1]
        assert torch.equal(changed.edge_index, BOTH[:, order])


@pytest.mark.parametrize('is_sorted', [True, False])
@pytest.mark.parametrize('reduce, rel', [
    ('add', [1, 1, 1, 1]), ('add', [1, 2, 0, 2]), ('max', [1, 2, 0, 2]),
    ('min', [1, 2, 0, 2]), ('mul', [1, 2, 0, 2])])
def test_merging_edges_in_both_directions_is_refused(
        reduce: str, rel: list[int], is_sorted: bool) -> None:
    edges = BOTH[:, [1, 0, 3, 2]] if is_sorted else BOTH
    kg = KnowledgeGraph(edges, torch.tensor(rel), num_nodes=3)
    with pytest.raises(DataError, match='merge 4 parallel.*GNNEncoder'):
        ToUndirected(reduce=reduce)(kg)
    with pytest.raises(DataError, match='merge 4 parallel'):
        ToUndirected(reduce=reduce).forward(kg)  # In place.
    assert torch.equal(kg.edge_index, edges) and kg.edge_type.tolist() == rel


def test_right_where_nothing_is_merged() -> None:
    kg = KnowledgeGraph(torch.tensor([[0, 1], [1, 2]]), torch.tensor([1, 2]),
                        num_nodes=3, train_mask=torch.tensor([True, False]),
                        test_mask=torch.tensor([False, True]))
    out = ToUndirected()(kg)
    out.validate()
    assert sorted(zip(*out.edge_index.tolist(), out.edge_type.tolist(),
                      out.test_mask.tolist(), strict=True)) == [
        (0, 1, 1, False), (1, 0, 1, False), (1, 2, 2, True), (2, 1, 2, True)]


def test_other_assignments_stay() -> None:
    kg = KnowledgeGraph(torch.tensor([[0, 0, 1], [1, 1, 2]]),
                        torch.tensor([1, 2, 3]), num_nodes=3)
    kg.edge_index = kg.edge_index.flip(0)
    kg.edge_index = torch.tensor([[0, 0, 1], [1, 2, 2]])
    assert kg.validate()


def test_validate_finds_merged_triples() -> None:
    data = Data(edge_index=torch.tensor([[0, 0], [1, 1]]),
                edge_type=torch.tensor([2, 3]), num_nodes=3,
                train_mask=torch.tensor([True, False]),
                test_mask=torch.tensor([False, True]))
    merged = ToUndirected()(data)
    with pytest.raises(DataError, match='in at most one split'):
        KnowledgeGraph.from_pyg(merged)
    kg = KnowledgeGraph(merged.edge_index, merged.edge_type, num_nodes=3,
                        num_relations=4)
    with pytest.raises(DataError, match="'edge_type' .*0 to 3.*got 5"):
        kg.validate()
