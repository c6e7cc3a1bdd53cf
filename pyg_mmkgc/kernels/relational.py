r"""Relational message passing: sums, means and maxima of messages along typed
edges, for a batch of queries, without a row per edge and query.

On a CPU with :obj:`numba` (:obj:`pip install pyg_mmkgc[fast]`), compiled loops
pass over edges that are sorted by their target, and on a GPU with
:obj:`triton`, kernels do so for sums and means. Otherwise, blocks of edges are
reduced by :func:`torch_geometric.utils.segment`, which uses torch-scatter if
it is installed. All of them return the same values.
"""
from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch_geometric.utils import segment

from pyg_mmkgc.kernels.backend import (
    BLOCK,
    arrays,
    numba_loops,
    triton_kernels,
)
from pyg_mmkgc.kernels.host import on_host, to_device

MESSAGES = ('product', 'sum', 'rotation')
REDUCTIONS = ('sum', 'mean', 'max')
# The number of parts into which a graph is split for threads.
PARTS = 32


class Order(NamedTuple):
    r"""The edges of a graph, sorted by one of their ends."""
    ptr: Tensor  # [N + 1]; node v has the edges ptr[v], ..., ptr[v + 1] - 1.
    node: Tensor  # The other end, [E].
    edge_type: Tensor  # [E]
    edge: Tensor  # The position of each edge in the graph, [E].

    def without(self, drop: Tensor) -> Order:
        r"""Returns the order without the edges in a mask over the edges of the
        graph.
        """
        keep = ~drop[self.edge]
        count = torch.cat([keep.new_zeros(1, dtype=torch.long),
                           keep.cumsum(0)])
        return Order(count[self.ptr], self.node[keep], self.edge_type[keep],
                     self.edge[keep])

    def at(self, node: Tensor) -> tuple[Tensor, Tensor]:
        r"""Returns the edges of nodes :obj:`[Q]`, as the position of the node
        among the nodes and the position of the edge in the order.
        """
        ptr, device, node = on_host(self.ptr), node.device, on_host(node)
        first, count = ptr[node], ptr[node + 1] - ptr[node]
        query = torch.repeat_interleave(count)
        offset = torch.arange(query.numel()) - (
            count.cumsum(0) - count)[query]
        return (to_device(query, device),
                to_device(first[query] + offset, device))

    @property
    def start(self) -> Tensor:
        r"""The first nodes of parts with about the same size."""
        size = self.ptr + torch.arange(self.ptr.numel(),
                                       device=self.ptr.device)
        step = torch.arange(PARTS + 1, device=self.ptr.device)
        return torch.searchsorted(size, step * size[-1] // PARTS)


class RelationalGraph:
    r"""The typed edges of message passing.

    Args:
        source (torch.Tensor): The nodes that messages come from, :obj:`[E]`.
        edge_type (torch.Tensor): The relations of edges, :obj:`[E]`.
        target (torch.Tensor): The nodes that messages go to, :obj:`[E]`.
        num_nodes (int): The number of nodes.
        num_relations (int): The number of relations.

    Raises:
        IndexError: If a node or relation is out of range.
    """
    def __init__(self, source: Tensor, edge_type: Tensor, target: Tensor,
                 num_nodes: int, num_relations: int) -> None:
        for name, x, size in (('source', source, num_nodes),
                              ('edge_type', edge_type, num_relations),
                              ('target', target, num_nodes)):
            # Compiled loops would read memory out of bounds.
            if x.numel() > 0 and not (
                    0 <= int(x.min()) and int(x.max()) < size):
                raise IndexError(
                    f"Expected '{name}' to lie in [0, {size}) (got "
                    f'{int(x.min())} to {int(x.max())})')
        self.source, self.edge_type, self.target = source, edge_type, target
        self.num_nodes, self.num_relations = num_nodes, num_relations

    @property
    def num_edges(self) -> int:
        r"""The number of edges."""
        return self.source.numel()

    @property
    def device(self) -> torch.device:
        r"""The device of the edges."""
        return self.source.device

    @cached_property
    def by_target(self) -> Order:
        r"""The edges sorted by their target."""
        return _sorted(self.target, self.source, self.edge_type,
                       self.num_nodes)

    @cached_property
    def by_source(self) -> Order:
        r"""The edges sorted by their source."""
        return _sorted(self.source, self.target, self.edge_type,
                       self.num_nodes)

    @cached_property
    def degree(self) -> Tensor:
        r"""The number of messages :obj:`[N]` that each node receives."""
        return self.by_target.ptr.diff()

    def without(self, drop: Tensor) -> RelationalGraph:
        r"""Returns the graph without some edges.

        Args:
            drop (torch.Tensor): The mask :obj:`[E]` of the edges to leave out.
        """
        keep = ~drop
        out = RelationalGraph.__new__(RelationalGraph)
        out.source, out.edge_type, out.target = (
            self.source[keep], self.edge_type[keep], self.target[keep])
        out.num_nodes, out.num_relations = self.num_nodes, self.num_relations
        # Every training step drops edges, so they are not sorted again.
        place = keep.cumsum(0) - 1
        for name in ('by_target', 'by_source'):
            order = getattr(self, name).without(drop)
            vars(out)[name] = order._replace(edge=place[order.edge])
        return out

    def to(self, device: torch.device) -> RelationalGraph:
        r"""Returns the graph on another device, without waiting for it."""
        out = RelationalGraph.__new__(RelationalGraph)
        out.source, out.edge_type, out.target = (
            to_device(x, device) for x in (
                self.source, self.edge_type, self.target))
        out.num_nodes, out.num_relations = self.num_nodes, self.num_relations
        for name in ('by_target', 'by_source'):
            vars(out)[name] = Order(*(to_device(x, device)
                                      for x in getattr(self, name)))
        return out

    @cached_property
    def on_host(self) -> RelationalGraph:
        r"""The graph in the memory of the host."""
        if self.device.type == 'cpu':
            return self
        out = RelationalGraph.__new__(RelationalGraph)
        out.source, out.edge_type, out.target = map(
            on_host, (self.source, self.edge_type, self.target))
        out.num_nodes, out.num_relations = self.num_nodes, self.num_relations
        for name in ('by_target', 'by_source'):
            vars(out)[name] = Order(*map(on_host, getattr(self, name)))
        return out

    def __repr__(self) -> str:
        return (f'{type(self).__name__}(num_nodes={self.num_nodes}, '
                f'num_relations={self.num_relations}, '
                f'num_edges={self.num_edges})')


def _sorted(end: Tensor, other: Tensor, edge_type: Tensor,
            num_nodes: int) -> Order:
    edge = end.argsort(stable=True)
    count = torch.bincount(end, minlength=num_nodes)
    ptr = torch.cat([count.new_zeros(1), count.cumsum(0)])
    # 32-bit integers, since memory bandwidth limits the loops.
    return Order(ptr, other[edge].int(), edge_type[edge].int(), edge)


def relational_propagate(x: Tensor, weight: Tensor, graph: RelationalGraph,
                         message: str = 'product',
                         reduce: str = 'sum') -> Tensor:
    r"""Passes messages of a batch of queries along the edges of a graph.

    .. math::
        \mathbf{x}'_{q,v} = \bigoplus_{(u, r, v) \in \mathcal{E}}
        \mathbf{w}_{q,r} \odot \mathbf{x}_{q,u}

    The result of a node without edges is zero. Among equal largest messages,
    the message of the first edge receives the gradient.

    Args:
        x (torch.Tensor): The representations of nodes, :obj:`[Q, N, D]`.
        weight (torch.Tensor): The representations of relations,
            :obj:`[Q, R, D]`.
        graph (RelationalGraph): The edges.
        message (str, optional): The operator :math:`\odot`, either
            :obj:`"product"`, :obj:`"sum"` or :obj:`"rotation"`, which is the
            complex product of rows :obj:`[re | im]`.
            (default: :obj:`"product"`)
        reduce (str, optional): The operator :math:`\bigoplus`, either
            :obj:`"sum"`, :obj:`"mean"` or :obj:`"max"`.
            (default: :obj:`"sum"`)

    Returns:
        The reduced messages, :obj:`[Q, N, D]`.

    Raises:
        ValueError: If a shape, the message or the reduction is invalid.
    """
    if message not in MESSAGES or reduce not in REDUCTIONS:
        raise ValueError(f"Expected 'message' to be one of {MESSAGES} and "
                         f"'reduce' one of {REDUCTIONS} (got {message!r} and "
                         f'{reduce!r})')
    sizes = graph.num_nodes, graph.num_relations
    if (x.dim() != 3 or weight.dim() != 3 or x.size(0) != weight.size(0)
            or (x.size(1), weight.size(1)) != sizes
            or x.size(2) != weight.size(2)):
        raise ValueError(
            f"Expected 'x' and 'weight' of shapes [Q, {sizes[0]}, D] and "
            f'[Q, {sizes[1]}, D] (got {list(x.shape)} and '
            f'{list(weight.shape)})')
    if message == 'rotation' and x.size(2) % 2:
        raise ValueError("Expected an even number of channels for 'rotation' "
                         f'(got {x.size(2)})')
    if reduce == 'max':
        return _Max.apply(x, weight, graph, message)
    out = _Sum.apply(x, weight, graph, message)
    if reduce == 'mean':
        degree = graph.degree.clamp(min=1).to(out.dtype)
        out = out / degree.view(-1, 1)
    return out


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, graph: RelationalGraph,
                message: str) -> Tensor:
        x, weight = x.contiguous(), weight.contiguous()
        ctx.save_for_backward(x, weight)
        ctx.graph, ctx.message = graph, message
        return _sum(x, weight, graph.by_target, message)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Optional[Tensor], ...]:
        x, weight = ctx.saved_tensors
        return (*_sum_backward(x, weight, grad.contiguous(), ctx.graph,
                               ctx.message, ctx.needs_input_grad), None, None)


