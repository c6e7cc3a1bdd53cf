from __future__ import annotations

from collections.abc import Iterable
from typing import Optional

import torch
from torch import Tensor
from torch_geometric.nn.kge import KGEModel

from pyg_mmkgc.errors import ModelError, check_not_negative
from pyg_mmkgc.nn.kge import MMKGEModel
from pyg_mmkgc.sampler import Negatives, NegativeSampler, PooledSampler
from pyg_mmkgc.training.batch import Batch, Completion


class Adversary(torch.nn.Module):
    r"""An abstract base class of adversaries, which
    :class:`~pyg_mmkgc.training.AdversarialTrainer` trains in turn with the
    model.

    The parameters of an adversary belong to its generator. An adversary
    without parameters skips the generator step.

    Args:
        weight (float, optional): :math:`\lambda`, the weight of
            :meth:`discriminator_loss` in the loss of the model.
            (default: :obj:`0.01`)

    Raises:
        ModelError: If :obj:`weight` is negative.
    """
    #: If :obj:`True`, the generator and the model share a backward pass, in
    #: which the generator follows the negated gradient of
    #: :meth:`discriminator_loss`. If :obj:`False`, the generator takes its own
    #: step on :meth:`generator_loss` after the model.
    simultaneous: bool = False

    #: If :obj:`True`, both losses are means over the positives of a batch,
    #: whose parts several processes can compute.
    splits_batch: bool = False

    def __init__(self, weight: float = 0.01) -> None:
        super().__init__()
        check_not_negative(weight=weight)
        self.weight = weight

    def check(self, model: KGEModel) -> None:
        r"""Raises a :class:`~pyg_mmkgc.errors.ModelError` if the adversary
        does not support :obj:`model`.
        """

    def check_sampler(self, sampler: Optional[NegativeSampler]) -> None:
        r"""Raises a :class:`~pyg_mmkgc.errors.ModelError` if the adversary
        does not support the negatives of :obj:`sampler`.
        """

    def default_sampler(self) -> Optional[NegativeSampler]:
        r"""Returns the sampler to use if the user passes none, or :obj:`None`
        to train without a sampler.
        """
        return PooledSampler()

    def begin_epoch(self, epoch: int) -> None:
        r"""Prepares the adversary for an epoch. Called before each epoch,
        counted from 1.
        """

    def choose(self, model: KGEModel, batch: Batch) -> Optional[Negatives]:
        r"""Returns the negatives to train the model on, which are the sampled
        negatives by default.
        """
        return batch.negatives

    def discriminator_loss(self, model: KGEModel, batch: Batch,
                           done: Completion) -> Tensor:
        r"""Returns the unweighted term that is added to the loss of the model,
        given the results of its own loss in :obj:`done`.
        """
        raise NotImplementedError

    def generator_loss(self, model: KGEModel, batch: Batch,
                       done: Completion) -> Tensor:
        r"""Returns the loss that the generator minimizes. Called after the
        step of the model, with the results from before the step in
        :obj:`done`.
        """
        raise NotImplementedError


def check_views(adversary: str, model: KGEModel,
                names: Optional[Iterable[str]] = None) -> None:
    r"""Raises a :class:`~pyg_mmkgc.errors.ModelError` if a model lacks a
    structural embedding or one of the modalities :obj:`names`. Without
    :obj:`names`, the model needs at least one modality.
    """
    have = getattr(model, 'modalities', [])
    wanted = list(have if names is None else names)
    if not (isinstance(model, MMKGEModel) and wanted
            and set(wanted) <= set(have)
            and model.node_emb.num_embeddings > 0):
        raise ModelError(
            'Expected a model with a structural embedding and the modalities '
            f"{wanted or 'to generate'} for '{adversary}' (got "
            f"'{type(model).__name__}' with the modalities {have or 'none'})")
