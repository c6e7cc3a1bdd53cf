from __future__ import annotations

from typing import Any, Optional, Union

import torch
from torch import Tensor

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.kernels.host import distinct_values, to_device
from pyg_mmkgc.sampler.base import Negatives, view_names
from pyg_mmkgc.sampler.bernoulli import BernoulliSampler

VARIANTS = ('V', 'T', 'H', 'A')


class MANSSampler(BernoulliSampler):
    r"""The modality-aware negative sampling of the `"Modality-Aware Negative
    Sampling for Multi-modal Knowledge Graph Embedding"
    <https://arxiv.org/abs/2304.11618>`_ paper.

    A *visual* negative :math:`(\mathbf{e}_s, \mathbf{e}'_v)` replaces the
    visual embedding of an entity and keeps its structural embedding, while an
    ordinary negative replaces both. The variants mix the two kinds:

    * :obj:`"V"` draws visual negatives only.
    * :obj:`"T"` draws visual negatives in the first half of the epochs, and
      ordinary negatives in the second half.
    * :obj:`"H"` draws a fixed share :math:`\beta` of visual negatives.
    * :obj:`"A"` adapts the share of visual negatives to each batch. It is the
      share of ordinary negatives for which

    .. math::
        E_{sv} + E_{vs} < E_{ss} + E_{vv}

    Here, :math:`E_{xy}` is the energy :math:`-s(\mathbf{h}_x, r,
    \mathbf{t}_y)` of a head that is reduced to its view :math:`x` and a tail
    that is reduced to its view :math:`y`.

    Each negative is drawn to be visual independently, while the released code
    makes the first rows visual, which follows the same distribution. The paper
    has a single modality. With several modalities, a visual negative replaces
    all of them unless :obj:`modality` names one, and their energies are
    summed. Pairs in which a view is absent, and therefore zero, do not count.
    As in the released code, ordinary negatives are drawn by
    :class:`~pyg_mmkgc.sampler.BernoulliSampler`, one for each positive by
    default.

    Args:
        num_negatives (int, optional): The number of negatives :obj:`K` of
            each positive. (default: :obj:`1`)
        variant (str, optional): :obj:`"V"`, :obj:`"T"`, :obj:`"H"` or
            :obj:`"A"`. (default: :obj:`"A"`)
        beta (float, optional): :math:`\beta` of :obj:`"H"`.
            (default: :obj:`0.3`)
        modality (str, optional): The view that a visual negative replaces.
            (default: :obj:`None`, all modalities)

    Raises:
        ModelError: If an argument is out of range or unknown.
    """
    views: list[str]
    model: Any

    def __init__(self, num_negatives: int = 1, variant: str = 'A',
                 beta: float = 0.3, modality: Optional[str] = None) -> None:
        super().__init__(num_negatives)
        if variant not in VARIANTS:
            raise ModelError(f"Expected 'variant' to be one of {VARIANTS} "
                             f'(got {variant!r})')
        if not 0 <= beta <= 1:
            raise ModelError(f"Expected 'beta' to be in [0, 1] (got {beta})")
        self.variant, self.beta, self.modality = variant, beta, modality
        self.scheduled = variant == 'T'
        self.share = beta if variant == 'H' else 1.0

    def check(self, model: Any) -> None:
        self.views = view_names(self, model)
        if self.modality not in (None, *self.views[1:]):
            raise ModelError("Expected 'modality' to be one of "
                             f'{self.views[1:]} (got {self.modality!r})')

    def begin_epoch(self, model: Any, epoch: int, epochs: int) -> None:
        self.model = model
        if self.variant == 'T':
            self.share = float(2 * (epoch - 1) < epochs)

    def sample(self, head_index: Tensor, rel_type: Tensor, tail_index: Tensor,
               generator: torch.Generator) -> Negatives:
        node, side = super().sample(head_index, rel_type, tail_index,
                                    generator)[:2]
        share: Union[float, Tensor] = self.share
        if self.variant == 'A':
            head = torch.where(side, node, head_index[:, None])
            tail = torch.where(side, tail_index[:, None], node)
            share = self._share(head, rel_type[:, None], tail)
        draw = torch.rand(node.shape, generator=generator,
                          device=generator.device)
        if isinstance(share, Tensor):
            draw = to_device(draw, share.device)
        replaced = (self.views[1:] if self.modality is None else
                    [self.modality])
        return Negatives(node, side, {name: draw < share for name in self.views
                                      if name not in replaced})

    @torch.no_grad()
    def _share(self, head: Tensor, rel_type: Tensor, tail: Tensor) -> Tensor:
        def only(views: dict[str, Tensor], name: str) -> Tensor:
            return self.model.fuse(dict.fromkeys(views, views[name]))

        node, place = distinct_values(torch.stack([head, tail]))
        node, place, rel_type = (
            to_device(x, self.model.rel_emb.weight.device)
            for x in (node, place, rel_type))
        views = self.model.embed(node)
        heads, tails = ({name: x[index] for name, x in views.items()}
                        for index in place)
        cross = torch.zeros(head.shape, device=node.device)
        names = [self.modality] if self.modality else self.views[1:]
        there = torch.stack([(x[name] != 0).any(dim=-1)
                             for name in ['structure', *names]
                             for x in (heads, tails)]).all(dim=0)
        for name in names:
            for x, y, sign in (('structure', name, 1), (name, 'structure', 1),
                               ('structure', 'structure', -1),
                               (name, name, -1)):
                cross = cross + sign * self.model.score(
                    only(heads, x), rel_type, only(tails, y))
        # Energies are negated scores, which flips the inequality.
        return ((cross > 0) & there).sum() / there.sum().clamp(min=1)

    def __repr__(self) -> str:
        return (f'{type(self).__name__}(num_negatives={self.num_negatives}, '
                f'variant={self.variant!r}, beta={self.beta}, '
                f'modality={self.modality!r})')
