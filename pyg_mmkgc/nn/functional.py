r"""Scores of triples as pure functions of representations.

Every function broadcasts over leading dimensions: for head and tail
representations :obj:`[*, C]` and relations :obj:`[*, C_r]`, it returns
:obj:`[*]`. Functions named :obj:`*_distance` return non-negative distances. A
model subtracts them from its margin, so that a higher score is better.

Complex rows of :obj:`D` channels are stored as :obj:`[re | im]` with
:obj:`2 * D` real channels.
"""
from __future__ import annotations

import torch
from torch import Tensor

from pyg_mmkgc.kernels.dense import inner_products as inner_products
from pyg_mmkgc.kernels.formulas import moduli as moduli
from pyg_mmkgc.kernels.formulas import moduli_distance as moduli_distance
from pyg_mmkgc.kernels.rows import rotate as rotate


def translation_distance(head: Tensor, rel: Tensor, tail: Tensor,
                         p: float = 1.0) -> Tensor:
    r"""Returns the distance :math:`\| \mathbf{h} + \mathbf{r} - \mathbf{t}
    \|_p` of `TransE <https://papers.nips.cc/paper/2013/hash/
    1cecc7a77928ca8133fa24680a88d2f9-Abstract.html>`_, all :obj:`[*, D]`.
    """
    return torch.linalg.vector_norm(head + rel - tail, ord=p, dim=-1)


def rotation_distance(head: Tensor, phase: Tensor, tail: Tensor) -> Tensor:
    r"""Returns the distance :math:`\sum_i |h_i e^{i\theta_i} - t_i|` of
    `RotatE <https://arxiv.org/abs/1902.10197>`_ (eq. (6) of AdaMF-MAT).

    Args:
        head (torch.Tensor): Complex rows, :obj:`[*, 2 * D]`.
        phase (torch.Tensor): The angles of the relations in radians,
            :obj:`[*, D]`.
        tail (torch.Tensor): Complex rows, :obj:`[*, 2 * D]`.
    """
    return moduli_distance(rotate(head, phase), tail)


def diagonal_score(head: Tensor, rel: Tensor, tail: Tensor) -> Tensor:
    r"""Returns the score :math:`\sum_i h_i r_i t_i` of `DistMult
    <https://arxiv.org/abs/1412.6575>`_, all :obj:`[*, D]`.
    """
    return (head * rel * tail).sum(dim=-1)


def complex_product(x: Tensor, y: Tensor, conjugate: bool = False) -> Tensor:
    r"""Returns the products :math:`x_i y_i` of complex rows
    :obj:`[re | im]`, or :math:`x_i \bar{y}_i` if :obj:`conjugate` is set, all
    :obj:`[*, 2 * D]`.
    """
    x_re, x_im = x.chunk(2, dim=-1)
    y_re, y_im = y.chunk(2, dim=-1)
    if conjugate:
        y_im = -y_im
    return torch.cat([x_re * y_re - x_im * y_im, x_re * y_im + x_im * y_re],
                     dim=-1)


def complex_score(head: Tensor, rel: Tensor, tail: Tensor) -> Tensor:
    r"""Returns the score :math:`\mathrm{Re}(\sum_i h_i r_i \bar{t}_i)` of
    `ComplEx <https://arxiv.org/abs/1606.06357>`_ for complex rows
    :obj:`[re | im]`, all :obj:`[*, 2 * D]`.
    """
    return (complex_product(head, rel) * tail).sum(dim=-1)


def cubes(x: Tensor, group: int = 1) -> Tensor:
    r"""Returns the sum of the cubed moduli :math:`\sum_i |x_i|^3` of rows
    :obj:`[*, group * S]`. With :obj:`group=2`, it is the N3 regularizer of
    complex rows :obj:`[re | im]`. Channel :obj:`j` of group :obj:`i` is at
    :obj:`j * S + i`.
    """
    square = x.unflatten(-1, (group, -1)).square().sum(dim=-2)
    # Unlike a square root, this power has a gradient of zero at zero.
    return square.pow(1.5).sum()


def side_by_side(*parts: Tensor) -> Tensor:
    r"""Concatenates the channels of rows :obj:`[*, C_i]`, which broadcast."""
    shape = torch.broadcast_shapes(*(x.shape[:-1] for x in parts))
    return torch.cat([x.expand(*shape, -1) for x in parts], dim=-1)
