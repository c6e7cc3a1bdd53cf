from __future__ import annotations

import torch
from torch import Tensor

from pyg_mmkgc.errors import check_whole
from pyg_mmkgc.sampler.base import (
    Negatives,
    NegativeSampler,
    head_probability,
)


class PooledSampler(NegativeSampler):
    r"""Draws a shared pool of :obj:`K` nodes for each chunk of positives, and
    the side that each node replaces by the Bernoulli rule.

    With the same number of negatives, a step encodes :obj:`K * B / chunk_size`
    nodes instead of :obj:`K * B`, which makes the encoding of large features
    several times cheaper. Known triples are not filtered out.

    Args:
        num_negatives (int, optional): The number of negatives :obj:`K` of
            each positive. (default: :obj:`128`)
        chunk_size (int, optional): The number of positives that share a pool.
            (default: :obj:`128`)
        one_side (bool, optional): If set to :obj:`True`, all negatives of a
            positive replace the same side, which is its head or its tail with
            equal probability, as in `RotatE
            <https://arxiv.org/abs/1902.10197>`_. A loss that weighs negatives
            against each other then compares answers to the same query.
            (default: :obj:`False`)

    Raises:
        ModelError: If :obj:`num_negatives` or :obj:`chunk_size` is not a
            positive integer.
    """
    head_prob: Tensor

    def __init__(self, num_negatives: int = 128, chunk_size: int = 128,
                 one_side: bool = False) -> None:
        super().__init__(num_negatives)
        check_whole(chunk_size=chunk_size)
        self.chunk_size = chunk_size
        self.one_side = one_side

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
        if self.one_side:
            side = torch.rand((B, 1), generator=generator,
                              device=generator.device) < 0.5
            return Negatives(node.to(device), side.to(device).repeat(1, K))
        draw = torch.rand((B, K), generator=generator,
                          device=generator.device).to(device)
        return Negatives(node.to(device),
                         draw < self.head_prob[rel_type].unsqueeze(-1))

    def __repr__(self) -> str:
        one_side = ', one_side=True' if self.one_side else ''
        return (f'{type(self).__name__}(num_negatives={self.num_negatives}, '
                f'chunk_size={self.chunk_size}{one_side})')
