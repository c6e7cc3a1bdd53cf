from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor

from pyg_mmkgc.errors import ModelError, check_whole
from pyg_mmkgc.kernels.host import to_device


class Choice(NamedTuple):
    r"""The choice of nodes by a learned sampler, with the values needed to
    train the sampler.
    """
    candidates: Tensor  # The nodes to choose from, [M].
    logits: Tensor  # The logits of the candidates, with their noise, [B, M].
    picks: Tensor  # The positions of the chosen candidates, [B, K].
    # Maps the scores of the negatives [B, K] to a scalar added to the loss.
    penalty: Callable[[Tensor], Tensor]


class Negatives(NamedTuple):
    r"""The corrupted triples of a batch of positives.

    :obj:`node` replaces the head of the positive where :obj:`corrupt_head` is
    :obj:`True`, and the tail otherwise. Both have shape :obj:`[B, K]`.

    :obj:`kept` maps the names of views to masks of shape :obj:`[B, K]`. Where
    a mask is :obj:`True`, the replaced node keeps its own view. If the sampler
    is learned, :obj:`choice` carries its gradient.
    """
    node: Tensor
    corrupt_head: Tensor
    kept: Optional[dict[str, Tensor]] = None
    choice: Optional[Choice] = None

    def to(self, device: torch.device) -> Negatives:
        r"""Returns the negatives on a device, without waiting for the copy."""
        kept = self.kept and {name: to_device(mask, device)
                              for name, mask in self.kept.items()}
        return Negatives(to_device(self.node, device),
                         to_device(self.corrupt_head, device), kept,
                         self.choice)


class NegativeSampler:
    r"""An abstract base class of negative samplers.

    Args:
        num_negatives (int, optional): The number of negatives :obj:`K` of
            each positive. (default: :obj:`128`)

    Raises:
        ModelError: If :obj:`num_negatives` is not a positive integer.
    """
    num_nodes: int
    #: The learnable part, trained along with the model at learning rate
    #: :obj:`lr`.
    module: Optional[torch.nn.Module] = None
    lr: float = 1e-4
    #: If :obj:`True`, the negatives depend on the total number of epochs.
    scheduled: bool = False

    def __init__(self, num_negatives: int = 128) -> None:
        check_whole(num_negatives=num_negatives)
        self.num_negatives = num_negatives

    def prepare(self, edge_index: Tensor, edge_type: Tensor, num_nodes: int,
                num_relations: int) -> NegativeSampler:
        r"""Reads the *training* triples, given as :obj:`edge_index` of shape
        :obj:`[2, E]` and :obj:`edge_type` of shape :obj:`[E]`. This method
        must be called once before :meth:`sample`.
        """
        self.num_nodes = num_nodes
        return self

    def check(self, model: Any) -> None:
        r"""Raises a :class:`~pyg_mmkgc.errors.ModelError` if :obj:`model`
        cannot score the negatives.
        """

    def begin_epoch(self, model: Any, epoch: int, epochs: int) -> None:
        r"""Prepares the sampler for an epoch. Called before each epoch, from 1
        to :obj:`epochs`, with the current model.
        """

    def sample(self, head_index: Tensor, rel_type: Tensor, tail_index: Tensor,
               generator: torch.Generator) -> Negatives:
        r"""Draws negatives of shape :obj:`[B, K]` for positives of shape
        :obj:`[B]`.

        A trainer passes the positives on the CPU for every device, so that
        the host knows the nodes of a batch. A sampler that compares
        embeddings copies them to the model.
        """
        raise NotImplementedError

    def __repr__(self) -> str:
        return f'{type(self).__name__}(num_negatives={self.num_negatives})'


def view_names(sampler: NegativeSampler, model: Any) -> list[str]:
    r"""Returns the names of a model's views.

    Raises:
        ModelError: If the model has no structural view, has no modality, or
            cannot score representations.
    """
    names = getattr(model, 'modalities', [])
    if (not names or not hasattr(model, 'fuse')
            or model.node_emb.num_embeddings == 0):
        raise ModelError(
            'Expected a model with a structural embedding and at least one '
            f"modality for '{type(sampler).__name__}' (got "
            f"'{type(model).__name__}' with the modalities {names or 'none'})")
    if getattr(model, 'reciprocal', False):
        raise ModelError(
            "Expected a model with reciprocal=False for "
            f"'{type(sampler).__name__}', which scores heads and tails with "
            f"the same relation (got '{type(model).__name__}' with "
            'reciprocal=True)')
    return ['structure', *names]


def head_probability(edge_index: Tensor, edge_type: Tensor,
                     num_relations: int) -> Tensor:
    r"""Returns the probability :obj:`[R]` of corrupting the head of a triple
    by the Bernoulli rule of `Wang et al.
    <https://ojs.aaai.org/index.php/AAAI/article/view/8870>`_,
    :math:`tph_r / (tph_r + hpt_r)`.

    Here, :math:`tph_r` is the number of tails per head, and :math:`hpt_r` the
    number of heads per tail, so 1-N relations mostly have their head replaced.
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
