r"""Scores of triples as pure functions of representations.

Every function broadcasts over leading dimensions: with head and tail
representations of shape :obj:`[*, C]` and a relation of shape
:obj:`[*, C_r]` it returns :obj:`[*]`. Distances are returned as distances;
a model subtracts them from its margin, so that a higher score is better.

Complex rows of :obj:`D` channels are stored as :obj:`[re | im]`, :obj:`2 * D`
real channels wide.
"""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Elements of the largest tensor that is made at once: 64 MiB of floats.
BLOCK = 1 << 24
# Queries and rows of a table in a tile of inner products.
TILE = 256, 512


def rotate(x: Tensor, phase: Tensor, inverse: bool = False) -> Tensor:
    r"""Rotates complex rows by :math:`e^{i\theta}`, the :math:`\circ` of
    eq. (6).

    Args:
        x (torch.Tensor): Complex rows as :obj:`[re | im]`, :obj:`[*, 2 * D]`.
        phase (torch.Tensor): The angles in radians, :obj:`[*, D]`.
        inverse (bool, optional): If set to :obj:`True`, rotates back, by
            :math:`e^{-i\theta}`. (default: :obj:`False`)
    """
    re, im = x.chunk(2, dim=-1)
    cos, sin = phase.cos(), phase.sin()
    if inverse:
        sin = -sin
    return torch.cat([re * cos - im * sin, re * sin + im * cos], dim=-1)


def moduli_distance(x: Tensor, y: Tensor, group: int = 2) -> Tensor:
    r"""The sum of the Euclidean norms of groups of channels,
    :math:`\sum_i \| x_i - y_i \|_2`, of rows :obj:`[*, group * S]`, with shape
    :obj:`[*]`. Channel :obj:`j` of group :obj:`i` is at :obj:`j * S + i`.

    With groups of one channel it is the :math:`L_1` distance, of two the sum
    of complex moduli of rows :obj:`[re | im]`, of more that of blocks. The
    gradient of a norm at zero is zero.
    """
    diff = x - y
    if group == 1:
        return diff.abs().sum(dim=-1)
    # sqrt has no gradient at zero; the clamp gives it a zero one there.
    return _square_moduli(diff, group).clamp_min(
        torch.finfo(x.dtype).tiny).sqrt().sum(dim=-1)


def moduli(x: Tensor, group: int) -> Tensor:
    r"""The Euclidean norms :obj:`[*, S]` of the groups of channels of rows
    :obj:`[*, group * S]`, see :func:`moduli_distance`.
    """
    return x.abs() if group == 1 else _square_moduli(x, group).sqrt()


def _square_moduli(x: Tensor, group: int) -> Tensor:
    if group > 4:
        return x.unflatten(-1, (group, -1)).square().sum(dim=-2)
    first, *rest = x.chunk(group, dim=-1)
    out = first * first
    for part in rest:
        out = out + part * part
    return out


def translation_distance(head: Tensor, rel: Tensor, tail: Tensor,
                         p: float = 1.0) -> Tensor:
    r"""The distance :math:`\| \mathbf{h} + \mathbf{r} - \mathbf{t} \|_p` of
    `TransE <https://papers.nips.cc/paper/2013/hash/
    1cecc7a77928ca8133fa24680a88d2f9-Abstract.html>`_, all :obj:`[*, D]`.
    """
    return torch.linalg.vector_norm(head + rel - tail, ord=p, dim=-1)


def rotation_distance(head: Tensor, phase: Tensor, tail: Tensor) -> Tensor:
    r"""The distance :math:`\sum_i |h_i e^{i\theta_i} - t_i|` of `RotatE
    <https://arxiv.org/abs/1902.10197>`_ (eq. (6) of AdaMF-MAT).

    Args:
        head (torch.Tensor): Complex rows, :obj:`[*, 2 * D]`.
        phase (torch.Tensor): The relation's angles, :obj:`[*, D]`.
        tail (torch.Tensor): Complex rows, :obj:`[*, 2 * D]`.
    """
    return moduli_distance(rotate(head, phase), tail)


