r"""The synthetic triples and the losses of modality adversarial training
(MAT), section 3.4 of `AdaMF-MAT <https://arxiv.org/abs/2402.15444>`_, for any
model that fuses a structural view with generated views.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pyg_mmkgc.nn.encoded import Entities
from pyg_mmkgc.nn.kge.base import TripleModel

KINDS = ('head', 'tail', 'both')
PARITY = ('paper', 'released')

Views = dict[str, Tensor]
Generate = Callable[[str, Tensor], Tensor]


def synthesize(model: TripleModel, views: Views, names: list[str],
               generate: Generate) -> Tensor:
    r"""Returns the representations of synthetic entities. They are fused from
    the real views :obj:`[*, C]`, except that the modalities in :obj:`names`
    are replaced by :math:`G_m(\mathbf{e}_s, \mathbf{z})` of shape
    :obj:`[L, *, C]`.
    """
    structure = views['structure']
    fake = {name: generate(name, structure) for name in names}
    return model.fuse({**views, **fake})


def synthetic_scores(model: TripleModel, head: Entities, rel_type: Tensor,
                     tail: Entities, names: list[str], generate: Generate,
                     kinds: tuple[str, ...] = KINDS) -> dict[str, Tensor]:
    r"""Returns the scores :obj:`[L, B]` of :math:`(h^*, r, t)`,
    :math:`(h, r, t^*)` and :math:`(h^*, r, t^*)` under the keys
    :obj:`"head"`, :obj:`"tail"` and :obj:`"both"`. All three kinds share the
    same :math:`h^*` and :math:`t^*`.

    Args:
        model (MMKGEModel): The model.
        head (Entities): The heads.
        rel_type (torch.Tensor): The relations :obj:`[B]`.
        tail (Entities): The tails.
        names (list[str]): The modalities to generate.
        generate (callable): Maps a modality and structural embeddings
            :obj:`[B, C]` to synthetic embeddings :obj:`[L, B, C]`.
        kinds (tuple[str, ...], optional): The kinds of synthetic triples.
            (default: all three)
    """
    out = {}
    fake_head = synthesize(model, head.views, names, generate)
    fake_tail = synthesize(model, tail.views, names, generate)
    if 'head' in kinds:
        out['head'] = model.score(fake_head, rel_type, tail.joint)
    if 'tail' in kinds:
        out['tail'] = model.score(head.joint, rel_type, fake_tail)
    if 'both' in kinds:
        out['both'] = model.score(fake_head, rel_type, fake_tail)
    return out


def discriminator_term(pos: Tensor, fake: dict[str, Tensor],
                       parity: str = 'paper',
                       temperature: float = 1.0) -> Tensor:
    r"""Returns the adversarial loss :math:`\mathcal{L}_{adv}` of eq. (10).

    .. math::
        \mathcal{L}_{adv} = \frac{1}{B} \sum_b \Big( -\log \sigma(s_b) -
        \frac{1}{|\mathcal{S}|} \sum_{s^* \in \mathcal{S}_b}
        \log \sigma(-s^*) \Big)

    The scores :math:`s = \gamma - \mathcal{F}` are :obj:`[B]` for positives
    and :obj:`[L, B]` for each kind of synthetic triples.
    :obj:`parity="released"` selects the form of the released code. It adds
    the positive term once per kind, and weights the synthetic triples of a
    kind by a softmax of :obj:`temperature` times their score *over the
    batch*.
    """
    if parity == 'paper':
        stacked = torch.stack(list(fake.values()))
        return -F.logsigmoid(pos).mean() - F.logsigmoid(-stacked).mean()
    loss = pos.new_zeros(())
    for score in fake.values():
        weight = (temperature * score.detach()).softmax(dim=-1)
        loss = loss - F.logsigmoid(pos).mean()
        loss = loss - (weight * F.logsigmoid(-score)).sum(dim=-1).mean()
    return loss


def generator_term(fake: dict[str, Tensor], parity: str = 'paper') -> Tensor:
    r"""Returns the loss that the generators minimize:
    :math:`-\mathcal{L}_{adv}` without the term of the positives, which is
    constant in the inner maximization of eq. (11).
    :obj:`parity="released"` selects the non-saturating
    :math:`-\log \sigma(s^*)` of the released code, summed over kinds.
    """
    if parity == 'paper':
        return F.logsigmoid(-torch.stack(list(fake.values()))).mean()
    return -torch.stack([F.logsigmoid(score).mean()
                         for score in fake.values()]).sum()


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return -grad


def call_reversed(module: torch.nn.Module, *args: Tensor) -> Tensor:
    r"""Calls :obj:`module` such that only its own parameters receive the
    negated gradient. A single optimizer then minimizes a loss over the rest of
    the model and maximizes it over :obj:`module`.
    """
    params = {name: _Reverse.apply(param)
              for name, param in module.named_parameters()}
    return torch.func.functional_call(module, params, args)
