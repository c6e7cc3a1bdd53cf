from __future__ import annotations

import torch
from torch import Tensor

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.sampler.base import (
    Negatives,
    NegativeSampler,
    head_probability,
)


class PooledSampler(NegativeSampler):
    r"""Draws one pool of :obj:`K` nodes for each chunk of positives, and the
    side that a node replaces for each positive by Bernoulli's rule.

    A step then touches :obj:`K * B / chunk_size` nodes instead of
    :obj:`K * B` at the same number of negatives, which makes the encoding of
    large features several times cheaper. Known triples are not left out.

    Args:
        num_negatives (int, optional): The number of negatives :obj:`K` of
            each positive. (default: :obj:`128`)
        chunk_size (int, optional): The number of positives that share a pool.
            (default: :obj:`128`)
    """
    head_prob: Tensor

    def __init__(self, num_negatives: int = 128,
                 chunk_size: int = 128) -> None:
        super().__init__(num_negatives)
        if chunk_size < 1:
            raise ModelError(f'expected chunk_size >= 1, got {chunk_size}')
        self.chunk_size = chunk_size

    def prepare(self, edge_index: Tensor, edge_type: Tensor, num_nodes: int,
                num_relations: int) -> PooledSampler:
        super().prepare(edge_index, edge_type, num_nodes, num_relations)
        self.head_prob = head_probability(edge_index, edge_type,
                                          num_relations)
        return self

    def sample(self, head_index: Tensor, rel_type: Tensor, tail_index: Tensor,
               generator: torch.Generator) -> Negatives:
        B, K, device = head_index.numel(), self.num_negatives, (
            head_index.device)
        num_chunks = -(-B // self.chunk_size)
        pool = torch.randint(self.num_nodes, (num_chunks, K),
                             generator=generator, device=generator.device)
        node = pool.repeat_interleave(self.chunk_size, dim=0)[:B]
        draw = torch.rand((B, K), generator=generator,
                          device=generator.device).to(device)
        return Negatives(node.to(device),
                         draw < self.head_prob[rel_type].unsqueeze(-1))

    def __repr__(self) -> str:
        return (f'{type(self).__name__}(num_negatives={self.num_negatives}, '
                f'chunk_size={self.chunk_size})')
