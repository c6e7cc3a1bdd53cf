from __future__ import annotations

import math
from typing import Any, Optional

import torch
from torch import Tensor
from torch.nn import Module

from pyg_mmkgc.data.index import TripleIndex
from pyg_mmkgc.errors import (
    ModelError,
    check_not_negative,
    check_positive,
    check_whole,
)
from pyg_mmkgc.kernels.host import distinct_values, to_device
from pyg_mmkgc.sampler.attention import CrossModalAttention
from pyg_mmkgc.sampler.base import Choice, Negatives, NegativeSampler

# The logit of known answers, below all other logits at any temperature.
KNOWN = -1e6


class MMRNSSampler(NegativeSampler):
    r"""The sampler of the `"Relation-enhanced Negative Sampling for Multimodal
    Knowledge Graph Completion" <https://doi.org/10.1145/3503161.3548388>`_
    paper (MMRNS), which learns to choose negatives that resemble the positive.

    The candidates :math:`c` are shared by a batch. They are compared with the
    replaced entity :math:`e` in each view :math:`v` of
    :class:`~pyg_mmkgc.sampler.CrossModalAttention`. Using Gumbel noise, the
    negatives are drawn without replacement from

    .. math::
        p(c) \propto \sum_v \mathrm{softmax}_c \left( \cos(\mathbf{v}_c,
        \mathbf{v}_e) / T \right), \qquad T = \frac{T_0}{1 + \ln(step + 1)}

    The gradient of the model's loss reaches the sampler through a
    straight-through estimator
    (:func:`~pyg_mmkgc.sampler.straight_through.straight_through`), so both
    minimize the same loss, to which the sampler adds

    .. math::
        \frac{\omega}{|v|} \sum_v -\log \frac{\sum_{c \in \mathrm{known}}
        \exp \cos(\mathbf{v}_c, \mathbf{v}_e)}{\sum_k w_k \exp
        \cos(\mathbf{v}_k, \mathbf{v}_e)}

    The numerator sums over the candidates that are known answers in the
    training triples. These are only drawn if fewer than :math:`K` other
    candidates are left. The denominator sums over the drawn candidates
    :math:`k` with self-adversarial weights :math:`w_k`.

    There are three differences from the released code. Its weights
    :math:`w_k` could not be fully determined, so they follow the idea of the
    paper. Its batches alternate between heads and tails, while the side is
    drawn for each positive here. The embeddings of the model are constant
    inputs here, so the additional term does not train them.

    Args:
        model (MMKGEModel): The model whose embeddings are compared.
        features (dict[str, torch.Tensor]): The rows of each modality, of shape
            :obj:`[N, P, F]` or :obj:`[N, F]`. At least one modality is
            required.
        masks (dict[str, torch.Tensor], optional): The masks of available
            rows. (default: :obj:`None`)
        num_negatives (int, optional): The number of negatives :obj:`K` of
            each positive. (default: :obj:`20`)
        num_candidates (int, optional): The number of candidates :obj:`M` of
            each batch. (default: :obj:`1500`)
        attention_channels (int, optional): The width of the views.
            (default: :obj:`50`)
        lr (float, optional): The learning rate of the sampler.
            (default: :obj:`1e-4`)
        exploration (float, optional): The initial temperature :math:`T_0`.
            (default: :obj:`10.0`)
        contrast (float, optional): The weight :math:`\omega` of the additional
            term. The same weight has twice the effect in the released code,
            which halves the loss of the model. (default: :obj:`0.01`)
        temperature (float, optional): The temperature of the weights
            :math:`w_k`. (default: :obj:`0.5`)

    Raises:
        ModelError: If an argument is out of range, if there is no modality, or
            if the sampler does not support the model.
    """
    module: CrossModalAttention
    index: TripleIndex
    model: Any

    def __init__(
        self,
        model: Module,
        features: dict[str, Tensor],
        masks: Optional[dict[str, Tensor]] = None,
        num_negatives: int = 20,
        num_candidates: int = 1500,
        attention_channels: int = 50,
        lr: float = 1e-4,
        exploration: float = 10.0,
        contrast: float = 0.01,
        temperature: float = 0.5,
    ) -> None:
        super().__init__(num_negatives)
        self.check(model)
        if not features:
            raise ModelError("Expected 'features' to hold at least one "
                             f'modality (got {features})')
        check_whole(num_candidates=num_candidates)
        if num_candidates <= num_negatives:
            raise ModelError("Expected 'num_candidates' to be greater than "
                             f"'num_negatives' (got {num_candidates} and "
                             f'{num_negatives})')
        check_whole(attention_channels=attention_channels)
        check_positive(lr=lr, exploration=exploration)
        check_not_negative(contrast=contrast, temperature=temperature)
        self.model = model
        self.num_candidates = num_candidates
        self.lr, self.exploration = lr, exploration
        self.contrast, self.temperature = contrast, temperature
        training = model.training
        with torch.no_grad():  # RSME's width depends on the mode.
            width = self._encode(model.train(), torch.zeros(1).long()).size(-1)
        model.train(training)
        self.attention_channels = attention_channels
        self.module = CrossModalAttention(
            features, width, model.get_parameter('rel_emb.weight').size(1),
            masks, attention_channels)

    @classmethod
    def from_data(cls, data: Any, model: Module,
                  **kwargs: Any) -> MMRNSSampler:
        r"""Builds a sampler from the features and masks of a graph.

        Args:
            data (KnowledgeGraph): The graph.
            model (MMKGEModel): The model whose embeddings are compared.
            **kwargs (optional): Additional arguments of :class:`MMRNSSampler`.
        """
        return cls(model, data.features(), data.masks(), **kwargs)

    def check(self, model: Any) -> None:
        name = type(model).__name__
        if not hasattr(model, 'score') or not hasattr(model, 'encode'):
            raise ModelError("Expected an 'MMKGEModel', which scores "
                             "representations, for 'MMRNSSampler' (got "
                             f"'{name}')")
        if model.sparse or getattr(model, 'reciprocal', False):
            raise ModelError('Expected a model with sparse=False and without '
                             "reciprocal relations for 'MMRNSSampler' (got "
                             f"'{name}')")

    def prepare(self, edge_index: Tensor, edge_type: Tensor, num_nodes: int,
                num_relations: int) -> MMRNSSampler:
        super().prepare(edge_index, edge_type, num_nodes, num_relations)
        if num_nodes <= self.num_negatives:
            raise ModelError("Expected more nodes than 'num_negatives' = "
                             f'{self.num_negatives} (got {num_nodes})')
        self.index = TripleIndex(edge_index, edge_type, num_nodes,
                                 num_relations)
        return self

    def begin_epoch(self, model: Any, epoch: int, epochs: int) -> None:
        self.model = model

    def _encode(self, model: Any, index: Tensor) -> Tensor:
        return model.encode(to_device(
            index, model.rel_emb.weight.device)).detach()

    def sample(self, head_index: Tensor, rel_type: Tensor, tail_index: Tensor,
               generator: torch.Generator) -> Negatives:
        def draw(*shape: int) -> Tensor:
            return torch.rand(shape, generator=generator,
                              device=generator.device)

        # Sorting random keys yields a random permutation.
        node = draw(self.num_nodes).argsort()[:self.num_candidates]
        side = draw(head_index.numel()) < 0.5
        own = torch.where(side, head_index, tail_index)
        weight = self.module.lin_node.weight
        distinct, kind = distinct_values(rel_type)
        known, node, own, distinct, kind, side = (
            to_device(x, weight.device) for x in (
                self._known(head_index, rel_type, tail_index, side, node),
                node, own, distinct, kind, side))
        node_x = self._encode(self.model, node).to(weight)
        own_x = self._encode(self.model, own).to(weight)
        rel = self.model.rel_emb(distinct).detach().to(weight)
        similar = self.module(node, own, rel, kind, node_x, own_x)
        warmth = self.exploration / (
            1.0 + math.log(int(self.module.step) + 1))
        self.module.step += 1
        # A softmax at a low temperature underflows, its logarithm does not.
        logits = torch.stack([
            (cosine / warmth).log_softmax(dim=-1)
            for cosine in similar.values()]).logsumexp(dim=0)
        logits = logits.masked_fill(known, KNOWN)
        # The largest logits with Gumbel noise are draws without replacement,
        # in the order in which they are drawn.
        uniform = to_device(draw(*logits.shape), weight.device).clamp(
            1e-20, 1.0 - 1e-7)
        logits = logits - (-uniform.log()).log()
        picks = logits.detach().topk(self.num_negatives).indices

        def penalty(neg: Tensor) -> Tensor:
            log_weight = (self.temperature * neg.detach()).log_softmax(-1)
            return self.contrast * torch.stack([
                _contrast(cosine, known, picks, log_weight)
                for cosine in similar.values()]).mean()

        return Negatives(node[picks], side[:, None].expand_as(picks),
                         choice=Choice(node, logits, picks, penalty))

    def _known(self, head_index: Tensor, rel_type: Tensor, tail_index: Tensor,
               side: Tensor, node: Tensor) -> Tensor:
        place = torch.full((self.num_nodes, ), -1, device=node.device)
        place[node] = torch.arange(node.numel(), device=node.device)
        out = torch.zeros(side.numel(), node.numel(), dtype=torch.bool,
                          device=node.device)
        for rows, answers in (
                (side, self.index.heads(rel_type, tail_index)),
                (~side, self.index.tails(head_index, rel_type))):
            row, column = answers[0], place[answers[1]]
            asked = rows[row] & (column >= 0)
            out[row[asked], column[asked]] = True
        return out

    def __repr__(self) -> str:
        return (f'{type(self).__name__}(num_negatives={self.num_negatives}, '
                f'num_candidates={self.num_candidates}, '
                f'attention_channels={self.attention_channels}, lr={self.lr}, '
                f'exploration={self.exploration}, contrast={self.contrast}, '
                f'temperature={self.temperature})')


def _contrast(cosine: Tensor, known: Tensor, picks: Tensor,
              log_weight: Tensor) -> Tensor:
    r"""Returns the contrastive term of one view, averaged over the rows with
    a known answer.
    """
    # Minus infinity would yield NaN gradients for rows without known answers.
    log_known = cosine.masked_fill(~known, -1e4).logsumexp(dim=-1)
    log_drawn = (log_weight + cosine.gather(1, picks)).logsumexp(dim=-1)
    some = known.any(dim=-1)
    value = torch.where(some, log_drawn - log_known, 0.0)
    return value.sum() / some.sum().clamp(min=1)
