r"""Products of the Tucker decomposition of `TuckER: Tensor Factorization for
Knowledge Graph Completion <https://arxiv.org/abs/1901.09590>`_.
"""
from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from pyg_mmkgc.kernels.backend import parts
from pyg_mmkgc.kernels.host import by_value, on_host


def tucker(x: Tensor, rel: Tensor, core: Tensor) -> Tensor:
    r"""Returns the products :math:`\mathcal{W} \times_1 \mathbf{r} \times_2
    \mathbf{x}`, :obj:`[*, C_out]`.

    Args:
        x (torch.Tensor): The representations :obj:`[*, C]`.
        rel (torch.Tensor): The relation embeddings :obj:`[*, C_r]`, which
            broadcast.
        core (torch.Tensor): The core tensor :math:`\mathcal{W}`,
            :obj:`[C_r, C, C_out]`.
    """
    shape = torch.broadcast_shapes(x.shape[:-1], rel.shape[:-1])
    x, rel = (y.expand(*shape, -1).reshape(-1, y.size(-1)) for y in (x, rel))
    matrix = core.flatten(0, 1)
    # Recomputing blocks in the backward pass limits the memory of outer
    # products.
    out = [checkpoint(_tucker, x[part], rel[part], matrix,
                      use_reentrant=False)
           for part in parts(x.size(0), matrix.size(0))]
    return torch.cat(out).view(*shape, core.size(-1))


def _tucker(x: Tensor, rel: Tensor, matrix: Tensor) -> Tensor:
    outer = rel.unsqueeze(-1) * x.unsqueeze(-2)
    return outer.flatten(1) @ matrix


def tucker_by_relation(x: Tensor, rel_type: Tensor, table: Tensor,
                       core: Tensor) -> Tensor:
    r"""Returns the products of :func:`tucker` for representations
    :obj:`[*, C]` and relations :obj:`[*]`, which broadcast. The matrix of a
    relation is computed once for all of its representations.

    Args:
        x (torch.Tensor): The representations :obj:`[*, C]`.
        rel_type (torch.Tensor): The relations :obj:`[*]`.
        table (torch.Tensor): The embeddings of all relations,
            :obj:`[R, C_r]`.
        core (torch.Tensor): The core tensor :math:`\mathcal{W}`,
            :obj:`[C_r, C, C_out]`.
    """
    shape = torch.broadcast_shapes(x.shape[:-1], rel_type.shape)
    x = x.expand(*shape, -1).reshape(-1, x.size(-1))
    rel_type = on_host(rel_type).expand(shape).reshape(-1)
    if rel_type.numel() == 0:
        return x.new_empty(*shape, core.size(-1))
    rel, groups, back = by_value(rel_type, x.device)
    matrices = (table.index_select(0, rel) @ core.flatten(1)).view(
        -1, *core.shape[1:])
    # Unlike indexing, unbinding has a backward pass without copies of zeros.
    out = torch.cat([rows @ matrix for rows, matrix in zip(
        x[torch.cat(groups)].split([rows.numel() for rows in groups]),
        matrices.unbind(), strict=True)])
    return out[back].view(*shape, -1)
