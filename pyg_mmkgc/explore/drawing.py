r"""The layout of drawings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from pyg_mmkgc.explore.adjacency import Adjacency, Group

#: All further relations share one colour.
NUM_COLORS = 6
# The number of members of a group to choose from, since hubs may have a
# million.
CHOICES = 200


class Spoke(NamedTuple):
    r"""A neighbour on a drawing."""
    node: int
    group: Group
    color: int


class Dot(NamedTuple):
    r"""A neighbour with its position on a drawing and its label."""
    spoke: Spoke
    x: float
    y: float
    label_x: float
    label_y: float
    anchor: str


class EgoDrawing(NamedTuple):
    r"""The drawing of a node and of some of its neighbours."""
    width: int
    height: int
    radius: int  # Of a neighbour. The node itself is larger.
    dots: list[Dot]
    #: The positions in :obj:`dots` of neighbours that a triple connects.
    edges: list[tuple[int, int]]


def choose_neighbours(adjacency: Adjacency, node: int,
                      limit: int) -> list[Spoke]:
    r"""Chooses the neighbours of a node to draw. All groups of its triples
    take turns, the largest group first, so that the drawing shows every kind
    of neighbour. Neighbours with the same relation are adjacent.
    """
    groups = adjacency.groups(node)
    taken: dict[int, None] = {}
    rest = []
    for group in groups[:limit]:
        members = adjacency.members(group, limit=CHOICES)[0]
        members.sort(key=lambda x: (-int(adjacency.degree[x]), x))
        rest.append([x for x in members if x != node])
    chosen: list[list[int]] = [[] for _ in rest]
    while len(taken) < limit and any(rest):
        for i, members in enumerate(rest):
            while members and members[0] in taken:
                members.pop(0)
            if members and len(taken) < limit:
                taken.setdefault(members[0])
                chosen[i].append(members.pop(0))
    out = []
    colors: dict[int, int] = {}
    for group, members in zip(groups, chosen, strict=False):
        for other in members:
            color = colors.setdefault(group.rel_type,
                                      min(len(colors), NUM_COLORS))
            out.append(Spoke(other, group, color))
    return sorted(out, key=lambda spoke: spoke.color)


def draw_ego(adjacency: Adjacency, spokes: Sequence[Spoke], width: int,
             height: int, below: bool) -> EgoDrawing:
    r"""Places neighbours on an ellipse.

    Args:
        adjacency (Adjacency): The triples.
        spokes (list): The neighbours.
        width (int): The width of the drawing.
        height (int): The height of the drawing.
        below (bool): If set to :obj:`True`, labels are below their dots, for
            narrow drawings, and next to them otherwise.
    """
    radius = 16
    rx = width / 2 - (48 if below else 160)
    ry = height / 2 - 44
    dots = []
    for i, spoke in enumerate(spokes):
        # Starts half a step from the top, so that no label is right above the
        # node.
        angle = 2 * math.pi * (i + 0.5) / len(spokes) - math.pi / 2
        x = width / 2 + rx * math.cos(angle)
        y = height / 2 + ry * math.sin(angle)
        if below or abs(math.cos(angle)) < 0.12:
            up = not below and y < height / 2
            place = x, y + (-radius - 9 if up else radius + 15), 'middle'
        else:
            right = x > width / 2
            place = (x + (radius + 8 if right else -radius - 8), y + 4.5,
                     'start' if right else 'end')
        dots.append(Dot(spoke, round(x, 1), round(y, 1), round(place[0], 1),
                        round(place[1], 1), place[2]))
    edges = adjacency.between([spoke.node for spoke in spokes])
    return EgoDrawing(width, height, radius, dots, edges)


def free_labels(points: Sequence[tuple[float, float]],
                texts: Sequence[str], limit: int, letter: float = 7.5,
                line: float = 20.0) -> list[int]:
    r"""Chooses points to label, such that no two labels overlap. Earlier
    points take precedence.

    Args:
        points (list[tuple]): The positions at which labels begin.
        texts (list[str]): The labels.
        limit (int): The maximum number of labels.
        letter (float, optional): The width of a letter. (default: :obj:`7.5`)
        line (float, optional): The height of a line. (default: :obj:`20.0`)
    """
    boxes: list[tuple[float, float, float]] = []
    out: list[int] = []
    for i, ((x, y), text) in enumerate(zip(points, texts, strict=True)):
        end = x + letter * len(text)
        if len(out) < limit and all(
                abs(y - other) >= line or x > right or end < left
                for left, other, right in boxes):
            boxes.append((x, y, end))
            out.append(i)
    return out
