from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor

from pyg_mmkgc.errors import ModelError, check_whole


class Choice(NamedTuple):
    r"""How a learned sampler chose the nodes of :class:`Negatives`, with what
    its training needs.
    """
    candidates: Tensor  # The nodes to choose from, [M].
    logits: Tensor  # Those of the choice, with their noise, [B, M].
    picks: Tensor  # The candidates that were chosen, [B, K].
    # Maps the scores of the negatives [B, K] to a scalar for the loss.
    penalty: Callable[[Tensor], Tensor]


class Negatives(NamedTuple):
    r"""Corrupted triples: :obj:`node` stands for the head of the positive
    where :obj:`corrupt_head`, else for its tail; both :obj:`[B, K]`.

    Of the views that :obj:`kept` names, the node that is replaced keeps its
    own where the mask :obj:`[B, K]` is :obj:`True`. Of a learned sampler,
    :obj:`choice` carries the gradient.
    """
    node: Tensor
    corrupt_head: Tensor
    kept: Optional[dict[str, Tensor]] = None
    choice: Optional[Choice] = None


class NegativeSampler:
    r"""An abstract base class of negative samplers.

    Args:
        num_negatives (int, optional): The number of negatives :obj:`K` of
            each positive. (default: :obj:`128`)
    """
    num_nodes: int
    #: What the sampler learns, trained along with the model at :attr:`lr`.
    module: Optional[torch.nn.Module] = None
    lr: float = 1e-4
    #: Whether the negatives depend on how many epochs there will be.
    scheduled: bool = False

    def __init__(self, num_negatives: int = 128) -> None:
        check_whole(num_negatives=num_negatives)
        self.num_negatives = num_negatives

    def prepare(self, edge_index: Tensor, edge_type: Tensor, num_nodes: int,
                num_relations: int) -> NegativeSampler:
        r"""Reads the *training* triples, :obj:`[2, E]` and :obj:`[E]`; call
        it once, before :meth:`sample`.
        """
        self.num_nodes = num_nodes
        return self

    def check(self, model: Any) -> None:
        r"""Raises :class:`~pyg_mmkgc.errors.ModelError` where :obj:`model`
        cannot score the negatives.
        """

    def begin_epoch(self, model: Any, epoch: int, epochs: int) -> None:
        r"""Called before epoch 1, 2, ... of :obj:`epochs`, with the model as
        :meth:`sample` will find it.
        """

    def sample(self, head_index: Tensor, rel_type: Tensor, tail_index: Tensor,
               generator: torch.Generator) -> Negatives:
        r"""Draws :obj:`[B, K]` negatives of positives :obj:`[B]`."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f'{type(self).__name__}(num_negatives={self.num_negatives})'


def view_names(sampler: NegativeSampler, model: Any) -> list[str]:
    r"""The names of a model's views.

    Raises:
        ModelError: If it has no structural view or none beside it, or cannot
            score representations.
    """
    names = getattr(model, 'modalities', [])
    if (not names or not hasattr(model, 'fuse')
            or model.node_emb.num_embeddings == 0):
        raise ModelError(
            f'{type(sampler).__name__} needs a model with a structural '
            f'embedding and a modality, but {type(model).__name__} has the '
            f'modalities {names or "none"}')
    if getattr(model, 'reciprocal', False):
        raise ModelError(f'{type(sampler).__name__} scores heads and tails by '
                         'one relation: expected reciprocal=False')
    return ['structure', *names]


def head_probability(edge_index: Tensor, edge_type: Tensor,
                     num_relations: int) -> Tensor:
    r"""The probability :obj:`[R]` of corrupting the head of a triple,
    :math:`tph_r / (tph_r + hpt_r)`, as `Wang et al.
    <https://ojs.aaai.org/index.php/AAAI/article/view/8870>`_ draw it: with
    :math:`tph_r` tails per head, a 1-N relation mostly gets another head.
    A relation without triples has probability one half.
    """
    num = torch.bincount(edge_type, minlength=num_relations)
    num_nodes = int(edge_index.max()) + 1 if edge_index.numel() > 0 else 1
    heads, tails = (
        torch.bincount((edge_type * num_nodes + node).unique() // num_nodes,
                       minlength=num_relations) for node in edge_index)
    # tph / (tph + hpt) with tph = num / heads and hpt = num / tails.
    prob = tails / (heads + tails)
    return torch.where(num > 0, prob, 0.5)
