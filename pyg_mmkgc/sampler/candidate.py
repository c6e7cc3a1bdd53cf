from __future__ import annotations

import torch
from torch import Tensor

from pyg_mmkgc.sampler.base import (
    Negatives,
    NegativeSampler,
    head_probability,
)


class CandidateSampler(NegativeSampler):
    r"""The candidate sampler of the `"KBGAN: Adversarial Learning for
    Knowledge Graph Embeddings" <https://arxiv.org/abs/1711.04071>`_ paper.

    All candidates of a positive replace the same side, which is drawn by the
    Bernoulli rule of `Wang et al.
    <https://ojs.aaai.org/index.php/AAAI/article/view/8870>`_. The nodes are
    drawn uniformly, and known triples are not filtered out.

    Args:
        num_negatives (int, optional): The number of candidates :obj:`K` of
            each positive. (default: :obj:`20`)
    """
    head_prob: Tensor

    def __init__(self, num_negatives: int = 20) -> None:
        super().__init__(num_negatives)

    def prepare(self, edge_index: Tensor, edge_type: Tensor, num_nodes: int,
                num_relations: int) -> CandidateSampler:
        super().prepare(edge_index, edge_type, num_nodes, num_relations)
        self.head_prob = head_probability(edge_index, edge_type,
                                          num_relations)
        return self

    def sample(self, head_index: Tensor, rel_type: Tensor, tail_index: Tensor,
               generator: torch.Generator) -> Negatives:
        B, K, device = head_index.numel(), self.num_negatives, (
            head_index.device)
        node = torch.randint(self.num_nodes, (B, K), generator=generator,
                             device=generator.device)
        draw = torch.rand((B, 1), generator=generator,
                          device=generator.device).to(device)
        side = draw < self.head_prob[rel_type].unsqueeze(-1)
        return Negatives(node.to(device), side.expand(-1, K).contiguous())
