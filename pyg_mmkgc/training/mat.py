from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Optional

import torch
from torch import Tensor
from torch.nn import Module, ModuleDict
from torch_geometric.nn.kge import KGEModel

from pyg_mmkgc.errors import ModelError, check_not_negative, check_whole
from pyg_mmkgc.kernels.host import drawn_for
from pyg_mmkgc.nn.adversarial import (
    KINDS,
    PARITY,
    Entities,
    discriminator_term,
    generator_term,
    synthetic_scores,
)
from pyg_mmkgc.nn.encoded import encode
from pyg_mmkgc.nn.generator import ModalityGenerator
from pyg_mmkgc.nn.kge import MMKGEModel
from pyg_mmkgc.nn.kge.pyg import triple_model
from pyg_mmkgc.nn.share import draw
from pyg_mmkgc.training.adversary import Adversary, check_views
from pyg_mmkgc.training.batch import Batch, Completion


class MAT(Adversary):
    r"""The modality adversarial training of the `"Unleashing the Power of
    Imbalanced Modality Information for Multi-modal Knowledge Graph Completion"
    <https://arxiv.org/abs/2402.15444>`_ paper (section 3.4 and algorithm 1),
    for any :class:`~pyg_mmkgc.nn.kge.MMKGEModel` with a structural view and
    modalities.

    The generators are fixed in the step of the model, and the model is fixed
    in the step of the generators. In the step of the model, the gradient of
    :math:`\mathcal{L}_{adv}` also reaches the structural embedding through the
    input of the generators, as in eq. (11) and in the released code.

    Args:
        generators (torch.nn.ModuleDict): One generator
            :math:`G_m(\mathbf{e}_s, \mathbf{z})` per modality, see
            :class:`~pyg_mmkgc.nn.generator.ModalityGenerator`.
        weight (float, optional): :math:`\lambda`, the weight of
            :math:`\mathcal{L}_{adv}` in the loss of the model. The loss of the
            generators is not weighted, as in the released code, although
            :math:`\lambda` multiplies both sides of eq. (11). Since the
            generators have their own Adam optimizer, a weight would hardly
            change their steps. (default: :obj:`0.01`)
        groups (int, optional): The number :math:`L` of groups of synthetic
            triples for each positive. (default: :obj:`1`)
        kinds (sequence[str], optional): The kinds of synthetic triples:
            :obj:`"head"` is :math:`(h^*, r, t)`, :obj:`"tail"` is
            :math:`(h, r, t^*)`, :obj:`"both"` is :math:`(h^*, r, t^*)`.
            (default: all three)
        parity (str, optional): :obj:`"paper"` for the losses of eqs. (10) and
            (11), or :obj:`"released"` for the losses of the released code,
            see :mod:`pyg_mmkgc.nn.adversarial`. (default: :obj:`"paper"`)
        temperature (float, optional): The temperature of the softmax over the
            batch, which only :obj:`parity="released"` uses.
            (default: :obj:`2.0`)
        detach (bool, optional): If set to :obj:`True`, no gradient reaches
            the structural embedding through the generators, unlike in
            eq. (11). (default: :obj:`False`)
        simultaneous (bool, optional): If set to :obj:`True`, a single backward
            pass serves both sides of eq. (11). The generators then maximize
            :math:`\mathcal{L}_{adv}` on the synthetic triples of the model's
            step, as scored before the step. Algorithm 1 draws and scores new
            synthetic triples after the step, which takes about 50% longer.
            (default: :obj:`False`)

    Raises:
        ModelError: If an argument is out of range or does not fit the other
            arguments.
    """
    def __init__(
        self,
        generators: ModuleDict,
        weight: float = 0.01,
        groups: int = 1,
        kinds: Sequence[str] = KINDS,
        parity: str = 'paper',
        temperature: float = 2.0,
        detach: bool = False,
        simultaneous: bool = False,
    ) -> None:
        super().__init__(weight)
        if len(generators) == 0:
            raise ModelError("Expected 'generators' to hold at least one "
                             f'generator (got {generators})')
        check_whole(groups=groups)
        if not kinds or not set(kinds) <= set(KINDS):
            raise ModelError(f"Expected 'kinds' to be among {KINDS} (got "
                             f'{tuple(kinds)})')
        check_not_negative(temperature=temperature)
        if parity not in PARITY:
            raise ModelError(f"Expected 'parity' to be one of {PARITY} (got "
                             f'{parity!r})')
        if simultaneous and (parity != 'paper' or weight == 0):
            raise ModelError(
                "Expected parity='paper' and a positive weight for "
                'simultaneous steps, since both sides use the gradient of '
                f'weight * L_adv (got parity={parity!r}, weight={weight})')
        self.generators = generators
        self.groups = groups
        self.kinds = tuple(kinds)
        self.parity = parity
        self.temperature = temperature
        self.detach = detach
        self.simultaneous = simultaneous
        # The released softmax is over the batch.
        self.splits_batch = parity == 'paper'

    @classmethod
    def from_model(cls, model: MMKGEModel, *,
                   noise_channels: Optional[int] = None,
                   generator_channels: Optional[int] = None,
                   **kwargs: Any) -> MAT:
        r"""Builds MAT with the generators of the model, as in
        :class:`~pyg_mmkgc.nn.kge.AdaMFMAT`, or with new generators if the
        model has none.

        Args:
            model (MMKGEModel): The model.
            noise_channels (int, optional): The width of the noise of new
                generators. (default: :obj:`64`)
            generator_channels (int, optional): The hidden width of new
                generators. (default: :obj:`512`)
            **kwargs (optional): Arguments of :class:`MAT`.

        Raises:
            ModelError: If the model has no structural embedding or no
                modality, or if widths are given for a model with generators.
        """
        check_whole(optional=True, noise_channels=noise_channels,
                    generator_channels=generator_channels)
        form = triple_model(model)
        generators = None if form is None else form.generator_modules()
        if generators is not None and (noise_channels, generator_channels) != (
                None, None):
            raise ModelError('Expected no widths of generators for '
                             f"'{type(model).__name__}', which has generators "
                             f'(got noise_channels={noise_channels}, '
                             f'generator_channels={generator_channels}). Pass '
                             'them as arguments of the model.')
        if generators is None:
            check_views('MAT', model)
            channels = model.node_emb.embedding_dim
            generators = ModuleDict({
                name: ModalityGenerator(channels, noise_channels or 64,
                                        generator_channels or 512)
                for name in model.modalities})
        return cls(generators, **kwargs)

    def check(self, model: KGEModel) -> None:
        check_views('MAT', model, self.generators)

    def discriminator_loss(self, model: MMKGEModel, batch: Batch,
                           done: Completion) -> Tensor:
        assert done.encoded is not None
        # Generated views replace the real views, which are not looked up.
        head, tail = done.encoded.entities(done.scored, list(self.generators))
        pos = (model.score(head.joint, batch.rel_type, tail.joint)
               if done.scored is None else done.scored.pos)
        fake = self._scores(model, head, batch, tail)
        return discriminator_term(pos, fake, self.parity, self.temperature)

    def generator_loss(self, model: MMKGEModel, batch: Batch,
                       done: Completion) -> Tensor:
        with torch.no_grad():  # The step of the model changed its views.
            head, tail = encode(model, batch.head_index, batch.tail_index
                                ).entities(without=list(self.generators))
        with _frozen(model, self):  # Avoids gradients of the model.
            return generator_term(self._scores(model, head, batch, tail),
                                  self.parity)

    def _scores(self, model: MMKGEModel, head: Entities, batch: Batch,
                tail: Entities) -> dict[str, Tensor]:
        def generate(name: str, structure: Tensor) -> Tensor:
            module = self.generators[name]
            assert isinstance(module, ModalityGenerator)
            noise = draw(
                torch.randn, self.groups, structure.size(0),
                module.noise_channels, dim=1, generator=batch.generator,
                device=batch.generator.device)
            given = structure.detach() if self.detach else structure
            return module(given, drawn_for(structure, noise))

        return synthetic_scores(model, head, batch.rel_type, tail,
                                list(self.generators), generate, self.kinds)

    def extra_repr(self) -> str:
        return (f'weight={self.weight}, groups={self.groups}, '
                f'kinds={self.kinds}, parity={self.parity!r}, '
                f'temperature={self.temperature}, detach={self.detach}, '
                f'simultaneous={self.simultaneous}')


@contextmanager
def _frozen(model: Module, but: Module) -> Iterator[None]:
    theirs = {id(p) for p in but.parameters()}
    params = [p for p in model.parameters()
              if p.requires_grad and id(p) not in theirs]
    for p in params:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in params:
            p.requires_grad_(True)
