r"""Queries with the same relation, which share most of their messages."""
from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor

from pyg_mmkgc.kernels.relational import RelationalGraph, relational_propagate
from pyg_mmkgc.nn.path.score import node_scores

# The largest part of the nodes and edges that is computed for one query.
LIMIT = 0.25


class Reach(NamedTuple):
    r"""The nodes that the messages of a query reach.

    Args:
        node (torch.Tensor): The nodes in the order of their distance from the
            node of the query, :obj:`[M]`.
        size (list): The number of nodes up to each distance :math:`0, \ldots,
            L`.
        graph (list): The edges of each iteration between the first nodes in
            this order, without edges from nodes that are not reached before.
    """
    node: Tensor
    size: list[int]
    graph: list[RelationalGraph]


def find_reach(graph: RelationalGraph, node: Tensor,
               num_layers: int) -> Optional[Reach]:
    r"""Returns the nodes within :obj:`num_layers` edges of a node :obj:`[1]`,
    or :obj:`None` if they are more than a quarter of all nodes, or have more
    than a quarter of all edges.
    """
    order, place = graph.by_source, torch.full((graph.num_nodes, ), -1)
    place[node] = 0
    size, nodes, edges, ends = [1], [node], [], [0]
    for _ in range(num_layers):
        last = nodes[-1]
        ends.append(ends[-1] + int((order.ptr[last + 1]
                                    - order.ptr[last]).sum()))
        if ends[-1] > LIMIT * graph.num_edges:
            return None
        row, edge = order.at(last)
        target = order.node[edge].long()
        edges.append((place[last][row], order.edge_type[edge], target))
        new = target[place[target] < 0].unique()
        place[new] = torch.arange(size[-1], size[-1] + new.numel())
        nodes.append(new)
        size.append(size[-1] + new.numel())
        if size[-1] > LIMIT * graph.num_nodes:
            return None
    source, kind, target = map(torch.cat, zip(*edges, strict=True))
    target = place[target]
    graphs = [RelationalGraph(source[:end], kind[:end], target[:end], count,
                              graph.num_relations)
              for end, count in zip(ends[1:], size[1:], strict=True)]
    return Reach(torch.cat(nodes), size, graphs)


def near_queries(graph: RelationalGraph, node: Tensor, num_layers: int,
                 at_once: bool) -> Iterator[dict[int, Reach]]:
    r"""Yields those queries among nodes :obj:`[Q]` that reach few nodes, by
    their position. Unless all are asked for at once, the reached nodes of a
    block of queries add up to the number of nodes at most.
    """
    block: dict[int, Reach] = {}
    total = 0
    for q, one in enumerate(node.split(1)):
        reach = find_reach(graph, one, num_layers)
        if reach is None:
            continue
        total += reach.node.numel()
        if total > graph.num_nodes and not at_once:
            yield block
            block, total = {}, reach.node.numel()
        block[q] = reach
    if block:
        yield block


def shared_scores(layers: Any, mlp: Any, weights: list[Tensor],
                  graph: RelationalGraph, reaches: list[Reach], start: Tensor,
                  others: Optional[Tensor]) -> Tensor:
    r"""Returns the scores :obj:`[Q, N]` of all nodes for queries with the same
    relation.

    Messages add up, so a message from the node of a query only changes nodes
    that it reaches. All other nodes are as if no query had a node, and are
    computed once for all queries. This is exact up to rounding, and a query's
    scores do not depend on the other queries.

    Args:
        layers (torch.nn.ModuleList): The
            :class:`~pyg_mmkgc.nn.path.RelationalConv` layers, with sums of
            messages that are linear in the representations.
        mlp (torch.nn.Sequential): The score of a node.
        weights (list[torch.Tensor]): The weights of each layer,
            :obj:`[1, R, D]`.
        graph (RelationalGraph): The edges.
        reaches (list[Reach]): The reached nodes of each query.
        start (torch.Tensor): The initial row of the queries' nodes,
            :obj:`[1, D]`.
        others (torch.Tensor, optional): The initial rows of all nodes,
            :obj:`[1, N, D]`.
    """
    node = torch.cat([reach.node for reach in reaches])
    sizes = [reach.node.numel() for reach in reaches]
    x = (start.new_zeros(1, graph.num_nodes, start.size(-1))
         if others is None else others)
    before = _parts(x, node, sizes)
    changes = [start] * len(reaches)
    for i, (layer, weight) in enumerate(zip(layers, weights, strict=True)):
        message = relational_propagate(x, weight, graph, layer.message)
        x = layer.update(x, message)
        received, after = _parts(message, node, sizes), _parts(x, node, sizes)
        for q, reach in enumerate(reaches):
            size = reach.size[i + 1]
            change = changes[q]
            change = torch.cat([change, change.new_zeros(
                size - change.size(0), change.size(1))])
            extra = relational_propagate(change[None], weight, reach.graph[i],
                                         layer.message)[0]
            # The initial row of the query is an additional message.
            extra = torch.cat([extra[:1] + start, extra[1:]])
            changes[q] = layer.update(
                before[q][:size] + change,
                received[q][:size] + extra) - after[q][:size]
        before = after
    shared = node_scores(mlp, x, start)[0]
    return torch.stack([
        shared.index_put((reach.node, ), node_scores(
            mlp, (rows + change)[None], start)[0])
        for reach, rows, change in zip(reaches, before, changes, strict=True)])


def _parts(x: Tensor, node: Tensor, sizes: list[int]) -> tuple[Tensor, ...]:
    r"""Returns the rows of the nodes of each query."""
    return x[0].index_select(0, node).split(sizes)
