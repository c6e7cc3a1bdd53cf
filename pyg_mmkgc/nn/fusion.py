from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import Parameter

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.kernels.rows import fuse, fusion_weights


class AdaptiveFusion(torch.nn.Module):
    r"""The adaptive fusion of views, eqs. (4) and (5) of `AdaMF-MAT
    <https://arxiv.org/abs/2402.15444>`_.

    .. math::
        \alpha_m = \frac{\exp(\mathbf{w}_m^{\top} \tanh(\mathbf{e}_m))}
        {\sum_{n} \exp(\mathbf{w}_n^{\top} \tanh(\mathbf{e}_n))}, \qquad
        \mathbf{e}_{joint} = \sum_m \alpha_m \mathbf{e}_m

    The paper calls :math:`\oplus` a point-wise product. A scalar weight per
    modality requires an inner product, which the released code computes.

    Args:
        names (list[str]): The names of the views.
        channels (int): The width :obj:`C` of a view.
        mode (str, optional): :obj:`"adaptive"` learns one vector
            :math:`\mathbf{w}_m` per modality, as in the paper.
            :obj:`"shared"` learns one vector for all modalities, as in the
            released code. :obj:`"mean"` gives all modalities equal weight
            (the ablation in table 3). (default: :obj:`"adaptive"`)
        skip_absent (bool, optional): If set to :obj:`True`, a view of zeros
            counts as absent and gets no weight. If all views are absent, the
            joint embedding is zero. (default: :obj:`False`)

    Raises:
        ModelError: If the mode is unknown.
    """
    def __init__(self, names: list[str], channels: int,
                 mode: str = 'adaptive', skip_absent: bool = False) -> None:
        super().__init__()
        if mode not in ('adaptive', 'shared', 'mean'):
            raise ModelError("Expected 'fusion' to be 'adaptive', 'shared' or "
                             f"'mean' (got {mode!r})")
        self.names = list(names)
        self.mode = mode
        self.skip_absent = skip_absent
        rows = {'adaptive': len(names), 'shared': 1, 'mean': 0}[mode]
        self.weight = Parameter(torch.empty(rows, channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        bound = 1 / math.sqrt(self.weight.size(-1))
        torch.nn.init.uniform_(self.weight, -bound, bound)

    def weights(self, views: dict[str, Tensor]) -> Tensor:
        r"""Returns the weights :math:`\alpha` of views :obj:`[*, C]`, with
        shape :obj:`[*, M]` in the order of :obj:`names`.
        """
        return fusion_weights(*self._inputs(views), self.skip_absent)

    def forward(self, views: dict[str, Tensor]) -> Tensor:
        r"""Returns the joint embeddings :obj:`[*, C]` of views
        :obj:`[*, C]`.
        """
        if len(self.names) == 1:
            return views[self.names[0]]
        return fuse(*self._inputs(views), self.skip_absent)

    def _inputs(self, views: dict[str, Tensor]) -> tuple[Tensor, list[Tensor]]:
        # Equal logits give equal weights.
        weight = (self.weight.new_zeros(1, self.weight.size(-1))
                  if self.mode == 'mean' else self.weight)
        return (weight.expand(len(self.names), -1),
                [views[name] for name in self.names])

    def extra_repr(self) -> str:
        return f'{self.names}, mode={self.mode!r}'
