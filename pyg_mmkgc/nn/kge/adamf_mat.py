from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import ModuleDict

from pyg_mmkgc.errors import ModelError, check_whole
from pyg_mmkgc.nn.adversarial import (
    call_reversed,
    discriminator_term,
    synthetic_scores,
)
from pyg_mmkgc.nn.generator import ModalityGenerator
from pyg_mmkgc.nn.kge.adamf import AdaMF


class AdaMFMAT(AdaMF):
    r"""The AdaMF-MAT model from the `"Unleashing the Power of Imbalanced
    Modality Information for Multi-modal Knowledge Graph Completion"
    <https://arxiv.org/abs/2402.15444>`_ paper, which adds modality adversarial
    training (MAT) to :class:`~pyg_mmkgc.nn.AdaMF`.

    Generators produce synthetic modality embeddings from structural embeddings
    and noise (eq. (9)). The model learns to distinguish triples with synthetic
    entities from real triples (eqs. (10) and (11)):

    .. math::
        \min_{\mathcal{D}} \mathcal{L}_{kgc} + \min_{\mathcal{D}}
        \max_{\mathcal{G}} \lambda \mathcal{L}_{adv}

    :meth:`loss` is the whole objective for a plain training loop with *one*
    optimizer, since it reverses the gradient of the generators. For the two
    optimizers of algorithm 1, use
    :class:`~pyg_mmkgc.training.AdversarialTrainer` with
    :class:`~pyg_mmkgc.training.MAT`, which trains the same generators. The two
    differ in two ways. First, :meth:`loss` weights the loss of the generators
    by :math:`\lambda`, as in eq. (11), whereas
    :class:`~pyg_mmkgc.training.MAT` does not weight it, as in the released
    code. Second, :meth:`loss` draws one group of synthetic triples, :math:`L =
    1`, whereas :class:`~pyg_mmkgc.training.MAT` supports any number of groups.

    Args:
        *args: Arguments of :class:`~pyg_mmkgc.nn.AdaMF`, with at least one
            modality.
        adv_weight (float, optional): The weight :math:`\lambda` of the
            adversarial loss in :meth:`loss`. (default: :obj:`0.01`)
        noise_channels (int, optional): The width of the noise.
            (default: :obj:`64`)
        generator_channels (int, optional): The hidden width of a generator.
            (default: :obj:`512`)
        **kwargs (optional): Additional arguments of
            :class:`~pyg_mmkgc.nn.AdaMF`.

    Raises:
        ModelError: If the model has no structural embedding or no modality, or
            if an argument is out of range.
    """
    def __init__(self, *args: Any, adv_weight: float = 0.01,
                 noise_channels: int = 64, generator_channels: int = 512,
                 **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        check_whole(noise_channels=noise_channels,
                    generator_channels=generator_channels)
        if not self.modalities or not self.structure:
            raise ModelError('Expected AdaMFMAT to have a structural '
                             'embedding and at least one modality (got '
                             f'structure={self.structure} and modalities='
                             f'{self.modalities}). MAT generates the '
                             'modalities from the structure. Use AdaMF to '
                             'train without MAT.')
        self.adv_weight = adv_weight
        self.noise_channels = noise_channels
        self.generator_channels = generator_channels
        self.generators = ModuleDict({
            name: ModalityGenerator(2 * self.hidden_channels, noise_channels,
                                    generator_channels)
            for name in self.modalities})

    def reset_parameters(self) -> None:
        super().reset_parameters()
        # AdaMF's constructor calls this method before generators exist.
        for generator in getattr(self, 'generators', {}).values():
            generator.reset_parameters()

    def loss(self, head_index: Tensor, rel_type: Tensor,
             tail_index: Tensor) -> Tensor:
        encoded, loss = self.encode_and_loss(head_index, rel_type, tail_index)
        head, tail = encoded.entities()
        pos = self.score(head.joint, rel_type, tail.joint)
        fake = synthetic_scores(self, head, rel_type, tail, self.modalities,
                                self._generate)
        return loss + self.adv_weight * discriminator_term(pos, fake)

    def generator_modules(self) -> ModuleDict:
        return self.generators

    def _generate(self, name: str, structure: Tensor) -> Tensor:
        noise = torch.randn(1, structure.size(0), self.noise_channels,
                            dtype=structure.dtype, device=structure.device)
        return call_reversed(self.generators[name], structure, noise)
