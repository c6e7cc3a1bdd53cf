r"""Sums of gradients over processes."""
from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor
from torch.nn import Parameter

from pyg_mmkgc.distributed.group import sum_over_ranks, world_size


def sum_gradients(params: list[Parameter], sharded: Collection[int]) -> None:
    r"""Sums the gradients of parameters of which each process has a copy. A
    sparse gradient stays sparse, with the rows of all processes.

    Args:
        params (list): The parameters.
        sharded (collection): The :func:`id` of parameters of which each
            process has its own rows. Their gradients are complete.
    """
    params = [p for p in params if id(p) not in sharded]
    if world_size() == 1 or not params:
        return
    # One tensor of gradients and flags needs one collective per type.
    for dtype in dict.fromkeys(p.dtype for p in params):
        some = [p for p in params if p.dtype == dtype]
        sparse = [p.grad is not None and p.grad.is_sparse for p in some]
        flags = [_touched(p) if rows else p.new_tensor(
            [float(p.grad is not None)])
            for p, rows in zip(some, sparse, strict=True)]
        grads = [_dense(p) for p in some]
        parts = [x.numel() for x in (*grads, *flags)]
        total = sum_over_ranks(torch.cat([
            x.reshape(-1) for x in (*grads, *flags)])).split(parts)
        for p, rows, grad, flag in zip(some, sparse, total[:len(some)],
                                       total[len(some):], strict=True):
            grad = grad.view_as(p)
            if rows:
                index = flag.nonzero().view(-1)
                p.grad = torch.sparse_coo_tensor(
                    index.unsqueeze(0), grad[index], p.shape,
                    is_coalesced=True, check_invariants=False)
            else:
                p.grad = grad.clone() if bool(flag > 0) else None


def _dense(p: Parameter) -> Tensor:
    if p.grad is None:
        return torch.zeros_like(p)
    return p.grad.to_dense() if p.grad.is_sparse else p.grad


def _touched(p: Parameter) -> Tensor:
    assert p.grad is not None
    out = p.new_zeros(p.size(0))
    out[p.grad.coalesce().indices()[0]] = 1.0
    return out
