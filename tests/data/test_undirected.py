"""PyG's ToUndirected on graphs with several relations."""

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