class _Max(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, graph: RelationalGraph,
                message: str) -> Tensor:
        x, weight = x.contiguous(), weight.contiguous()
        out, arg = _max(x, weight, graph.by_target, message)
        ctx.save_for_backward(x, weight, arg)
        ctx.graph, ctx.message = graph, message
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Optional[Tensor], ...]:
        x, weight, arg = ctx.saved_tensors
        return (*_max_backward(x, weight, grad.contiguous(), arg,
                               ctx.graph.by_target, ctx.message), None, None)


def _code(loops: Any, message: str) -> int:
    return int(getattr(loops, message.upper()))


def _sum(x: Tensor, weight: Tensor, order: Order, message: str) -> Tensor:
    loops = numba_loops('relational', x, weight)
    kernels = triton_kernels('relational', x, weight)
    if kernels is not None:
        out = torch.empty_like(x)
        kernels.sum_messages(x, weight, order, message, out)
        return out
    if loops is None:
        out = torch.zeros_like(x)
        for first, last, part in _blocks(order, x):
            out[:, first:last] = _reduce(
                edge_messages(x, weight, *part[1:3], message), part.ptr,
                'sum')
        return out
    out = torch.empty_like(x)
    loops.sum_messages(*arrays(x, weight, *order[:3], order.start),
                       _code(loops, message), out.numpy())
    return out


