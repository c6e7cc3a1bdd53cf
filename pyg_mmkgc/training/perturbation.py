from __future__ import annotations

from typing import Any, Optional

import torch
from torch import Tensor
from torch_geometric.nn.kge import KGEModel

from pyg_mmkgc.errors import ModelError, check_positive, check_whole
from pyg_mmkgc.kernels.host import drawn_for
from pyg_mmkgc.nn.encoded import Entities, encode
from pyg_mmkgc.nn.generator import ModalityGenerator
from pyg_mmkgc.nn.kge import MMKGEModel
from pyg_mmkgc.nn.loss import MarginRankingLoss
from pyg_mmkgc.nn.share import draw
from pyg_mmkgc.sampler import NegativeSampler
from pyg_mmkgc.training.adversary import Adversary, check_views
from pyg_mmkgc.training.batch import Batch, Completion

MODES = ('fgsm', 'noise', 'generator')
Views = dict[str, Tensor]


class Perturbation(Adversary):
    r"""The adversarial training of the `"MMKRL: A robust embedding approach
    for multi-modal knowledge graph representation learning"
    <https://doi.org/10.1007/s10489-021-02693-9>`_ paper, for any
    :class:`~pyg_mmkgc.nn.kge.MMKGEModel` with modalities.

    Every view :math:`\mathbf{v}` of the head and the tail of a positive is
    perturbed to :math:`\mathbf{v} + \mathbf{a}`, except for views of zeros,
    which are absent. The perturbed triple needs to score higher than its
    negatives,

    .. math::
        \mathcal{L}_{adv} = \frac{1}{BK} \sum_{b,k} \max(0, m - s(h + a_h, r,
        t + a_t) + s_{b,k})

    With :obj:`mode="fgsm"`, the perturbation is the `fast gradient sign
    <https://arxiv.org/abs/1412.6572>`_ :math:`\mathbf{a} = -\epsilon \,
    \mathrm{sign}(\partial s / \partial \mathbf{v})`. With :obj:`mode="noise"`,
    it is drawn as :math:`\mathbf{a} \sim \mathcal{N}(0, \epsilon^2)`. The
    paper has no official code and describes its perturbation only as noise on
    embeddings. The loss, and the choice to perturb views before the model
    projects them, are our interpretation.

    With :obj:`mode="generator"`, as in the port of MMKRL in the code of
    `AdaMF-MAT <https://arxiv.org/abs/2402.15444>`_, a generator
    :math:`\mathbf{a} = G(\mathbf{e}_s, \mathbf{z})` makes one perturbation
    for all views of an entity. The model minimizes :math:`\max(0, m - s +
    s^*)`, such that the positive scores higher than its perturbed version, and
    the generator minimizes :math:`\max(0, m - s^* + s)`. The port compares all
    pairs of a batch, whereas each triple is only compared with its own
    perturbed version here.

    Args:
        generator (ModalityGenerator, optional): The generator :math:`G`,
            which only :obj:`mode="generator"` needs. (default: :obj:`None`)
        mode (str, optional): :obj:`"fgsm"`, :obj:`"noise"` or
            :obj:`"generator"`. (default: :obj:`"fgsm"`)
        weight (float, optional): The weight of the loss, by default the
            same as in the port. (default: :obj:`0.07`)
        epsilon (float, optional): The size :math:`\epsilon` of the
            perturbation. (default: :obj:`0.01`)
        margin (float, optional): The margin :math:`m`. (default: :obj:`1.0`)

    Raises:
        ModelError: If an argument is out of range or does not fit the other
            arguments.
    """
    splits_batch = True

    def __init__(
        self,
        generator: Optional[ModalityGenerator] = None,
        mode: str = 'fgsm',
        weight: float = 0.07,
        epsilon: float = 0.01,
        margin: float = 1.0,
    ) -> None:
        super().__init__(weight)
        if mode not in MODES:
            raise ModelError(f"Expected 'mode' to be one of {MODES} (got "
                             f'{mode!r})')
        if (generator is None) != (mode != 'generator'):
            raise ModelError("Expected a generator if and only if "
                             f"mode='generator' (got mode={mode!r} with "
                             f"'{type(generator).__name__}')")
        check_positive(epsilon=epsilon)
        self.generator, self.mode = generator, mode
        self.epsilon, self.margin = epsilon, margin
        self.hinge = MarginRankingLoss(margin)

    @classmethod
    def from_model(cls, model: KGEModel, mode: str = 'fgsm', *,
                   noise_channels: int = 64, generator_channels: int = 512,
                   **kwargs: Any) -> Perturbation:
        r"""Builds the adversary for a model.

        Args:
            model (MMKGEModel): The model.
            mode (str, optional): The mode. (default: :obj:`"fgsm"`)
            noise_channels (int, optional): The width of the generator's noise.
                (default: :obj:`64`)
            generator_channels (int, optional): The hidden width of the
                generator. (default: :obj:`512`)
            **kwargs (optional): Arguments of :class:`Perturbation`.

        Raises:
            ModelError: If the model has no modalities.
        """
        check_views('Perturbation', model)
        check_whole(noise_channels=noise_channels,
                    generator_channels=generator_channels)
        generator = None
        if mode == 'generator':
            generator = ModalityGenerator(
                model.node_emb.embedding_dim, noise_channels,
                generator_channels)
        return cls(generator, mode, **kwargs)

    def check(self, model: KGEModel) -> None:
        check_views('Perturbation', model)

    def check_sampler(self, sampler: Optional[NegativeSampler]) -> None:
        if sampler is None and self.mode != 'generator':
            raise ModelError("Expected a sampler for 'Perturbation' with "
                             f'mode={self.mode!r}, which compares positives '
                             'with negatives (got none)')

    def discriminator_loss(self, model: MMKGEModel, batch: Batch,
                           done: Completion) -> Tensor:
        assert done.encoded is not None
        head, tail = done.encoded.entities(done.scored)
        perturbed = self._score(model, head, batch, tail)
        if self.mode != 'generator':
            assert done.scored is not None
            return self.hinge(perturbed, done.scored.neg)
        pos = (model.score(head.joint, batch.rel_type, tail.joint)
               if done.scored is None else done.scored.pos)
        return self.hinge(pos, perturbed[:, None])

    def generator_loss(self, model: MMKGEModel, batch: Batch,
                       done: Completion) -> Tensor:
        with torch.no_grad():  # The step of the model changed its views.
            head, tail = encode(model, batch.head_index,
                                batch.tail_index).entities()
            pos = model.score(head.joint, batch.rel_type, tail.joint)
        return self.hinge(self._score(model, head, batch, tail), pos[:, None])

    def _score(self, model: MMKGEModel, head: Entities, batch: Batch,
               tail: Entities) -> Tensor:
        def score(*entities: Views) -> Tensor:
            first, second = (model.fuse(views) for views in entities)
            return model.score(first, batch.rel_type, second)

        sides = [head.views, tail.views]
        if self.mode == 'fgsm':
            added = self._against(score, sides)
        else:
            added = [self._drawn(views, batch.generator) for views in sides]
        return score(*({name: x + step[name] * (x != 0).any(-1, keepdim=True)
                        for name, x in views.items()}
                       for views, step in zip(sides, added, strict=True)))

    def _drawn(self, views: Views, generator: torch.Generator) -> Views:
        def noise(x: Tensor, width: int) -> Tensor:
            out = draw(torch.randn, x.size(0), width, generator=generator,
                       device=generator.device)
            return drawn_for(x, out)

        if self.generator is None:
            return {name: self.epsilon * noise(x, x.size(-1))
                    for name, x in views.items()}
        structure = views['structure']
        added = self.generator(
            structure, noise(structure, self.generator.noise_channels))
        return dict.fromkeys(views, added)

    def _against(self, score: Any, sides: list[Views]) -> list[Views]:
        with torch.enable_grad():
            leaves = [{name: x.detach().requires_grad_()
                       for name, x in views.items()} for views in sides]
            grads = torch.autograd.grad(
                score(*leaves).sum(),
                [x for views in leaves for x in views.values()],
                allow_unused=True, materialize_grads=True)
        signs = iter(grads)
        return [{name: -self.epsilon * next(signs).sign() for name in views}
                for views in leaves]

    def extra_repr(self) -> str:
        return (f'mode={self.mode!r}, weight={self.weight}, '
                f'epsilon={self.epsilon}, margin={self.margin}')
