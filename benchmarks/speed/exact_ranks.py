"""Ranks in double precision, with bounds on the effect of rounding.

In single precision, candidates may come in any order if their scores differ
by less than the rounding error. A rank is explained by rounding if it lies
between the first and the last rank of the target among such candidates.
"""

from copy import deepcopy

import torch
from torch import Tensor
from torch_geometric.nn import RotatE

from pyg_mmkgc import AdaMF, KnowledgeGraph

# The error relative to the distance, a sum of several hundred terms.
ROUNDING = 1e-6


@torch.no_grad()
def bounds(model: RotatE | AdaMF, kg: KnowledgeGraph, rows: Tensor, side: str,
           filtered: bool) -> tuple[Tensor, Tensor]:
    """Returns the first and last possible ranks of test triples, computed
    from the formulas: one norm of all differences for PyG's RotatE, and the
    sum of moduli for AdaMF.
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
    """Returns the number of ranks that rounding does not explain."""
    return float(((ranks < limits[0]) | (ranks > limits[1])).sum())
