from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch_geometric.nn import kge as pyg_kge
from torch_geometric.nn.kge import KGEModel

from pyg_mmkgc.errors import ModelError, check_positive, check_whole
from pyg_mmkgc.kernels.host import drawn_for
from pyg_mmkgc.sampler import CandidateSampler, Negatives, NegativeSampler
from pyg_mmkgc.training.adversary import Adversary
from pyg_mmkgc.training.batch import Batch, Completion

GENERATORS = ('DistMult', 'ComplEx')


class KBGAN(Adversary):
    r"""The adversary of the `"KBGAN: Adversarial Learning for Knowledge Graph
    Embeddings" <https://arxiv.org/abs/1711.04071>`_ paper.

    A generator :math:`f_G` chooses one of the negatives :math:`(h'_i, r,
    t'_i)` drawn by the sampler. The model, which is the discriminator
    :math:`f_D`, is trained on the chosen negative.

    .. math::
        p_G(h'_i, r, t'_i) = \frac{\exp f_G(h'_i, r, t'_i)}
        {\sum_j \exp f_G(h'_j, r, t'_j)}

    The choice is not differentiable, so the generator maximizes the model's
    score of the chosen negative by policy gradient (REINFORCE),

    .. math::
        \mathcal{L}_G = -\frac{1}{B} \sum_b \left( f_D(h'_b, r_b, t'_b) - \beta
        \right) \log p_G(h'_b, r_b, t'_b)

    where the score is taken before the step of the model, and the baseline
    :math:`\beta` is the mean score of the previous epoch, as in the released
    code. In the first epoch, the released code sets :math:`\beta = 0`. Since
    a score with a margin :math:`\gamma` is far from zero, the mean score of
    the batch is used here instead.

    The paper trains the model with :class:`~pyg_mmkgc.nn.MarginRankingLoss`.
    Its code clips all norms to one after each step, whereas
    :class:`~pyg_mmkgc.nn.TransE` normalizes the entities before each step. The
    weight decay of the generator is left out. Only the model is evaluated.

    Args:
        generator (KGEModel): The generator, whose scores are logits: DistMult
            or ComplEx, from this library or from :pyg:`PyG`.
        pretrain_epochs (int, optional): The number of initial epochs that
            replace the separate pre-training of the paper. In these epochs,
            the generator is trained by the softmax of the positive among its
            candidates, and the model on the first candidate.
            (default: :obj:`0`)
        temperature (float, optional): The temperature that divides the
            logits. (default: :obj:`1.0`)

    Raises:
        ModelError: If an argument is out of range.
    """
    reward_sum: Tensor
    reward_count: Tensor
    baseline: Tensor
    #: The candidates of the step, and the position of the choice, [B, 1].
    drawn: tuple[Negatives, Tensor]

    def __init__(self, generator: KGEModel, pretrain_epochs: int = 0,
                 temperature: float = 1.0) -> None:
        super().__init__(weight=0.0)
        check_whole(at_least=0, pretrain_epochs=pretrain_epochs)
        check_positive(temperature=temperature)
        self.generator = generator
        self.pretrain_epochs = pretrain_epochs
        self.temperature = temperature
        self.pretrains = pretrain_epochs > 0
        for name in ('reward_sum', 'reward_count', 'baseline'):
            self.register_buffer(name, torch.zeros((), dtype=torch.double))

    @classmethod
    def from_model(cls, model: KGEModel, generator: str = 'DistMult',
                   generator_channels: int = 50, **kwargs: Any) -> KBGAN:
        r"""Builds KBGAN for a model, with a generator for the same graph.

        Args:
            model (KGEModel): The model.
            generator (str, optional): :obj:`"DistMult"` or :obj:`"ComplEx"`.
                (default: :obj:`"DistMult"`)
            generator_channels (int, optional): The hidden width of the
                generator, in complex numbers for ComplEx. (default: :obj:`50`)
            **kwargs (optional): Arguments of :class:`KBGAN`.

        Raises:
            ModelError: If :obj:`generator` is unknown.
        """
        check_whole(generator_channels=generator_channels)
        if generator not in GENERATORS:
            raise ModelError(f"Expected 'generator' to be one of {GENERATORS} "
                             f'(got {generator!r})')
        return cls(getattr(pyg_kge, generator)(
            model.num_nodes, model.num_relations, generator_channels),
            **kwargs)

    def check(self, model: KGEModel) -> None:
        mine, theirs = ((x.num_nodes, x.num_relations)
                        for x in (self.generator, model))
        if mine != theirs:
            raise ModelError(f'Expected a generator for the {theirs[0]} nodes '
                             f'and {theirs[1]} relations of the model (got '
                             f'{mine[0]} nodes and {mine[1]} relations)')

    def check_sampler(self, sampler: NegativeSampler | None) -> None:
        if sampler is None or sampler.module is not None:
            raise ModelError("Expected a sampler without learnable parameters "
                             "for 'KBGAN', which chooses among its negatives "
                             f'(got {sampler or "none"})')

    def default_sampler(self) -> NegativeSampler:
        return CandidateSampler()

    def begin_epoch(self, epoch: int) -> None:
        self.pretrains = epoch <= self.pretrain_epochs
        if float(self.reward_count) > 0:
            self.baseline.copy_(self.reward_sum / self.reward_count)
        self.reward_sum.zero_()
        self.reward_count.zero_()

    def choose(self, model: KGEModel, batch: Batch) -> Negatives:
        negatives = batch.negatives
        assert negatives is not None
        if self.pretrains:  # Draws are independent, so the first is random.
            pick = torch.zeros_like(negatives.node[:, :1])
        else:
            with torch.no_grad():
                prob = self._logits(batch, negatives).softmax(dim=-1)
            draw = torch.rand((prob.size(0), 1), generator=batch.generator,
                              device=batch.generator.device)
            draw = drawn_for(prob, draw)
            # Inverts the cumulative distribution function at the draw.
            pick = (prob.cumsum(-1) <= draw).sum(-1, keepdim=True)
            pick = pick.clamp(max=prob.size(1) - 1)
        self.drawn = negatives, pick
        kept = {name: mask.gather(1, pick)
                for name, mask in (negatives.kept or {}).items()}
        return Negatives(negatives.node.gather(1, pick),
                         negatives.corrupt_head.gather(1, pick), kept or None)

    def discriminator_loss(self, model: KGEModel, batch: Batch,
                           done: Completion) -> Tensor:
        r"""Returns zero, since the loss of the model already uses the chosen
        negatives.
        """
        return batch.head_index.new_zeros((), dtype=torch.float)

    def generator_loss(self, model: KGEModel, batch: Batch,
                       done: Completion) -> Tensor:
        negatives, pick = self.drawn
        logits = self._logits(batch, negatives)
        if self.pretrains:
            pos = self.generator(batch.head_index, batch.rel_type,
                                 batch.tail_index) / self.temperature
            both = torch.cat([pos[:, None], logits], dim=-1)
            return -both.log_softmax(dim=-1)[:, 0].mean()
        assert done.scored is not None
        reward = done.scored.neg.detach().view(-1)
        base = torch.where(self.baseline != 0, self.baseline, reward.mean())
        self.reward_sum += reward.sum()
        self.reward_count += reward.numel()
        log_prob = logits.log_softmax(dim=-1).gather(1, pick).view(-1)
        return -((reward - base).to(log_prob.dtype) * log_prob).mean()

    def _logits(self, batch: Batch, negatives: Negatives) -> Tensor:
        node, side = negatives[:2]
        triple = (torch.where(side, node, batch.head_index[:, None]),
                  batch.rel_type[:, None].expand_as(node),
                  torch.where(side, batch.tail_index[:, None], node))
        out = self.generator(*(x.reshape(-1) for x in triple))
        return out.view_as(node) / self.temperature

    def extra_repr(self) -> str:
        return (f'pretrain_epochs={self.pretrain_epochs}, '
                f'temperature={self.temperature}')
