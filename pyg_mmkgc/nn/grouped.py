r"""Products of rows with the matrices of their group."""
from __future__ import annotations

import torch
from torch import Tensor

#: Rows that are multiplied at once. With one, a matrix would be read, and its
#: gradient written, for every row; with many, most would be zeros where groups
#: are small.
TILE = 8


def grouped_product(x: Tensor, group: Tensor, matrix: Tensor) -> Tensor:
    r"""The products :math:`\mathbf{x}_i \mathbf{M}_{g,i}` of the blocks
    :math:`i` of rows with the matrices of their group :math:`g`, with shape
    :obj:`[*, m * S]`.

    Args:
        x (torch.Tensor): The rows, :obj:`[*, m * S]`. Channel :obj:`j` of
            block :obj:`i` is at :obj:`j * S + i`.
        group (torch.Tensor): The groups, in any order, :obj:`[*]`, where a
            size of one stands for any.
        matrix (torch.Tensor): The matrices, :obj:`[G, S, m, m]`.
    """
    rows = x.reshape(-1, x.size(-1)).unflatten(-1, (matrix.size(-1), -1)).mT
    group = group.expand(x.shape[:-1]).flatten()
    count = group.bincount(minlength=matrix.size(0))
    tiles = (count + TILE - 1) // TILE
    # Sorted by group, where each group begins with a tile of its own.
    shift = (tiles.cumsum(0) - tiles) * TILE - (count.cumsum(0) - count)
    order = group.argsort(stable=True)
    place = torch.empty_like(order)
    place[order] = torch.arange(
        group.numel(), device=group.device) + shift[group[order]]
    owner = torch.arange(matrix.size(0), device=group.device)
    owner = owner.repeat_interleave(tiles)
    padded = rows.new_zeros(TILE * owner.numel(), *rows.shape[1:])
    padded = padded.index_copy(0, place, rows).unflatten(
        0, (owner.numel(), TILE))
    out = padded.transpose(1, 2) @ matrix[owner]  # [T, S, TILE, m]
    return out.transpose(1, 2).flatten(0, 1)[place].mT.reshape(x.shape)