def diagonal_score(head: Tensor, rel: Tensor, tail: Tensor) -> Tensor:
    r"""The form :math:`\sum_i h_i r_i t_i` of `DistMult
    <https://arxiv.org/abs/1412.6575>`_, all :obj:`[*, D]`.
    """
    return (head * rel * tail).sum(dim=-1)


def complex_product(x: Tensor, y: Tensor, conjugate: bool = False) -> Tensor:
    r"""The products :math:`x_i y_i`, or :math:`x_i \bar{y}_i`, of complex
    rows, all :obj:`[re | im]`, :obj:`[*, 2 * D]`.
    """
    x_re, x_im = x.chunk(2, dim=-1)
    y_re, y_im = y.chunk(2, dim=-1)
    if conjugate:
        y_im = -y_im
    return torch.cat([x_re * y_re - x_im * y_im, x_re * y_im + x_im * y_re],
                     dim=-1)


def complex_score(head: Tensor, rel: Tensor, tail: Tensor) -> Tensor:
    r"""The form :math:`\mathrm{Re}(\sum_i h_i r_i \bar{t}_i)` of `ComplEx
    <https://arxiv.org/abs/1606.06357>`_, all :obj:`[re | im]`,
    :obj:`[*, 2 * D]`.
    """
    return (complex_product(head, rel) * tail).sum(dim=-1)


def inner_products(query: Tensor, table: Tensor) -> Tensor:
    r"""The inner products :obj:`[Q, N]` of queries :obj:`[Q, C]` with the
    rows of a table :obj:`[N, C]`, never in half precision.

    Without gradient, they do not depend on the number of either: the sums of
    a matrix product change in the last bits with the number of its rows,
    hence would ranks with the size of a block. On CPU all products are those
    of tiles of one size, elsewhere in double precision.
    """
    grad = torch.is_grad_enabled() and (query.requires_grad
                                        or table.requires_grad)
    dtype = torch.promote_types(query.dtype, torch.float32)
    with torch.autocast(query.device.type, enabled=False):
        if grad or query.device.type == 'mps':  # Which has no doubles.
            return query @ table.t()
        if query.device.type == 'cpu':
            return _tiles(query.to(dtype), table)
        wide = query.double()
        out = query.new_empty(query.size(0), table.size(0), dtype=dtype)
        step = max(1, BLOCK // max(1, *query.shape))
        for i in range(0, table.size(0), step):
            out[:, i:i + step] = wide @ table[i:i + step].double().t()
    return out


def _tiles(query: Tensor, table: Tensor) -> Tensor:
    # Tiles at the edges are filled up with zeros.
    Q, N = query.size(0), table.size(0)
    query = F.pad(query, (0, 0, 0, -Q % TILE[0]))
    out = query.new_empty(query.size(0), N + -N % TILE[1])
    for n in range(0, N, TILE[1]):
        rows = table[n:n + TILE[1]].to(query.dtype)
        if len(rows) < TILE[1]:
            rows = F.pad(rows, (0, 0, 0, TILE[1] - len(rows)))
        for q in range(0, Q, TILE[0]):
            torch.mm(query[q:q + TILE[0]], rows.t(),
                     out=out[q:q + TILE[0], n:n + TILE[1]])
    return out[:Q, :N]


def cubes(x: Tensor, group: int = 1) -> Tensor:
    r"""The sum of the cubes of moduli, :math:`\sum_i |x_i|^3`, of rows
    :obj:`[*, group * S]`: N3, with groups of two channels of
    :obj:`[re | im]`. Channel :obj:`j` of group :obj:`i` is at
    :obj:`j * S + i`.
    """
    square = x.unflatten(-1, (group, -1)).square().sum(dim=-2)
    # Unlike that of a root, the gradient of this power at zero is zero.
    return square.pow(1.5).sum()


def blocks(table: Tensor, num_queries: int) -> tuple[Tensor, ...]:
    r"""Splits a table :obj:`[N, C]` so that broadcasting a block against
    :obj:`num_queries` queries makes at most 64 MiB of floats.
    """
    return table.split(max(1, BLOCK // max(1, num_queries *
                                           table[0].numel())))
