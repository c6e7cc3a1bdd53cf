r"""The GPU kernels behind the sums of :mod:`pyg_mmkgc.kernels.relational`
(requires :obj:`triton`).

A program computes a node of one query. It reads each message once, and keeps
the sum in registers.
"""
from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

# The operators of messages.
PRODUCT = tl.constexpr(0)
SUM = tl.constexpr(1)
COPY = tl.constexpr(2)
ROTATION = tl.constexpr(3)
INVERSE = tl.constexpr(4)
CODES = {'product': 0, 'sum': 1, 'copy': 2, 'rotation': 3, 'inverse': 4}
# The number of edges that are read at once, since a node with many edges would
# otherwise wait for each of them in turn.
EDGES = 16
# The maximum number of channels of a program.
CHANNELS = 64

# The compiler of Triton resolves annotations, so that kernels have none.


@triton.jit
def _product(a, b, c, d, CONJUGATE: tl.constexpr):
    r"""Returns the product of :math:`a + b i` or its conjugate with
    :math:`c + d i`.
    """
    if CONJUGATE:
        b = -b
    return a * c - b * d, a * d + b * c


@triton.jit
def _sum(x, weight, ptr, node, edge_type, out, num_nodes, num_relations,
         size, half, MESSAGE: tl.constexpr, EDGES: tl.constexpr,
         CHANNELS: tl.constexpr):
    v, q = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    d = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    inside = d < half
    first, last = tl.load(ptr + v), tl.load(ptr + v + 1)
    re = tl.zeros([CHANNELS], x.dtype.element_ty)
    im = tl.zeros([CHANNELS], x.dtype.element_ty)
    for start in range(first, last, EDGES):
        e = start + tl.arange(0, EDGES)
        valid = e < last
        u = tl.load(node + e, valid, 0).to(tl.int64)
        r = tl.load(edge_type + e, valid, 0).to(tl.int64)
        mask = valid[:, None] & inside[None, :]
        row = x + ((q * num_nodes + u) * size)[:, None] + d[None, :]
        scale = weight + ((q * num_relations + r) * size)[:, None] + d[None, :]
        a = tl.load(row, mask, 0.0)
        if MESSAGE == PRODUCT:
            re += tl.sum(tl.load(scale, mask, 0.0) * a, 0)
        elif MESSAGE == SUM:
            re += tl.sum(tl.load(scale, mask, 0.0) + a, 0)
        elif MESSAGE == COPY:
            re += tl.sum(a, 0)
        else:
            real, imag = _product(
                tl.load(scale, mask, 0.0), tl.load(scale + half, mask, 0.0),
                a, tl.load(row + half, mask, 0.0), MESSAGE == INVERSE)
            re += tl.sum(real, 0)
            im += tl.sum(imag, 0)
    place = out + (q * num_nodes + v) * size + d
    tl.store(place, re, inside)
    if MESSAGE == ROTATION or MESSAGE == INVERSE:
        tl.store(place + half, im, inside)


@triton.jit
def _sum_backward_weight(x, grad, ptr, node, edge_type, out, num_nodes,
                         num_relations, size, half, MESSAGE: tl.constexpr,
                         EDGES: tl.constexpr, CHANNELS: tl.constexpr):
    u, q = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    d = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    inside = d < half
    first, last = tl.load(ptr + u), tl.load(ptr + u + 1)
    own = x + (q * num_nodes + u) * size + d
    for start in range(first, last, EDGES):
        e = start + tl.arange(0, EDGES)
        valid = e < last
        v = tl.load(node + e, valid, 0).to(tl.int64)
        r = tl.load(edge_type + e, valid, 0).to(tl.int64)
        mask = valid[:, None] & inside[None, :]
        row = grad + ((q * num_nodes + v) * size)[:, None] + d[None, :]
        place = out + ((q * num_relations + r) * size)[:, None] + d[None, :]
        g = tl.load(row, mask, 0.0)
        if MESSAGE == SUM:
            tl.atomic_add(place, g, mask)
        else:
            a = tl.load(own, inside, 0.0)[None, :]
            if MESSAGE == PRODUCT:
                tl.atomic_add(place, a * g, mask)
            else:
                b = tl.load(own + half, inside, 0.0)[None, :]
                real, imag = _product(
                    a, b, g, tl.load(row + half, mask, 0.0), True)
                tl.atomic_add(place, real, mask)
                tl.atomic_add(place + half, imag, mask)


def _launch(kernel: Any, x: Tensor, other: Tensor, order: Any, out: Tensor,
            num_relations: int, message: str) -> None:
    Q, N, D = x.shape
    if x.numel() == 0:
        return
    half = D // 2 if message in ('rotation', 'inverse') else D
    channels = min(CHANNELS, triton.next_power_of_2(half))
    with torch.cuda.device_of(x):
        kernel[N, Q, triton.cdiv(half, channels)](
            x, other, order.ptr, order.node, order.edge_type, out, N,
            num_relations, D, half, CODES[message], EDGES, channels)


def sum_messages(x: Tensor, weight: Tensor, order: Any, message: str,
                 out: Tensor) -> None:
    r"""Writes the sums :obj:`[Q, N, D]` of the messages of edges that are
    sorted by their target.
    """
    _launch(_sum, x, weight, order, out, weight.size(1), message)


def sum_backward_weight(x: Tensor, grad: Tensor, order: Any, message: str,
                        out: Tensor) -> None:
    r"""Adds the gradients :obj:`[Q, R, D]` of relations, given edges that are
    sorted by their source. The order of the sum is not fixed.
    """
    _launch(_sum_backward_weight, x, grad, order, out, out.size(1), message)
