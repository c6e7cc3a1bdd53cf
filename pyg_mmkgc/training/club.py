from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import Linear, ModuleDict, ReLU, Sequential, Tanh
from torch_geometric.nn.kge import KGEModel

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.kernels.host import to_device
from pyg_mmkgc.nn.kge import MMKGEModel
from pyg_mmkgc.training.adversary import Adversary
from pyg_mmkgc.training.batch import Batch, Completion


class CLUB(Adversary):
    r"""Minimizes the mutual information of the experts of a modality, as in
    `"Multiple Heads are Better than One: Mixture of Modality Knowledge Experts
    for Entity Representation Learning" <https://arxiv.org/abs/2405.16869>`_,
    by the upper bound of `CLUB <https://arxiv.org/abs/2006.12013>`_.

    For two random experts :math:`i \ne j` of each modality, and the entities
    of a batch in their order and in a random order :math:`\pi`, the loss of
    the model is

    .. math::
        \mathcal{L}_{club} = \frac{1}{B} \sum_b \log q(\mathbf{v}_{j,b} \mid
        \mathbf{v}_{i,b}) - \log q(\mathbf{v}_{j,\pi(b)} \mid
        \mathbf{v}_{i,b}), \qquad
        q(\cdot \mid \mathbf{v}) = \mathcal{N}(\mu(\mathbf{v}),
        \sigma^2(\mathbf{v}))

    as the mean over modalities. The estimators :math:`\mu` and :math:`\log
    \sigma^2` are perceptrons, which maximize the likelihood
    :math:`q(\mathbf{v}_j \mid \mathbf{v}_i)`. The released code leaves
    :math:`\log \sigma^2` out of the likelihood, which is then no longer the
    likelihood of a normal distribution.

    Args:
        estimators (torch.nn.ModuleDict): The :class:`Estimator` of each
            modality.
        weight (float, optional): The weight in the loss of the model.
            (default: :obj:`1e-4`)
    """
    def __init__(self, estimators: ModuleDict, weight: float = 1e-4) -> None:
        super().__init__(weight)
        self.estimators = estimators

    @classmethod
    def from_model(cls, model: MMKGEModel, **kwargs: Any) -> CLUB:
        r"""Builds an estimator for each modality of a model with experts, such
        as :class:`~pyg_mmkgc.nn.MoMoK`.

        Args:
            model (MMKGEModel): The model.
            **kwargs (optional): Arguments of :class:`CLUB`.
        """
        _check_experts(model)
        return cls(ModuleDict({
            name: Estimator(model.hidden_channels)
            for name in ('structure', *model.modalities)}), **kwargs)

    def check(self, model: KGEModel) -> None:
        _check_experts(model)

    def default_sampler(self) -> None:
        r"""Returns :obj:`None`, since models with experts train on the scores
        of all nodes or on their own loss.
        """

    def discriminator_loss(self, model: MMKGEModel, batch: Batch,
                           done: Completion) -> Tensor:
        losses = []
        for estimator, first, second in self._pairs(model, batch):
            other = second[to_device(_permutation(second.size(0), batch),
                                     second.device)]
            losses.append((estimator(first, second) -
                           estimator(first, other)).mean())
        return torch.stack(losses).mean()

    def generator_loss(self, model: MMKGEModel, batch: Batch,
                       done: Completion) -> Tensor:
        with torch.no_grad():  # The step of the model changed its experts.
            pairs = self._pairs(model, batch)
        return -torch.stack([estimator(first, second).mean()
                             for estimator, first, second in pairs]).mean()

    def _pairs(self, model: Any, batch: Batch
               ) -> list[tuple[torch.nn.Module, Tensor, Tensor]]:
        r"""Returns the estimator and the outputs :obj:`[2 * B, C]` of two
        random experts of each modality, for the heads and the tails.
        """
        outputs = model.expert_outputs(model.embed(torch.cat([
            batch.head_index, batch.tail_index])))
        first, second = _permutation(model.num_experts, batch)[:2].tolist()
        return [(estimator, outputs[name][:, first], outputs[name][:, second])
                for name, estimator in self.estimators.items()]

    def extra_repr(self) -> str:
        return f'weight={self.weight}'


class Estimator(torch.nn.Module):
    r"""The conditional normal distribution :math:`q(\mathbf{y} \mid
    \mathbf{x})` of :class:`CLUB`.

    Args:
        channels (int): The width :obj:`C` of both vectors.
    """
    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(1, channels // 2)
        self.mean = Sequential(Linear(channels, hidden), ReLU(),
                               Linear(hidden, channels))
        self.log_variance = Sequential(Linear(channels, hidden), ReLU(),
                                       Linear(hidden, channels), Tanh())

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        r"""Returns the log-likelihoods :math:`\log q(\mathbf{y} \mid
        \mathbf{x})` up to a constant, :obj:`[B]`.
        """
        log_variance = self.log_variance(x).to(x.dtype)
        error = (y - self.mean(x).to(x.dtype)).square()
        return -0.5 * (error / log_variance.exp() + log_variance).sum(dim=-1)


def _permutation(size: int, batch: Batch) -> Tensor:
    return torch.randperm(size, generator=batch.generator,
                          device=batch.generator.device)


def _check_experts(model: KGEModel) -> None:
    if not hasattr(model, 'expert_outputs') or model.num_experts < 2:
        raise ModelError("Expected a model with at least two experts for each "
                         "modality, such as 'MoMoK', for 'CLUB' (got "
                         f"'{type(model).__name__}' with "
                         f'{getattr(model, "num_experts", 0)})')
