import torch

from pyg_mmkgc import KnowledgeGraph
from pyg_mmkgc.explore.adjacency import Adjacency
from pyg_mmkgc.explore.drawing import (
    NUM_COLORS,
    choose_neighbours,
    draw_ego,
    free_labels,
)


def star(sizes: list[int]) -> Adjacency:
    """Node 0 with so many tails of each relation."""
    rel = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    tail = torch.arange(1, rel.numel() + 1)
    return Adjacency(KnowledgeGraph(
        torch.stack([torch.zeros_like(tail), tail]), rel,
        num_nodes=rel.numel() + 1, num_relations=len(sizes)))


def test_every_relation_is_drawn() -> None:
    found = choose_neighbours(star([100, 3, 1, 1]), 0, 8)
    count = [sum(x.group.rel_type == r for x in found) for r in range(4)]
    assert count == [3, 3, 1, 1]
    assert len({x.node for x in found}) == 8


def test_neighbours_of_one_relation_are_adjacent() -> None:
    found = choose_neighbours(star([9, 5, 2]), 0, 12)
    colors = [x.color for x in found]
    assert colors == sorted(colors)


def test_rare_relations_share_a_colour() -> None:
    found = choose_neighbours(star([1] * 12), 0, 12)
    assert [x.color for x in found] == [*range(NUM_COLORS)] + [NUM_COLORS] * 6


def test_a_loop_is_no_neighbour() -> None:
    loop = Adjacency(KnowledgeGraph(
        torch.tensor([[0, 0], [0, 1]]), torch.tensor([0, 0]), num_nodes=2,
        num_relations=1))
    assert [x.node for x in choose_neighbours(loop, 0, 5)] == [1]


def test_dots_are_on_the_drawing_and_apart() -> None:
    adjacency = star([14])
    spokes = choose_neighbours(adjacency, 0, 14)
    drawing = draw_ego(adjacency, spokes, 720, 400, below=False)
    places = torch.tensor([[dot.x, dot.y] for dot in drawing.dots])
    assert bool((places > drawing.radius).all())
    assert bool((places < torch.tensor([720., 400.]) - drawing.radius).all())
    gap = torch.pdist(places).min()
    assert gap > 2 * drawing.radius
    centre = torch.tensor([[360., 200.]])
    assert torch.cdist(places, centre).min() > 3 * drawing.radius


def test_labels_do_not_overlap() -> None:
    points = [(0., 0.), (30., 5.), (0., 25.), (200., 0.)]
    assert free_labels(points, ['a' * 10] * 4, limit=9) == [0, 2, 3]
    assert free_labels(points, ['a' * 10] * 4, limit=2) == [0, 2]
