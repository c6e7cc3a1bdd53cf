r"""Losses on plausibility scores (higher is better)."""
from __future__ import annotations

from collections.abc import Callable
from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor

from pyg_mmkgc.errors import ModelError, check_not_negative


def _mean(rows: Tensor, weight: Optional[Tensor]) -> Tensor:
    if weight is None:
        return rows.mean()
    return (weight * rows).sum() / weight.sum()


class SelfAdversarialLoss(torch.nn.Module):
    r"""The sigmoid loss with self-adversarial weights, eqs. (7) and (8) of
    `AdaMF-MAT <https://arxiv.org/abs/2402.15444>`_ and of `RotatE
    <https://arxiv.org/abs/1902.10197>`_.

    .. math::
        \mathcal{L} = \frac{1}{B} \sum_{b} \Big( -\log \sigma(s_b) -
        \sum_{i=1}^K p_{b,i} \log \sigma(-s_{b,i}) \Big), \qquad
        p_{b,i} = \frac{\exp(\beta s_{b,i})}{\sum_j \exp(\beta s_{b,j})}

    with scores :math:`s = \gamma - \mathcal{F}`. Eq. (8) prints
    :math:`\exp(\beta \mathcal{F})`, which would favour easy negatives. The
    sign used here is the one in RotatE's paper and in the released code. No
    gradient flows through the weights :math:`p_{b,i}`.

    Args:
        temperature (float, optional): The temperature :math:`\beta`. Zero
            gives all negatives equal weight. (default: :obj:`1.0`)

    Raises:
        ModelError: If :obj:`temperature` is negative.
    """
    #: The loss is a mean over positives, whose parts several processes can
    #: compute.
    splits_batch = True

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        check_not_negative(temperature=temperature)
        self.temperature = temperature

    def forward(self, pos: Tensor, neg: Tensor,
                weight: Optional[Tensor] = None) -> Tensor:
        r"""Returns the mean loss over the scores of positives :obj:`[B]` and
        of their negatives :obj:`[B, K]`. With :obj:`weight` :obj:`[B]`, the
        mean over positives is weighted.
        """
        prob = (self.temperature * neg.detach()).softmax(dim=-1)
        return -_mean(F.logsigmoid(pos) +
                      (prob * F.logsigmoid(-neg)).sum(dim=-1), weight)

    def extra_repr(self) -> str:
        return f'temperature={self.temperature}'


class MarginRankingLoss(torch.nn.Module):
    r"""The pairwise hinge loss :math:`\max(0, m - s_b + s_{b,i})` of `TransE
    <https://papers.nips.cc/paper/2013/hash/
    1cecc7a77928ca8133fa24680a88d2f9-Abstract.html>`_, averaged over positives
    and negatives.

    Args:
        margin (float, optional): The margin :math:`m`. (default: :obj:`1.0`)

    Raises:
        ModelError: If :obj:`margin` is negative.
    """
    splits_batch = True

    def __init__(self, margin: float = 1.0) -> None:
        super().__init__()
        check_not_negative(margin=margin)
        self.margin = margin

    def forward(self, pos: Tensor, neg: Tensor,
                weight: Optional[Tensor] = None) -> Tensor:
        r"""Returns the mean loss over the scores of positives :obj:`[B]` and
        of their negatives :obj:`[B, K]`. With :obj:`weight` :obj:`[B]`, the
        mean over positives is weighted.
        """
        hinge = (self.margin - pos[:, None] + neg).relu()
        return _mean(hinge.mean(dim=-1), weight)

    def extra_repr(self) -> str:
        return f'margin={self.margin}'


class BCELoss(torch.nn.Module):
    r"""The binary cross-entropy with logits, as the mean over positives plus
    the mean over negatives.
    """
    splits_batch = True

    def forward(self, pos: Tensor, neg: Tensor,
                weight: Optional[Tensor] = None) -> Tensor:
        r"""Returns the mean loss over the scores of positives :obj:`[B]` and
        of their negatives :obj:`[B, K]`. With :obj:`weight` :obj:`[B]`, the
        mean over positives is weighted.
        """
        return -_mean(F.logsigmoid(pos) + F.logsigmoid(-neg).mean(dim=-1),
                      weight)


