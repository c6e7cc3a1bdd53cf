r"""The score of a node in models that pass messages along paths."""
from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pyg_mmkgc.nn.path.conv import product


def node_scores(mlp: Any, x: Tensor, query: Tensor) -> Tensor:
    r"""Returns the scores :obj:`[Q, N]` of two linear layers for
    :math:`[\mathbf{x}_v ; \mathbf{q}]` with nodes :obj:`[Q, N, D]` and queries
    :obj:`[Q, D]`.
    """
    first, last = mlp[0], mlp[-1]
    D = x.size(-1)
    # The part of the query is the same for all nodes.
    with torch.autocast(x.device.type, enabled=False):
        own = F.linear(query, first.weight[:, D:], first.bias)
    out = [product(rows, first.weight[:, :D], row).relu_()
           for row, rows in zip(own, x, strict=True)]
    with torch.autocast(x.device.type, enabled=False):
        return torch.stack([F.linear(hidden, last.weight, last.bias).view(-1)
                            for hidden in out])


def row_by_row(device: torch.device) -> bool:
    r"""Returns :obj:`True` if each query has matrix products of its own. The
    number of rows affects the rounding of a product, and a rank must not
    depend on the other queries of its batch.
    """
    return device.type == 'cpu' and not torch.is_grad_enabled()
