from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn.functional import rotate
from pyg_mmkgc.nn.kge.multi_view import MultiViewModel
from pyg_mmkgc.typing import Side

DISTANCES = ('translation', 'rotation')


class VBKGC(MultiViewModel):
    r"""The VBKGC model from the `"Knowledge Graph Completion with Pre-trained
    Multimodal Transformer and Twins Negative Sampling"
    <https://arxiv.org/abs/2209.07084>`_ paper.

    .. math::
        s(h, r, t) = \gamma - \sum_{X, Y \in \{S, M\}} d(\mathbf{h}_X,
        \mathbf{r}, \mathbf{t}_Y)

    where the distance :math:`d` is either :math:`\| \hat{\mathbf{h}} +
    \hat{\mathbf{r}} - \hat{\mathbf{t}} \|_1` for vectors normalized to length
    one, as in `TransE <https://papers.nips.cc/paper/2013/hash/
    1cecc7a77928ca8133fa24680a88d2f9-Abstract.html>`_, or :math:`\sum_i |h_i
    e^{\mathrm{i} \theta_i} - t_i|`, as in `RotatE
    <https://arxiv.org/abs/1902.10197>`_.
    :class:`~pyg_mmkgc.nn.kge.multi_view.MultiViewModel` scores the pairs of
    views.

    In the paper, :math:`M` is a projection of a joint VisualBERT feature of
    image and text. Such features are not public, so :math:`M` is a projection
    of the concatenated features of all modalities here. To obtain the model of
    the paper, pass the joint feature as the only modality. The paper's
    negatives are available as :class:`~pyg_mmkgc.sampler.TwinsSampler`. The
    authors' code for the paper was not available, so normalization and
    initialization follow their later code.

    Args:
        *args: Arguments of
            :class:`~pyg_mmkgc.nn.kge.multi_view.MultiViewModel`.
        distance (str, optional): The distance :math:`d`,
            :obj:`"translation"` (TransE) or :obj:`"rotation"` (RotatE).
            (default: :obj:`"translation"`)
        **kwargs (optional): Additional arguments of
            :class:`~pyg_mmkgc.nn.kge.multi_view.MultiViewModel`.

    Raises:
        ModelError: If :obj:`distance` is unknown, :obj:`margin` is not
            positive, or there is no modality.
    """
    def __init__(self, *args: Any, distance: str = 'translation',
                 **kwargs: Any) -> None:
        if distance not in DISTANCES:
            raise ModelError("Expected 'distance' to be "
                             f"{' or '.join(map(repr, DISTANCES))} (got "
                             f'{distance!r})')
        self.distance = distance  # Used by the constructor of the base class.
        self.group = 2 if distance == 'rotation' else 1
        super().__init__(*args, **kwargs)

    def reset_parameters(self) -> None:
        super().reset_parameters()
        if self.distance == 'rotation':
            bound = (self.margin + 2.0) / self.hidden_channels
            torch.nn.init.uniform_(self.rel_emb.weight, -bound, bound)
            torch.nn.init.uniform_(self.node_emb.weight, -bound / 2, bound / 2)

    @property
    def pairs(self) -> list[tuple[int, int]]:
        return [(0, 0), (1, 1), (1, 0), (0, 1)]

    def parts(self, views: dict[str, Tensor]) -> list[Tensor]:
        return [views['structure'], self.modal(views)]

    def normalize(self, x: Tensor) -> Tensor:
        return x if self.distance == 'rotation' else super().normalize(x)

    def relation(self, rel_type: Tensor) -> Tensor:
        if self.distance == 'translation':
            return super().relation(rel_type)
        # Initial phases are uniform on [-pi, pi].
        return self.rel_emb(rel_type) * (
            math.pi * self.hidden_channels / (self.margin + 2.0))

    def move(self, x: Tensor, rel: Tensor, side: Side) -> Tensor:
        if self.distance == 'translation':
            return super().move(x, rel, side)
        return rotate(x, rel, inverse=side == 'head')
