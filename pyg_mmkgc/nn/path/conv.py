from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import LayerNorm, Linear

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.kernels.host import on_host, to_device
from pyg_mmkgc.kernels.norm import norm_relu_add
from pyg_mmkgc.kernels.relational import (
    MESSAGES,
    REDUCTIONS,
    RelationalGraph,
    complex_product,
    relational_propagate,
)


class RelationalConv(torch.nn.Module):
    r"""One Bellman-Ford iteration of the `"Neural Bellman-Ford Networks: A
    General Graph Neural Network Framework for Link Prediction"
    <https://arxiv.org/abs/2106.06935>`_ paper (eq. (4)), with a skip
    connection.

    .. math::
        \mathbf{m}_v &= \bigoplus_{(u, r, v) \in \mathcal{E}}
        \mathbf{w}_r \odot \mathbf{x}_u \oplus \mathbf{x}^{(0)}_v

        \mathbf{x}'_v &= \mathrm{ReLU}(\mathrm{LayerNorm}(\mathbf{W}
        [\mathbf{x}_v ; \mathbf{m}_v] + \mathbf{b})) + \mathbf{x}_v

    Args:
        channels (int): The number of channels :obj:`D` of a node.
        message (str, optional): The operator :math:`\odot`, as for
            :func:`~pyg_mmkgc.kernels.relational.relational_propagate`.
            (default: :obj:`"product"`)
        reduce (str, optional): The operator :math:`\bigoplus`, either
            :obj:`"sum"`, :obj:`"mean"` or :obj:`"max"`.
            (default: :obj:`"sum"`)

    Raises:
        ModelError: If :obj:`message` or :obj:`reduce` is unknown.
    """
    def __init__(self, channels: int, message: str = 'product',
                 reduce: str = 'sum') -> None:
        super().__init__()
        for name, value, choices in (('message', message, MESSAGES),
                                     ('reduce', reduce, REDUCTIONS)):
            if value not in choices:
                raise ModelError(f"Expected '{name}' to be one of {choices} "
                                 f'(got {value!r})')
        self.message, self.reduce = message, reduce
        self.linear = Linear(2 * channels, channels)
        self.layer_norm = LayerNorm(channels)

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        self.linear.reset_parameters()
        self.layer_norm.reset_parameters()

    def forward(self, x: Tensor, weight: Tensor, graph: RelationalGraph,
                node: Tensor, start: Tensor) -> Tensor:
        r"""Returns the next representations :obj:`[Q, N, D]`.

        Args:
            x (torch.Tensor): The representations :obj:`[Q, N, D]`.
            weight (torch.Tensor): The relations :math:`\mathbf{w}`,
                :obj:`[Q, R, D]`.
            graph (RelationalGraph): The edges.
            node (torch.Tensor): The node :obj:`[Q]` of each query, the only
                node with a nonzero :math:`\mathbf{x}^{(0)}`.
            start (torch.Tensor): The row :obj:`[Q, D]` of
                :math:`\mathbf{x}^{(0)}` at this node.
        """
        return self.update(x, self.aggregate(x, weight, graph, node, start))

    def first(self, weight: Tensor, graph: RelationalGraph, node: Tensor,
              start: Tensor) -> Tensor:
        r"""Returns the result of the first iteration from
        :math:`\mathbf{x}^{(0)}`. The arguments are the same as in
        :meth:`forward`.
        """
        Q, N, D = node.numel(), graph.num_nodes, start.size(-1)
        own = torch.arange(Q, device=node.device)
        if self.reduce != 'sum' or self.message == 'sum':
            x = start.new_zeros(Q, N, D).index_put((own, node), start)
            return self(x, weight, graph, node, start)
        # Zero rows send zero messages, so all other nodes are equal.
        order = graph.by_source
        query, edge = order.at(node)
        factor = weight[query, order.edge_type[edge]]
        message = (start[query] * factor if self.message == 'product' else
                   complex_product(factor, start[query]))
        reached_at = torch.cat([
            torch.arange(Q) * N + on_host(node),
            on_host(query) * N + on_host(order.node)[on_host(edge)]])
        row, place = (to_device(x, node.device) for x in reached_at.unique(
            return_inverse=True))
        zero = start.new_zeros(row.numel(), D)
        reached = self.update(
            zero.index_put((place[:Q], ), start),
            zero.index_add(0, place, torch.cat([start, message])))
        idle = self.update(zero[:1], zero[:1])
        return idle.expand(Q * N, D).index_put((row, ), reached).view(Q, N, D)

    def aggregate(self, x: Tensor, weight: Tensor, graph: RelationalGraph,
                  node: Tensor, start: Tensor) -> Tensor:
        r"""Returns the messages :math:`\mathbf{m}` :obj:`[Q, N, D]`."""
        out = relational_propagate(x, weight, graph, self.message,
                                   self.reduce)
        query = torch.arange(node.numel(), device=node.device)
        if self.reduce == 'sum':
            return out.index_put_((query, node), start, accumulate=True)
        degree = graph.degree.to(x.dtype).view(-1, 1)
        if self.reduce == 'mean':  # The mean over the edges and x0.
            out = out * (degree / (degree + 1))
            return out.index_put_((query, node), start / (degree[node] + 1),
                                  accumulate=True)
        own = torch.where(degree[node] > 0,
                          torch.maximum(out[query, node], start), start)
        # Elsewhere, x0 is zero.
        return out.relu().index_put((query, node), own)

    def update(self, x: Tensor, message: Tensor) -> Tensor:
        r"""Returns the next representations, given the messages."""
        D = x.size(-1)
        rows = x.view(-1, D)
        # Two products instead of a concatenation.
        from_x, from_message = self.linear.weight.split(D, dim=1)
        out = product(rows, from_x, self.linear.bias)
        out = product(message.view(-1, D), from_message, out)
        norm = self.layer_norm
        return norm_relu_add(out, rows, norm.weight, norm.bias,
                             norm.eps).view_as(x)


def product(x: Tensor, weight: Tensor, other: Tensor) -> Tensor:
    r"""Returns :math:`\mathbf{x} \mathbf{W}^{\top}` plus another tensor, whose
    memory is reused if it has the shape of the result. Under autocast, only
    the product is in half precision.

    Args:
        x (torch.Tensor): The rows, :obj:`[M, F]`.
        weight (torch.Tensor): The weight, :obj:`[D, F]`.
        other (torch.Tensor): The other tensor, :obj:`[D]` or :obj:`[M, D]`.
    """
    if torch.is_autocast_enabled(x.device.type):
        out = F.linear(x, weight)
        return other.add_(out) if other.dim() == 2 else out.to(x.dtype) + other
    if other.dim() == 2:
        return other.addmm_(x, weight.t())
    return torch.addmm(other, x, weight.t())
