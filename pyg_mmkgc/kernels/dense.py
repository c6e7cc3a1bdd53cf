r"""Scores of queries against all rows of a table."""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pyg_mmkgc.kernels.backend import BLOCK, arrays, fused, numba_loops, parts
from pyg_mmkgc.kernels.candidates import candidate_scores
from pyg_mmkgc.kernels.formulas import moduli, moduli_distance

# The number of queries and of table rows in a tile of inner products.
TILE = 256, 512


def dense_scores(query: Tensor, table: Tensor, group: int) -> Tensor:
    r"""Returns the distances :math:`\sum_i \| q_i - t_i \|_2` of every query
    :obj:`[Q, C]` to every row of a table :obj:`[N, C]`, with shape
    :obj:`[Q, N]`. With :obj:`group=0`, it returns their inner products.
    """
    if group == 0:
        return inner_products(query, table)
    if _needs_grad(query, table):
        index = torch.arange(table.size(0), device=table.device)
        index = index.expand(query.size(0), -1)
        return candidate_scores(query.unsqueeze(0), table, index,
                                torch.zeros_like(index, dtype=torch.bool),
                                group)
    query, table = query.detach().contiguous(), table.detach().contiguous()
    out = table.new_empty(query.size(0), table.size(0))
    loops = numba_loops('dense', query, table)
    if loops is not None:
        loops.forward(*arrays(query, table), group, *arrays(out))
        return out
    if 1 < group == table.size(1) and table.dtype != torch.double:
        return _euclidean(query, table)
    whole = fused(_dense, query, table)
    if whole is not None:
        return whole(query, table, group)
    if group == 1:
        return torch.cdist(query, table, p=1.0)
    for part in parts(table.size(0), query.numel()):
        out[:, part] = moduli_distance(query[:, None], table[part], group)
    return out


def inner_products(query: Tensor, table: Tensor) -> Tensor:
    r"""Returns the inner products :obj:`[Q, N]` of queries :obj:`[Q, C]` with
    the rows of a table :obj:`[N, C]`, never in half precision.

    The last bits of a matrix product usually depend on its number of rows, so
    ranks would depend on the size of a block. If no gradient is needed, this
    function avoids this by multiplying tiles of a fixed size on a CPU, and by
    using double precision on other devices.
    """
    dtype = torch.promote_types(query.dtype, torch.float32)
    with torch.autocast(query.device.type, enabled=False):
        # MPS has no doubles.
        if _needs_grad(query, table) or query.device.type == 'mps':
            return query @ table.t()
        if query.device.type == 'cpu':
            return _tiles(query.to(dtype), table)
        wide = query.double()
        out = query.new_empty(query.size(0), table.size(0), dtype=dtype)
        for part in parts(table.size(0), max(query.shape)):
            out[:, part] = wide @ table[part].double().t()
    return out


def blocks(table: Tensor, num_queries: int) -> tuple[Tensor, ...]:
    r"""Splits a table :obj:`[N, C]` into blocks such that broadcasting a block
    against :obj:`num_queries` queries takes at most 64 MiB in single
    precision.
    """
    return table.split(max(1, BLOCK // max(1, num_queries *
                                           table[0].numel())))


def _needs_grad(query: Tensor, table: Tensor) -> bool:
    return torch.is_grad_enabled() and (query.requires_grad
                                        or table.requires_grad)


def _tiles(query: Tensor, table: Tensor) -> Tensor:
    # Tiles at the edges are padded with zeros to the same size.
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


def _dense(query: Tensor, table: Tensor, group: int) -> Tensor:
    # The compiler chooses the order of a sum by its shape, and double
    # precision keeps ranks independent of the size of a block.
    diff = query.unsqueeze(1) - table
    if group > 4:
        diff = diff.double()
    return moduli(diff, group).sum(dim=-1, dtype=torch.double).to(query.dtype)


def _euclidean(query: Tensor, table: Tensor) -> Tensor:
    # Double precision is needed, since |a|^2 + |b|^2 - 2 a b cancels if a and
    # b are close, and since the last bits of a matrix product depend on its
    # number of rows. It is still ten times faster than differences in PyTorch.
    out = table.new_empty(query.size(0), table.size(0))
    if query.device.type != 'mps':  # MPS has no doubles.
        query, table = query.double(), table.double()
    for part in parts(table.size(0), max(query.shape)):
        rows = table[part]
        square = torch.addmm((rows * rows).sum(1), query, rows.t(), alpha=-2)
        square += (query * query).sum(1, keepdim=True)
        out[:, part] = square.clamp_(min=0).sqrt_()
    return out
