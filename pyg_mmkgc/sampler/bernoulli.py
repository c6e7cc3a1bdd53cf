from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pyg_mmkgc.errors import DataError
from pyg_mmkgc.sampler.base import (
    Negatives,
    NegativeSampler,
    head_probability,
)


class _Known(NamedTuple):
    r"""The sorted known answers of each query :obj:`(node, relation)`."""
    query: Tensor  # The distinct queries node * R + relation, sorted, [Q].
    ptr: Tensor  # The first position of the answers of each query, [Q + 1].
    gap: Tensor  # query position * (N + 1) + (answer - its rank), sorted.


class BernoulliSampler(NegativeSampler):
    r"""The filtered Bernoulli sampler, which never draws a training triple.

    The corrupted side follows the Bernoulli rule of the `"Knowledge Graph
    Embedding by Translating on Hyperplanes"
    <https://ojs.aaai.org/index.php/AAAI/article/view/8870>`_ paper. The node
    is drawn uniformly from all nodes that do *not* complete a training triple.
    This needs no rejection sampling: the :math:`x`-th node that is not an
    answer is :math:`x` plus the number of sorted answers :math:`a_i` with
    :math:`a_i - i \leq x`.

    Args:
        num_negatives (int, optional): The number of negatives :obj:`K` of
            each positive. (default: :obj:`128`)
    """
    head_prob: Tensor
    known: tuple[_Known, _Known]

    def prepare(self, edge_index: Tensor, edge_type: Tensor, num_nodes: int,
                num_relations: int) -> BernoulliSampler:
        super().prepare(edge_index, edge_type, num_nodes, num_relations)
        self.num_relations = num_relations
        self.head_prob = head_probability(edge_index, edge_type,
                                          num_relations)
        head, tail = edge_index
        self.known = (self._group(head, edge_type, tail),
                      self._group(tail, edge_type, head))
        return self

    def _group(self, node: Tensor, rel: Tensor, answer: Tensor) -> _Known:
        N, R = self.num_nodes, self.num_relations
        if N * R * (N + 1) >= 2**63:
            raise DataError('Expected a graph whose triples fit into 64-bit '
                            f'keys (got {N} nodes and {R} relations)')
        key = ((node * R + rel) * N + answer).unique()
        if key.numel() == 0:
            raise DataError('Expected at least one training triple (got none)')
        query, count = (key // N).unique_consecutive(return_counts=True)
        if int(count.max()) >= N:
            full = int(query[count.argmax()])
            raise DataError('Expected every pair of a node and a relation to '
                            'leave a node for negatives (got node '
                            f'{full // R} and relation {full % R}, which have '
                            f'training triples with all {N} nodes)')
        ptr = torch.cat([count.new_zeros(1), count.cumsum(0)])
        position = torch.arange(query.numel(), device=key.device)
        position = position.repeat_interleave(count)
        rank = torch.arange(key.numel(), device=key.device) - ptr[position]
        return _Known(query, ptr, position * (N + 1) + key % N - rank)

    def _complement(self, known: _Known, node: Tensor, rel: Tensor,
                    draw: Tensor) -> Tensor:
        query = node * self.num_relations + rel
        position = torch.searchsorted(known.query, query)
        found = position.clamp(max=known.query.numel() - 1)
        strange = known.query[found] != query
        if bool(strange.any()):
            i = int(strange.nonzero()[0])
            raise DataError('Expected positives from the training triples '
                            'that the sampler was prepared with (got node '
                            f'{int(node[i])} and relation {int(rel[i])} in '
                            f'positive {i} of the batch, which have no '
                            'training triple)')
        first, last = known.ptr[position], known.ptr[position + 1]
        # draw in [0, 1) -> x in [0, N - number of answers).
        size = (self.num_nodes - (last - first)).unsqueeze(-1)
        x = (draw * size).long().minimum(size - 1)
        below = torch.searchsorted(
            known.gap, position.unsqueeze(-1) * (self.num_nodes + 1) + x,
            right=True)
        return x + below - first.unsqueeze(-1)

    def sample(self, head_index: Tensor, rel_type: Tensor, tail_index: Tensor,
               generator: torch.Generator) -> Negatives:
        shape, device = (head_index.numel(), self.num_negatives), (
            head_index.device)
        side = torch.rand(shape, generator=generator,
                          device=generator.device).to(device)
        corrupt_head = side < self.head_prob[rel_type].unsqueeze(-1)
        draw = torch.rand(shape, generator=generator, dtype=torch.float64,
                          device=generator.device).to(device)
        tails = self._complement(self.known[0], head_index, rel_type, draw)
        heads = self._complement(self.known[1], tail_index, rel_type, draw)
        return Negatives(torch.where(corrupt_head, heads, tails),
                         corrupt_head)
