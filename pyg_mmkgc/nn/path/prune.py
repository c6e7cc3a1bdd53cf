r"""Propagation through a part of the graph that a query chooses."""
from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch_geometric.utils import scatter

from pyg_mmkgc.kernels.relational import RelationalGraph, edge_messages
from pyg_mmkgc.nn.path.base import node_scores


def pruned_scores(layers: Any, mlp: Any, weights: list[Tensor],
                  graph: RelationalGraph, node: Tensor, start: Tensor,
                  num_active: int) -> Tensor:
    r"""The scores :obj:`[Q, N]` of all nodes, where only the most promising of
    the nodes that a message has reached pass messages on, as in the `"A*Net: A
    Scalable Path-based Reasoning Approach for Knowledge Graphs"
    <https://arxiv.org/abs/2206.04798>`_ paper.

    The priority of a node, eq. (7), is the sigmoid of its score so far, by
    the same :obj:`mlp`, and scales its messages, which is how it learns. Nodes
    that no message reaches keep a representation of zero.

    Args:
        layers (torch.nn.ModuleList): The
            :class:`~pyg_mmkgc.nn.path.RelationalConv` layers.
        mlp (torch.nn.Sequential): The score of a node.
        weights (list of torch.Tensor): The weights of each layer,
            :obj:`[Q, R, D]`.
        graph (RelationalGraph): The edges.
        node (torch.Tensor): The nodes of queries, :obj:`[Q]`.
        start (torch.Tensor): What they start with, :obj:`[Q, D]`.
        num_active (int): The nodes that pass messages on in a layer.
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
    r"""The nodes that messages of one query reach, and what they are then."""
    order, row, x = graph.by_source, node, start
    for layer, weight in zip(layers, weights, strict=True):
        priority = node_scores(mlp, x[None], start).sigmoid().view(-1)
        active = torch.arange(row.numel(), device=row.device)
        if row.numel() > num_active:
            # Of equal ones, the lowest ids, on any machine.
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
            # What the query starts with is one more message.
            scatter(torch.cat([message, start]), place[size:],
                    dim_size=row.numel(), reduce=layer.reduce))
    return row, x
