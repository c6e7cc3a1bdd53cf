r"""Message passing through the part of a graph that matters to a query."""
from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch_geometric.utils import scatter

from pyg_mmkgc.kernels.relational import RelationalGraph, edge_messages
from pyg_mmkgc.nn.path.score import node_scores


def pruned_scores(layers: Any, mlp: Any, weights: list[Tensor],
                  graph: RelationalGraph, node: Tensor, start: Tensor,
                  num_active: int) -> Tensor:
    r"""Returns the scores :obj:`[Q, N]` of all nodes, with messages from the
    most promising nodes only, as in the `"A*Net: A Scalable Path-based
    Reasoning Approach for Knowledge Graphs"
    <https://arxiv.org/abs/2206.04798>`_ paper.

    The priority of a node (eq. (7)) is the sigmoid of its current score from
    the same :obj:`mlp`. It scales the messages of the node in order to receive
    a gradient. Nodes that are not reached by any message have a representation
    of zero.

    Args:
        layers (torch.nn.ModuleList): The
            :class:`~pyg_mmkgc.nn.path.RelationalConv` layers.
        mlp (torch.nn.Sequential): The score of a node.
        weights (list[torch.Tensor]): The weights of each layer,
            :obj:`[Q, R, D]`.
        graph (RelationalGraph): The edges.
        node (torch.Tensor): The nodes of queries, :obj:`[Q]`.
        start (torch.Tensor): The initial rows of these nodes, :obj:`[Q, D]`.
        num_active (int): The number of nodes that pass messages on in a layer.
    """
    scores = []
    for q in range(node.numel()):
        query = slice(q, q + 1)
        row, x = _reach(layers, mlp, [weight[query] for weight in weights],
                        graph, node[query], start[query], num_active)
        idle = node_scores(mlp, torch.zeros_like(start[query, None]),
                           start[query])
        scores.append(idle.expand(1, graph.num_nodes).index_put(
            (row.new_zeros(1), row),
            node_scores(mlp, x[None], start[query]).view(-1)))
    return torch.cat(scores)


def _reach(layers: Any, mlp: Any, weights: list[Tensor],
           graph: RelationalGraph, node: Tensor, start: Tensor,
           num_active: int) -> tuple[Tensor, Tensor]:
    r"""Returns the nodes that one query reaches, and their representations."""
    order, row, x = graph.by_source, node, start
    for layer, weight in zip(layers, weights, strict=True):
        priority = node_scores(mlp, x[None], start).sigmoid().view(-1)
        active = torch.arange(row.numel(), device=row.device)
        if row.numel() > num_active:
            # A stable sort favours the lowest ids among equal priorities.
            active = priority.argsort(descending=True, stable=True)
            active = active[:num_active]
        place, edge = order.at(row[active])
        message = edge_messages((x * priority.view(-1, 1))[None], weight,
                                active[place], order.edge_type[edge],
                                layer.message)[:, 0]
        size, old = row.numel(), x
        row, place = torch.cat([row, order.node[edge], node]).unique(
            return_inverse=True)
        x = layer.update(
            old.new_zeros(row.numel(), old.size(1)).index_put(
                (place[:size], ), old),
            # The initial row of the query is an additional message.
            scatter(torch.cat([message, start]), place[size:],
                    dim_size=row.numel(), reduce=layer.reduce))
    return row, x
