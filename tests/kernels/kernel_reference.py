"""Distances and their gradients, one pair of rows after the other."""

import math

import torch
from torch import Tensor


def parts(query: list[float], row: list[float],
          group: int) -> list[list[float]]:
    """The differences, one list for each group of channels."""
    S = len(query) // group
    return [[query[j * S + i] - row[j * S + i] for j in range(group)]
            for i in range(S)]


def loop_distance(query: list[float], row: list[float],
                  group: int = 2) -> float:
    return sum(math.hypot(*diff) for diff in parts(query, row, group))


def loops(tail_query: Tensor, head_query: Tensor, table: Tensor,
          index: Tensor, side: Tensor, grad: Tensor,
          group: int = 2) -> list[Tensor]:
    """The distances and the three gradients, one pair after the other."""
    B, K = index.shape
    out = torch.zeros(B, K, dtype=torch.double)
    grads = [torch.zeros(x.shape, dtype=torch.double)
             for x in (tail_query, head_query, table)]
    queries = (tail_query.tolist(), head_query.tolist())
    rows = table.tolist()
    for b in range(B):
        for k in range(K):
            which, u = int(side[b, k]), int(index[b, k])
            q, t = queries[which][b], rows[u]
            out[b, k] = loop_distance(q, t, group)
            found = parts(q, t, group)
            for i, diff in enumerate(found):
                norm = math.hypot(*diff)
                for j, value in enumerate(diff):
                    g = float(grad[b, k]) * value / norm if norm else 0.0
                    grads[which][b, j * len(found) + i] += g
                    grads[2][u, j * len(found) + i] -= g
    return [out, *grads]
