"""Ranks in double precision, and how far rounding may move them.

In single precision, candidates whose scores differ by less than its rounding
may come in any order. A rank is explained if it lies between the ranks that
the target has before and behind all of these.
"""

from copy import deepcopy

import torch
from torch import Tensor
from torch_geometric.nn import RotatE

from pyg_mmkgc import AdaMF, KnowledgeGraph

# Relative to the distance, a sum of some hundred terms.
ROUNDING = 1e-6


@torch.no_grad()
def bounds(model: RotatE | AdaMF, kg: KnowledgeGraph, rows: Tensor, side: str,
           filtered: bool) -> tuple[Tensor, Tensor]:
    """The first and the last rank of test triples, by the formula alone: one
    norm of all differences for PyG's RotatE, the sum of moduli for AdaMF.
    """
    test = kg.split('test')
    edge_index, edge_type = kg.known_triples()
    theta = model.rel_emb.weight.double().cpu()
    if isinstance(model, RotatE):
        norm, parts = 2, (model.node_emb.weight, model.node_emb_im.weight)
    else:
        norm, theta = 1, theta * model.phase_scale
        parts = deepcopy(model).double().eval().encode().chunk(2, dim=1)
    node = torch.complex(*(x.double().cpu() for x in parts))
    turn = torch.complex(theta.cos(), theta.sin())
    given, target = (1, 0) if side == 'head' else (0, 1)
    low, high = [], []
    for row in rows.tolist():
        pair, rel = test.edge_index[:, row], int(test.edge_type[row])
        query = node[pair[given]]
        if side == 'head':
            difference = node * turn[rel] - query
        else:
            difference = query * turn[rel] - node
        distance = torch.linalg.vector_norm(difference, norm, dim=-1)
        own = float(distance[pair[target]])
        if filtered:
            known = edge_index[target][(edge_index[given] == pair[given])
                                       & (edge_type == rel)]
            distance[known] = torch.inf
        distance[pair[target]] = torch.inf
        low.append(1 + int((distance < own * (1 - ROUNDING)).sum()))
        high.append(1 + int((distance <= own * (1 + ROUNDING)).sum()))
    return torch.tensor(low), torch.tensor(high)


def unexplained(ranks: Tensor, limits: tuple[Tensor, Tensor]) -> float:
    """How many ranks rounding does not explain."""
    return float(((ranks < limits[0]) | (ranks > limits[1])).sum())
