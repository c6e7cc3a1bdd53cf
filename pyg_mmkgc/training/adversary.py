from __future__ import annotations

from collections.abc import Iterable
from typing import Optional

import torch
from torch import Tensor
from torch_geometric.nn.kge import KGEModel

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn.kge import MMKGEModel
from pyg_mmkgc.sampler import Negatives, NegativeSampler, PooledSampler
from pyg_mmkgc.training.batch import Batch, Completion


class Adversary(torch.nn.Module):
    r"""An abstract base class of adversaries, which
    :class:`~pyg_mmkgc.training.AdversarialTrainer` trains in turn with the
    model. Its parameters are the generator's; without any, there is no step
    of the generator.

    Args:
        weight (float, optional): :math:`\lambda`, the weight of
            :meth:`discriminator_loss` in the loss of the model.
            (default: :obj:`0.01`)
    """
    #: Whether the generator steps along with the model, by the negated
    #: gradient of :meth:`discriminator_loss` in the same backward pass,
    #: instead of after it by :meth:`generator_loss`.
    simultaneous: bool = False

    def __init__(self, weight: float = 0.01) -> None:
        super().__init__()
        if not weight >= 0:
            raise ModelError('expected a weight that is not negative, got '
                             f'{weight}')
        self.weight = weight

    def check(self, model: KGEModel) -> None:
        r"""Raises :class:`~pyg_mmkgc.errors.ModelError` where the adversary
        cannot work on :obj:`model`.
        """

    def check_sampler(self, sampler: Optional[NegativeSampler]) -> None:
        r"""Raises :class:`~pyg_mmkgc.errors.ModelError` where it cannot work
        on the negatives of :obj:`sampler`.
        """

    def default_sampler(self) -> NegativeSampler:
        r"""Where negatives are from, if nothing else is said."""
        return PooledSampler()

    def begin_epoch(self, epoch: int) -> None:
        r"""Called before epoch 1, 2, ..."""

    def choose(self, model: KGEModel, batch: Batch) -> Optional[Negatives]:
        r"""The negatives that the model is trained on; by default those that
        the sampler drew.
        """
        return batch.negatives

    def discriminator_loss(self, model: KGEModel, batch: Batch,
                           done: Completion) -> Tensor:
        r"""Returns the term that the model minimises, before the weight,
        given what its own loss was computed from.
        """
        raise NotImplementedError

    def generator_loss(self, model: KGEModel, batch: Batch,
                       done: Completion) -> Tensor:
        r"""Returns the loss that the generator minimises; called after the
        model's step, with the results from before it.
        """
        raise NotImplementedError


def check_views(adversary: str, model: KGEModel,
                names: Optional[Iterable[str]] = None) -> None:
    r"""Raises :class:`~pyg_mmkgc.errors.ModelError` if a model lacks a
    structural embedding or the modalities :obj:`names`, by default any.
    """
    have = getattr(model, 'modalities', [])
    wanted = list(have if names is None else names)
    if not (isinstance(model, MMKGEModel) and wanted
            and set(wanted) <= set(have)
            and model.node_emb.num_embeddings > 0):
        raise ModelError(
            f'{adversary} needs a model with a structural embedding and with '
            f'the modalities {wanted or "that it generates"}, but '
            f'{type(model).__name__} has the modalities {have or "none"}')
