from __future__ import annotations

import torch
from torch import Tensor

from pyg_mmkgc.sampler.base import Negatives, NegativeSampler


class UniformSampler(NegativeSampler):
    r"""The uniform sampler of the `"Translating Embeddings for Modeling
    Multi-relational Data" <https://papers.nips.cc/paper/2013/hash/
    1cecc7a77928ca8133fa24680a88d2f9-Abstract.html>`_ paper.

    Replaces the head or the tail, with equal probability, by a node that is
    drawn uniformly. Known triples are not filtered out.

    Args:
        num_negatives (int, optional): The number of negatives :obj:`K` of
            each positive. (default: :obj:`128`)
    """
    def sample(self, head_index: Tensor, rel_type: Tensor, tail_index: Tensor,
               generator: torch.Generator) -> Negatives:
        shape, device = (head_index.numel(), self.num_negatives), (
            head_index.device)
        node = torch.randint(self.num_nodes, shape, generator=generator,
                             device=generator.device).to(device)
        side = torch.rand(shape, generator=generator,
                          device=generator.device) < 0.5
        return Negatives(node, side.to(device))
