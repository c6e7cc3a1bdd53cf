from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import ModuleDict

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn.adversarial import (
    call_reversed,
    discriminator_term,
    synthetic_scores,
)
from pyg_mmkgc.nn.generator import ModalityGenerator
from pyg_mmkgc.nn.kge.adamf import AdaMF


class AdaMFMAT(AdaMF):
    r"""AdaMF with modality adversarial training, the full model of the
    `"Unleashing the Power of Imbalanced Modality Information for Multi-modal
    Knowledge Graph Completion" <https://arxiv.org/abs/2402.15444>`_ paper.

    Generators make synthetic modality embeddings from the structural one and
    noise (eq. (9)), and the model learns to tell triples with synthetic
    entities from real ones (eqs. (10) and (11)):

    .. math::
        \min_{\mathcal{D}} \mathcal{L}_{kgc} + \min_{\mathcal{D}}
        \max_{\mathcal{G}} \lambda \mathcal{L}_{adv}

    :meth:`loss` is this whole objective for a plain loop with *one* optimizer:
    the gradient of the generators is reversed. The two optimizers of
    algorithm 1 are those of
    :class:`~pyg_mmkgc.training.AdversarialTrainer`, which calls
    :class:`~pyg_mmkgc.training.MAT` on the same generators.

    Args:
        *args: Arguments of :class:`~pyg_mmkgc.nn.AdaMF`, with at least one
            modality.
        adv_weight (float, optional): :math:`\lambda` of :meth:`loss`.
            (default: :obj:`0.01`)
        noise_channels (int, optional): The width of the noise.
            (default: :obj:`64`)
        generator_channels (int, optional): The hidden width of a generator.
            (default: :obj:`512`)
        **kwargs (optional): Additional arguments of
            :class:`~pyg_mmkgc.nn.AdaMF`.
    """
    def __init__(self, *args: Any, adv_weight: float = 0.01,
                 noise_channels: int = 64, generator_channels: int = 512,
                 **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.modalities or not self.structure:
            raise ModelError('expected a structural embedding and at least '
                             'one modality: MAT generates the modalities from '
                             'the structure; AdaMF is the model without MAT')
        self.adv_weight = adv_weight
        self.noise_channels = noise_channels
        self.generator_channels = generator_channels
        self.generators = ModuleDict({
            name: ModalityGenerator(2 * self.hidden_channels, noise_channels,
                                    generator_channels)
            for name in self.modalities})

    def reset_parameters(self) -> None:
        super().reset_parameters()
        # AdaMF's constructor resets before there are generators.
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
