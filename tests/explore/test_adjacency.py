import pytest
import torch

from pyg_mmkgc import KnowledgeGraph
from pyg_mmkgc.explore.adjacency import Adjacency

#                0    1    2    3    4
TRIPLES = [(0, 0, 1), (0, 0, 2), (3, 1, 0), (0, 1, 3), (1, 0, 2),
           (4, 1, 4)]
SPLIT = ['train', 'test', 'train', 'val', 'train', 'train']


@pytest.fixture
def adjacency() -> Adjacency:
    head, rel, tail = torch.tensor(TRIPLES).t()
    return Adjacency(KnowledgeGraph(
        torch.stack([head, tail]), rel, num_nodes=6, num_relations=2,
        filter_edge_index=torch.tensor([[5], [0]]),
        filter_edge_type=torch.tensor([1]),
        **{f'{name}_mask': torch.tensor([x == name for x in SPLIT])
           for name in ('train', 'val', 'test')}))


def test_groups_of_a_node(adjacency: Adjacency) -> None:
    found = {(group.rel_type, group.side): adjacency.members(group)
             for group in adjacency.groups(0)}
    assert found == {
        (0, 'tail'): ([1, 2], ['train', 'test']),
        (1, 'tail'): ([3], ['val']),
        (1, 'head'): ([3, 5], ['train', 'filter'])}
    assert adjacency.groups(0)[-1].num_triples == 1  # The largest come first.


def test_loops_are_on_both_sides(adjacency: Adjacency) -> None:
    assert [group.side for group in adjacency.groups(4)] == ['tail', 'head']


def test_one_group_and_a_part_of_it(adjacency: Adjacency) -> None:
    group = adjacency.group(0, 0, 'tail')
    assert adjacency.members(group, start=1) == ([2], ['test'])
    assert adjacency.members(group, limit=1) == ([1], ['train'])
    assert adjacency.group(2, 1, 'tail').num_triples == 0
    assert adjacency.members(adjacency.group(2, 1, 'tail')) == ([], [])


def test_degrees(adjacency: Adjacency) -> None:
    assert adjacency.degree.tolist() == [5, 2, 2, 2, 2, 1]
    assert adjacency.train_degree.tolist() == [2, 2, 1, 1, 2, 0]
    assert adjacency.relation_count.tolist() == [3, 4]


@pytest.mark.parametrize('triple, split', [
    (triple, split) for triple, split in zip(TRIPLES, SPLIT, strict=True)
] + [((5, 1, 0), 'filter'), ((2, 0, 0), None), ((5, 1, 5), None)])
def test_split_of_a_triple(adjacency: Adjacency, triple: tuple[int, int, int],
                           split: str | None) -> None:
    assert adjacency.split_of(*triple) == split


def test_pairs_among_nodes(adjacency: Adjacency) -> None:
    assert adjacency.between([2, 1, 4]) == [(0, 1)]
    assert adjacency.between([0, 5, 3]) == [(0, 1), (0, 2)]


def test_roles(adjacency: Adjacency) -> None:
    assert adjacency.roles(torch.tensor([2, 0])) == [(0, 'tail'), (0, 'head')]


def test_graph_without_triples() -> None:
    found = Adjacency(KnowledgeGraph(
        torch.empty(2, 0, dtype=torch.long), torch.empty(0, dtype=torch.long),
        num_nodes=2, num_relations=1))
    assert found.groups(1) == []
    assert found.roles(torch.tensor([0])) == [None]
    assert found.split_of(0, 0, 1) is None
