from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pyg_mmkgc.sampler.base import Negatives, view_names
from pyg_mmkgc.sampler.bernoulli import BernoulliSampler


class TwinsSampler(BernoulliSampler):
    r"""The twins negative sampling of the `"Knowledge Graph Completion with
    Pre-trained Multimodal Transformer and Twins Negative Sampling"
    <https://arxiv.org/abs/2209.07084>`_ paper (VBKGC).

    An entity has a structural embedding :math:`\mathbf{e}_s` and a multimodal
    embedding :math:`\mathbf{e}_m`. An ordinary negative replaces both with the
    embeddings of another entity :math:`e'`. Each of its two twins replaces
    only one of them:

    .. math::
        (\mathbf{e}'_s, \mathbf{e}'_m), \quad
        (\mathbf{e}'_s, \mathbf{e}_m), \quad
        (\mathbf{e}_s, \mathbf{e}'_m)

    The twins force a model to align the two embeddings of an entity. The
    released code does not use its twins, so drawing both twins of each
    ordinary negative is our interpretation of the paper. If a model has
    several modalities, :math:`\mathbf{e}_m` covers all of them. The ordinary
    negatives are drawn by :class:`~pyg_mmkgc.sampler.BernoulliSampler`.

    Args:
        num_negatives (int, optional): The number of ordinary negatives
            :obj:`K`. Together with their twins, there are :obj:`3 * K`
            negatives. (default: :obj:`32`)
    """
    views: list[str]

    def __init__(self, num_negatives: int = 32) -> None:
        super().__init__(num_negatives)

    def check(self, model: Any) -> None:
        self.views = view_names(self, model)

    def sample(self, head_index: Tensor, rel_type: Tensor, tail_index: Tensor,
               generator: torch.Generator) -> Negatives:
        node, side = super().sample(head_index, rel_type, tail_index,
                                    generator)[:2]
        twin = torch.arange(3, device=node.device)
        twin = twin.repeat_interleave(self.num_negatives).expand(
            node.size(0), -1)
        kept = {name: twin == (2 if name == 'structure' else 1)
                for name in self.views}
        return Negatives(node.repeat(1, 3), side.repeat(1, 3), kept)
