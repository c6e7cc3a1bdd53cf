from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Linear, Parameter

from pyg_mmkgc.kernels.host import sum_where
from pyg_mmkgc.nn.encoded import Encoded
from pyg_mmkgc.nn.kge.multi_view import MultiViewModel


class MMKRL(MultiViewModel):
    r"""The MMKRL model from the `"MMKRL: A Robust Embedding Approach for
    Multi-modal Knowledge Graph Representation Learning"
    <https://doi.org/10.1007/s10489-021-02693-9>`_ paper, which combines
    distances of structural and multi-modal embeddings with a loss that aligns
    the embeddings.

    .. math::
        s(h, r, t) = \gamma - \tfrac{1}{4} \big( d(\mathbf{h}', \mathbf{r}',
        \mathbf{t}') + d(\mathbf{m}_h, \mathbf{r}', \mathbf{m}_t) +
        d(\mathbf{m}_h, \mathbf{r}', \mathbf{t}) + d(\mathbf{h},
        \mathbf{r}', \mathbf{m}_t) \big)

    where :math:`d` is the :math:`L_1` distance of vectors normalized to length
    one, :math:`\mathbf{h}' = \mathbf{W}_s \mathbf{h} + \mathbf{b}_h`, and
    :math:`\mathbf{r}'` and :math:`\mathbf{t}'` are defined in the same way
    with their own biases. :math:`\mathbf{m}` is a projection of the
    concatenated features of all modalities.
    :class:`~pyg_mmkgc.nn.kge.multi_view.MultiViewModel` scores the pairs of
    views. The knowledge alignment loss, with the mean squared error
    :math:`\mathrm{MSE}`, is

    .. math::
        \mathcal{L}_{KA} = \sum_{x \in \{h, r, t\}} \mathrm{MSE}(\mathbf{x},
        \mathbf{x}') + \sum_{x \in \{h, t\}} \mathrm{MSE}(\mathbf{W}_{sm}
        \mathbf{x}, \mathbf{m}_x)

    The authors' code is not public. The equations follow a public
    re-implementation with two changes. The re-implementation also computes
    :math:`\mathcal{L}_{KA}` for negatives, and initializes biases from
    :math:`\mathcal{N}(0, 1)`, which dwarfs the embeddings. Here, only
    positives are aligned, and biases are initialized as in a linear layer. The
    adversarial perturbation of the paper is available as
    :class:`~pyg_mmkgc.training.Perturbation`.

    Args:
        *args: Arguments of
            :class:`~pyg_mmkgc.nn.kge.multi_view.MultiViewModel`.
        align_weight (float, optional): The weight of
            :math:`\mathcal{L}_{KA}`. (default: :obj:`1.0`)
        **kwargs (optional): Additional arguments of
            :class:`~pyg_mmkgc.nn.kge.multi_view.MultiViewModel`.
    """
    splits_batch = False

    def __init__(self, *args: Any, align_weight: float = 1.0,
                 **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.align_weight, C = align_weight, self.hidden_channels
        self.lin = Linear(C, C, bias=False)
        self.align = Linear(C, C, bias=False)
        self.bias = Parameter(torch.empty(3, C))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        super().reset_parameters()
        if hasattr(self, 'bias'):  # Not yet set in the base class.
            self.lin.reset_parameters()
            self.align.reset_parameters()
            bound = self.hidden_channels ** -0.5
            torch.nn.init.uniform_(self.bias, -bound, bound)

    @property
    def pairs(self) -> list[tuple[int, int]]:
        return [(0, 1), (3, 3), (3, 2), (2, 3)]

    def parts(self, views: dict[str, Tensor]) -> list[Tensor]:
        structure = views['structure']
        x = self._project(structure)
        return [x + self.bias[0], x + self.bias[1], structure,
                self.modal(views)]

    def normalize(self, x: Tensor) -> Tensor:
        return super().normalize(x) / 4  # Averages four distances.

    def relation(self, rel_type: Tensor) -> Tensor:
        return self.normalize(self._project(self.rel_emb(rel_type)) +
                              self.bias[2])

    def regularization(self, encoded: Encoded, rel_type: Tensor) -> Tensor:
        views, head, tail = encoded.views, encoded.head, encoded.tail
        structure, modal = views['structure'], self.modal(views)
        out = structure.new_zeros(())
        rel = self.rel_emb(rel_type)
        for x, bias in zip((structure[head], structure[tail], rel), self.bias,
                           strict=True):
            out = out + F.mse_loss(self._project(x) + bias, x)
        for row in (head, tail):
            error = self._multiply(self.align, structure[row]) - modal[row]
            there = (modal[row] != 0).any(dim=-1)  # Skips dropped views.
            out = out + sum_where(there, error.square().mean(dim=-1)) / (
                there.sum().clamp(min=1))
        return self.align_weight * out

    def _project(self, x: Tensor) -> Tensor:
        return self._multiply(self.lin, x)

    @staticmethod
    def _multiply(lin: Linear, x: Tensor) -> Tensor:
        # Autocast computes only this product in half precision.
        return lin(x).to(x.dtype)
