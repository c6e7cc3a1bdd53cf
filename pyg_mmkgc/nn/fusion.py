from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import Parameter

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.kernels.rows import fuse


class AdaptiveFusion(torch.nn.Module):
    r"""The adaptive fusion of views, eqs. (4) and (5) of `AdaMF-MAT
    <https://arxiv.org/abs/2402.15444>`_.

    .. math::
        \alpha_m = \frac{\exp(\mathbf{w}_m^{\top} \tanh(\mathbf{e}_m))}
        {\sum_{n} \exp(\mathbf{w}_n^{\top} \tanh(\mathbf{e}_n))}, \qquad
        \mathbf{e}_{joint} = \sum_m \alpha_m \mathbf{e}_m

    The paper calls :math:`\oplus` a point-wise product; a weight per modality
    needs the inner product that the released code takes.

    Args:
        names (list[str]): The names of the views.
        channels (int): The width :obj:`C` of a view.
        mode (str, optional): :obj:`"adaptive"` has one vector
            :math:`\mathbf{w}_m` per modality as the paper,
            :obj:`"shared"` one for all as the released code, :obj:`"mean"`
            weighs all alike (the ablation of table 3).
            (default: :obj:`"adaptive"`)
        skip_absent (bool, optional): If set to :obj:`True`, a view that is
            exactly zero is absent and gets no weight, unless all are: their
            sum is zero then.
            (default: :obj:`False`)
    """
    def __init__(self, names: list[str], channels: int,
                 mode: str = 'adaptive', skip_absent: bool = False) -> None:
        super().__init__()
        if mode not in ('adaptive', 'shared', 'mean'):
            raise ModelError("expected a fusion of 'adaptive', 'shared' or "
                             f"'mean', got {mode!r}")
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
        r"""The weights :math:`\alpha`, :obj:`[*, M]` in the order of
        :obj:`names`, of views :obj:`[*, C]`.
        """
        rows = [views[name] for name in self.names]
        weight = (rows[0].new_zeros(1, rows[0].size(-1))
                  if self.mode == 'mean' else self.weight)
        # Not in half precision: the softmax needs exact logits.
        with torch.autocast(weight.device.type, enabled=False):
            logits = [x.tanh() @ w for x, w in zip(
                rows, weight.expand(len(rows), -1), strict=True)]
        logit = torch.stack(torch.broadcast_tensors(*logits), dim=-1)
        if self.skip_absent:
            present = torch.stack([(x != 0).any(dim=-1).expand(
                logit.shape[:-1]) for x in rows], dim=-1)
            # Not minus infinity, of which a softmax of nothing else is NaN.
            logit = logit.masked_fill(~present,
                                      torch.finfo(logit.dtype).min)
        return logit.softmax(dim=-1)

    def forward(self, views: dict[str, Tensor]) -> Tensor:
        r"""The joint embedding :obj:`[*, C]` of views :obj:`[*, C]`."""
        if len(self.names) == 1:
            return views[self.names[0]]
        if self.mode != 'mean':
            joint = fuse(self.weight.expand(len(self.names), -1),
                         [views[name] for name in self.names],
                         self.skip_absent)
            if joint is not None:
                return joint
        alpha = self.weights(views).unbind(dim=-1)
        out = alpha[0].unsqueeze(-1) * views[self.names[0]]
        for weight, name in zip(alpha[1:], self.names[1:], strict=True):
            out = torch.addcmul(out, weight.unsqueeze(-1), views[name])
        return out

    def extra_repr(self) -> str:
        return f'{self.names}, mode={self.mode!r}'