class AllNodesLoss(torch.nn.Module):
    r"""An abstract base class of losses that score every node as the answer
    to each query of a batch. They need no negative sampler.
    """
    #: Tells a configuration that no sampler is needed.
    takes_all_nodes = True
    #: If :obj:`True`, :meth:`forward` needs the known answers of each query.
    needs_labels = False

    def forward(self, scores: Tensor, target: Tensor,
                labels: Optional[Tensor] = None) -> Tensor:
        r"""Returns the mean loss over queries.

        Args:
            scores (torch.Tensor): The scores of all nodes, :obj:`[B, N]`.
            target (torch.Tensor): The ids of the true nodes, :obj:`[B]`.
            labels (torch.Tensor, optional): One where a node is a known
                answer in the training split, and zero elsewhere,
                :obj:`[B, N]`. (default: :obj:`None`)
        """
        raise NotImplementedError

    def part(self, scores: Tensor, target: Tensor, labels: Optional[Tensor],
             num_nodes: int, stack: Callable[[Tensor], Tensor]) -> Tensor:
        r"""Returns the contribution of some of the nodes. The contributions of
        all parts add up to the result of :meth:`forward`, and so do their
        gradients.

        Args:
            scores (torch.Tensor): The scores of these nodes, :obj:`[B, n]`.
            target (torch.Tensor): The positions of the true nodes among these
                nodes, or -1, :obj:`[B]`.
            labels (torch.Tensor, optional): As for :meth:`forward`,
                :obj:`[B, n]`.
            num_nodes (int): The number :obj:`N` of all nodes.
            stack (callable): Stacks equally shaped tensors of all parts.
        """
        raise NotImplementedError


class OneVsAllLoss(AllNodesLoss):
    r"""The cross-entropy of the true node among all nodes (1-vs-all), as in
    `Canonical Tensor Decomposition for Knowledge Base Completion
    <https://arxiv.org/abs/1806.07297>`_.
    """
    def forward(self, scores: Tensor, target: Tensor,
                labels: Optional[Tensor] = None) -> Tensor:
        return F.cross_entropy(scores, target)

    def part(self, scores: Tensor, target: Tensor, labels: Optional[Tensor],
             num_nodes: int, stack: Callable[[Tensor], Tensor]) -> Tensor:
        here = (target >= 0).nonzero().view(-1)
        own = scores.logsumexp(dim=1)
        parts = stack(own.detach())
        total = parts.logsumexp(dim=0)
        # The gradient of the logarithm of the sum over all nodes is the
        # softmax, which is this part's softmax times the weight of the part.
        weighted = ((own.detach() - total).exp() * own if scores.size(1) > 0
                    else scores.sum(dim=1))
        value = weighted + (total / parts.size(0) - weighted).detach()
        return (value.sum() - scores[here, target[here]].sum()) / (
            scores.size(0))


class KvsAllLoss(AllNodesLoss):
    r"""The binary cross-entropy of all nodes against the known answers of each
    query (K-vs-all, 1-N), as in `Convolutional 2D Knowledge Graph Embeddings
    <https://arxiv.org/abs/1707.01476>`_.

    Each triple of a batch contributes its query. A query that occurs in
    several triples of the batch counts several times.

    Args:
        label_smoothing (float, optional): The amount :math:`\epsilon` of
            smoothing, which turns labels :math:`y` into
            :math:`(1 - \epsilon) y + \epsilon / N`. (default: :obj:`0.0`)

    Raises:
        ModelError: If :obj:`label_smoothing` is not in :math:`[0, 1)`.
    """
    needs_labels = True

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise ModelError("Expected 'label_smoothing' to be in [0, 1) (got "
                             f'{label_smoothing})')
        self.label_smoothing = label_smoothing

    def forward(self, scores: Tensor, target: Tensor,
                labels: Optional[Tensor] = None) -> Tensor:
        if labels is None:
            raise ModelError("Expected the 'labels' of all nodes in "
                             'KvsAllLoss (got None)')
        labels = (1.0 - self.label_smoothing) * labels + (
            self.label_smoothing / scores.size(-1))
        return F.binary_cross_entropy_with_logits(scores,
                                                  labels.to(scores.dtype))

    def part(self, scores: Tensor, target: Tensor, labels: Optional[Tensor],
             num_nodes: int, stack: Callable[[Tensor], Tensor]) -> Tensor:
        assert labels is not None
        labels = (1.0 - self.label_smoothing) * labels + (
            self.label_smoothing / num_nodes)
        return F.binary_cross_entropy_with_logits(
            scores, labels.to(scores.dtype), reduction='sum') / (
                scores.size(0) * num_nodes)

    def extra_repr(self) -> str:
        return f'label_smoothing={self.label_smoothing}'
