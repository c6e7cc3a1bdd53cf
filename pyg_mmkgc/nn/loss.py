r"""Losses on plausibility scores (higher is better)."""
from __future__ import annotations

from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor

from pyg_mmkgc.errors import ModelError


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
    :math:`\exp(\beta \mathcal{F})`, which would prefer the easy negatives;
    RotatE's paper and the released code have the sign used here. The weights
    are constants for the gradient.

    Args:
        temperature (float, optional): :math:`\beta`; zero weighs all
            negatives alike. (default: :obj:`1.0`)
    """
    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, pos: Tensor, neg: Tensor,
                weight: Optional[Tensor] = None) -> Tensor:
        r"""The mean loss of scores of positives :obj:`[B]` and of their
        negatives :obj:`[B, K]`; with a :obj:`weight` of each positive,
        :obj:`[B]`, the weighted one.
        """
        prob = (self.temperature * neg.detach()).softmax(dim=-1)
        return -_mean(F.logsigmoid(pos) +
                      (prob * F.logsigmoid(-neg)).sum(dim=-1), weight)

    def extra_repr(self) -> str:
        return f'temperature={self.temperature}'


class MarginRankingLoss(torch.nn.Module):
    r"""The pairwise hinge :math:`\max(0, m - s_b + s_{b,i})`, mean over
    positives and negatives, as `TransE
    <https://papers.nips.cc/paper/2013/hash/
    1cecc7a77928ca8133fa24680a88d2f9-Abstract.html>`_ has it.

    Args:
        margin (float, optional): :math:`m`. (default: :obj:`1.0`)
    """
    def __init__(self, margin: float = 1.0) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, pos: Tensor, neg: Tensor,
                weight: Optional[Tensor] = None) -> Tensor:
        r"""The mean loss of scores of positives :obj:`[B]` and of their
        negatives :obj:`[B, K]`; with a :obj:`weight` of each positive,
        :obj:`[B]`, the weighted one.
        """
        hinge = (self.margin - pos[:, None] + neg).relu()
        return _mean(hinge.mean(dim=-1), weight)

    def extra_repr(self) -> str:
        return f'margin={self.margin}'


class BCELoss(torch.nn.Module):
    r"""Binary cross-entropy with logits, mean over the positives plus mean
    over the negatives.
    """
    def forward(self, pos: Tensor, neg: Tensor,
                weight: Optional[Tensor] = None) -> Tensor:
        r"""The mean loss of scores of positives :obj:`[B]` and of their
        negatives :obj:`[B, K]`; with a :obj:`weight` of each positive,
        :obj:`[B]`, the weighted one.
        """
        return -_mean(F.logsigmoid(pos) + F.logsigmoid(-neg).mean(dim=-1),
                      weight)


class AllNodesLoss(torch.nn.Module):
    r"""An abstract base class of losses on the scores of all nodes, as tails
    and as heads of the queries of a batch. They need no negative sampler.
    """
    #: Whether :meth:`forward` needs the known answers of each query.
    needs_labels = False

    def forward(self, scores: Tensor, target: Tensor,
                labels: Optional[Tensor] = None) -> Tensor:
        r"""The mean loss of queries.

        Args:
            scores (torch.Tensor): The scores of all nodes, :obj:`[B, N]`.
            target (torch.Tensor): The ids of the true nodes, :obj:`[B]`.
            labels (torch.Tensor, optional): One where a node is known to
                answer the query in training, else zero, :obj:`[B, N]`.
        """
        raise NotImplementedError


class OneVsAllLoss(AllNodesLoss):
    r"""Cross-entropy of the true node among all nodes (1-vs-all), as in
    `Canonical Tensor Decomposition for Knowledge Base Completion
    <https://arxiv.org/abs/1806.07297>`_.
    """
    def forward(self, scores: Tensor, target: Tensor,
                labels: Optional[Tensor] = None) -> Tensor:
        return F.cross_entropy(scores, target)


class KvsAllLoss(AllNodesLoss):
    r"""Binary cross-entropy of all nodes against the known answers of each
    query (K-vs-all, 1-N), as in `Convolutional 2D Knowledge Graph Embeddings
    <https://arxiv.org/abs/1707.01476>`_.

    Queries are those of the triples of a batch; one that has several triples
    there counts for each.

    Args:
        label_smoothing (float, optional): :math:`\epsilon` of the labels
            :math:`(1 - \epsilon) y + \epsilon / N`. (default: :obj:`0.0`)
    """
    needs_labels = True

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise ModelError('expected 0 <= label_smoothing < 1, got '
                             f'{label_smoothing}')
        self.label_smoothing = label_smoothing

    def forward(self, scores: Tensor, target: Tensor,
                labels: Optional[Tensor] = None) -> Tensor:
        if labels is None:
            raise ModelError('KvsAllLoss needs the labels of all nodes')
        labels = (1.0 - self.label_smoothing) * labels + (
            self.label_smoothing / scores.size(-1))
        return F.binary_cross_entropy_with_logits(scores,
                                                  labels.to(scores.dtype))

    def extra_repr(self) -> str:
        return f'label_smoothing={self.label_smoothing}'