def _max(x: Tensor, weight: Tensor, order: Order,
         message: str) -> tuple[Tensor, Tensor]:
    loops = numba_loops('relational', x, weight)
    arg = torch.full(x.shape, -1, dtype=torch.int, device=x.device)
    if loops is not None:
        out = torch.empty_like(x)
        loops.max_messages(*arrays(x, weight, *order[:3], order.start),
                           _code(loops, message), *arrays(out, arg))
        return out, arg
    out = torch.zeros_like(x)
    for first, last, part in _blocks(order, x):
        rows = edge_messages(x, weight, *part[1:3], message)
        best = _reduce(rows, part.ptr, 'max')
        out[:, first:last] = best
        # The first edge with the largest message.
        degree = part.ptr.diff()
        target = torch.repeat_interleave(degree,
                                         output_size=part.edge.numel())
        edge = part.edge.view(-1, 1, 1).expand_as(rows)
        lost = (rows != best.transpose(0, 1)[target]) & ~rows.isnan()
        place = _reduce(-edge.masked_fill(lost, order.edge.numel()).double(),
                        part.ptr, 'max')
        found = (-place).to(arg.dtype)
        arg[:, first:last] = found.masked_fill((degree == 0).view(-1, 1), -1)
    return out, arg


def _sum_backward(x: Tensor, weight: Tensor, grad: Tensor,
                  graph: RelationalGraph, message: str,
                  needs: tuple[bool, ...]
                  ) -> tuple[Optional[Tensor], Optional[Tensor]]:
    back = {'product': 'product', 'sum': 'copy',
            'rotation': 'inverse'}[message]
    loops, order = numba_loops('relational', x, weight, grad), graph.by_source
    if loops is None:
        to_weight = (_sum_backward_weight(x, weight, grad, graph, message)
                     if needs[1] else None)
        return (_sum(grad, weight, order, back) if needs[0] else None,
                to_weight)
    out = torch.zeros_like(weight)
    # Both cases sum in the same order.
    if needs[0] and needs[1] and x.size(0) >= torch.get_num_threads():
        to_x = torch.empty_like(x)
        loops.sum_backward(*arrays(x, weight, grad, *order[:3]),
                           _code(loops, message), _code(loops, back),
                           *arrays(to_x, out))
        return to_x, out
    if needs[1]:
        parts = max(1, torch.get_num_threads() // max(1, x.size(0)))
        loops.sum_backward_weight(*arrays(x, grad, *order[:3]),
                                  _code(loops, message), parts, out.numpy())
    return _sum(grad, weight, order, back) if needs[0] else None, out


def _sum_backward_weight(x: Tensor, weight: Tensor, grad: Tensor,
                         graph: RelationalGraph, message: str) -> Tensor:
    out = torch.zeros_like(weight)
    kernels = triton_kernels('relational', x, weight, grad)
    if kernels is not None:
        kernels.sum_backward_weight(x, grad, graph.by_source, message, out)
        return out
    for first, last, part in _blocks(graph.by_target, x):
        target = torch.repeat_interleave(part.ptr.diff(),
                                         output_size=part.edge.numel())
        rows = grad[:, first:last].transpose(0, 1)[target]
        _, to_weight = _message_grads(x, weight, part, message, rows)
        out.index_add_(1, part.edge_type, to_weight.transpose(0, 1))
    return out


def _max_backward(x: Tensor, weight: Tensor, grad: Tensor, arg: Tensor,
                  order: Order, message: str) -> tuple[Tensor, Tensor]:
    grads = torch.zeros_like(x), torch.zeros_like(weight)
    loops = numba_loops('relational', x, weight, grad)
    if loops is not None:
        loops.max_backward(*arrays(x, weight, grad, arg, order.node,
                                    order.edge_type), _code(loops, message),
                           *arrays(*grads))
        return grads
    for first, last, part in _blocks(order, x):
        target = torch.repeat_interleave(part.ptr.diff(),
                                         output_size=part.edge.numel())
        mine = (arg[:, first:last].transpose(0, 1)[target]
                == part.edge.view(-1, 1, 1))
        rows = grad[:, first:last].transpose(0, 1)[target] * mine
        to_x, to_weight = _message_grads(x, weight, part, message, rows)
        grads[0].index_add_(1, part.node, to_x.transpose(0, 1))
        grads[1].index_add_(1, part.edge_type, to_weight.transpose(0, 1))
    return grads


def _blocks(order: Order, x: Tensor) -> Iterator[tuple[int, int, Order]]:
    r"""Yields blocks of nodes with all their edges, which keep their position
    in the order.
    """
    size = max(1, BLOCK // max(1, x.size(0) * x.size(2)))
    ptr, first = on_host(order.ptr), 0
    while first < ptr.numel() - 1:
        limit = ptr[first] + size
        last = int(torch.searchsorted(ptr, limit, right=True)) - 1
        last = min(max(last, first + 1), ptr.numel() - 1)
        low, high = int(ptr[first]), int(ptr[last])
        edges = torch.arange(low, high, device=x.device)
        yield first, last, Order(
            order.ptr[first:last + 1] - low, order.node[low:high],
            order.edge_type[low:high], edges)
        first = last


def _reduce(rows: Tensor, ptr: Tensor, reduce: str) -> Tensor:
    r"""Reduces rows :obj:`[E, Q, D]` of edges to nodes :obj:`[Q, N, D]`."""
    if rows.numel() == 0:
        return rows.new_zeros(rows.size(1), ptr.numel() - 1, rows.size(2))
    out = segment(rows.flatten(1), ptr, reduce)
    return out.view(-1, *rows.shape[1:]).transpose(0, 1)


def edge_messages(x: Tensor, weight: Tensor, node: Tensor, edge_type: Tensor,
                  message: str = 'product') -> Tensor:
    r"""Returns the individual messages :obj:`[E, Q, D]` of edges from nodes
    :obj:`[E]`. The other arguments are the same as in
    :func:`relational_propagate`.
    """
    rows = x.transpose(0, 1)[node]
    if message == 'copy':
        return rows
    scale = weight.transpose(0, 1)[edge_type]
    if message == 'product':
        return scale * rows
    if message == 'sum':
        return scale + rows
    return complex_product(scale, rows, conjugate=message == 'inverse')


def _message_grads(x: Tensor, weight: Tensor, part: Order, message: str,
                   grad: Tensor) -> tuple[Tensor, Tensor]:
    r"""Returns the gradients :obj:`[E, Q, D]` of sources and weights."""
    if message == 'sum':
        return grad, grad
    rows = x.transpose(0, 1)[part.node]
    scale = weight.transpose(0, 1)[part.edge_type]
    if message == 'product':
        return grad * scale, grad * rows
    return (complex_product(scale, grad, conjugate=True),
            complex_product(rows, grad, conjugate=True))


def complex_product(a: Tensor, b: Tensor,
                    conjugate: bool = False) -> Tensor:
    r"""Returns the product of complex rows :obj:`[re | im]`, with :obj:`a` or
    its conjugate.
    """
    re, im = a.chunk(2, dim=-1)
    if conjugate:
        im = -im
    x, y = b.chunk(2, dim=-1)
    return torch.cat([re * x - im * y, re * y + im * x], dim=-1)
