from __future__ import annotations

import torch
from torch import Tensor

from pyg_mmkgc.nn.functional import BLOCK


@torch.no_grad()
def mean_rank_percentage(x: Tensor, edge_index: Tensor, edge_type: Tensor,
                         num_relations: int) -> Tensor:
    r"""How well the features of one node of a triple find the other,
    :math:`MRP_r \in [0, 1]` of `RSME
    <https://dl.acm.org/doi/10.1145/3474085.3475470>`_, :obj:`[R]`: the share
    of nodes with a larger inner product with the given node than the true
    node has, mean over the triples of a relation and both directions. Equal
    nodes count half; a relation without triples has one half.

    Args:
        x (torch.Tensor): The features :obj:`[N, F]`.
        edge_index (torch.Tensor): The heads and tails :obj:`[2, E]`.
        edge_type (torch.Tensor): The relations :obj:`[E]`.
        num_relations (int): The number of relations :obj:`R`.
    """
    N = x.size(0)
    total, count = x.new_zeros(2, num_relations)
    for given, target in (edge_index, edge_index.flip(0)):
        # Triples of one given node lie side by side: scored once for all.
        for part in given.argsort().split(max(1, BLOCK // N)):
            node, row = given[part].unique(return_inverse=True)
            scores = (x[node] @ x.t())[row]
            own = scores.gather(1, target[part].unsqueeze(-1))
            above = (scores > own).sum(dim=1) - 0.5
            above += 0.5 * (scores == own).sum(dim=1)
            rel = edge_type[part]
            total.index_add_(0, rel, above.to(x) / max(1, N - 1))
            count.index_add_(0, rel, torch.ones_like(total[rel]))
    return torch.where(count > 0, total / count, 0.5)
