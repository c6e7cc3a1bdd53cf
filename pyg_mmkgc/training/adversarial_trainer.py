from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn import Parameter
from torch_geometric.nn.kge import KGEModel

from pyg_mmkgc.distributed.group import sum_over_ranks
from pyg_mmkgc.errors import ModelError, check_positive
from pyg_mmkgc.nn.loss import AllNodesLoss
from pyg_mmkgc.training.adversary import Adversary
from pyg_mmkgc.training.batch import Batch, complete
from pyg_mmkgc.training.checkpoint import State, restore
from pyg_mmkgc.training.step import (
    adam,
    differentiate,
    minimize,
    take_step,
)
from pyg_mmkgc.training.trainer import Trainer


class AdversarialTrainer(Trainer):
    r"""Trains a model and an adversary in turn, each with its own optimizer,
    as in algorithm 1 of `AdaMF-MAT <https://arxiv.org/abs/2402.15444>`_.

    The trainer uses the :obj:`discriminator_loss` of an
    :class:`~pyg_mmkgc.training.Adversary` and, unless the adversary is
    :obj:`simultaneous`, its :obj:`generator_loss`.

    Args:
        model (KGEModel): The model, which is the discriminator.
        data (KnowledgeGraph): The graph, as for
            :class:`~pyg_mmkgc.training.Trainer`.
        adversary (Adversary): The adversary to train the model against.
        generator_lr (float, optional): The learning rate of the adversary.
            (default: :obj:`1e-4`)
        **kwargs (optional): Additional arguments of
            :class:`~pyg_mmkgc.training.Trainer`. The adversary provides the
            default sampler, except for a loss on all nodes.

    Raises:
        ModelError: If the adversary does not support the model or the sampler,
            or if an argument is out of range.
    """
    def __init__(self, model: KGEModel, data: Any, *, adversary: Adversary,
                 generator_lr: float = 1e-4, **kwargs: Any) -> None:
        if not isinstance(adversary, Adversary):
            raise ModelError("Expected 'adversary' to be an Adversary (got "
                             f"'{type(adversary).__name__}')")
        adversary.check(model)
        check_positive(generator_lr=generator_lr)
        self.adversary = adversary
        if kwargs.get('sampler') is None and not isinstance(
                kwargs.get('loss'), AllNodesLoss):
            kwargs['sampler'] = adversary.default_sampler()
        adversary.check_sampler(kwargs.get('sampler'))
        super().__init__(model, data, **kwargs)
        self.generator_lr = generator_lr
        adversary.to(self.device)
        self.adversary_params = list(adversary.parameters())
        if self.adversary_params:
            self.optimizers['adversary'] = adam(
                adversary, self.adversary_params, generator_lr)

    def model_parameters(self) -> list[Parameter]:
        theirs = {id(p) for p in self.adversary.parameters()}
        return [p for p in self.model.parameters()
                if p.requires_grad and id(p) not in theirs]

    def begin_epoch(self, epoch: int) -> None:
        self.adversary.begin_epoch(epoch)
        super().begin_epoch(epoch)

    def train_step(self, batch: Batch, where: str) -> dict[str, Tensor]:
        adversary = self.adversary
        with self.precision():
            batch = replace(batch, negatives=adversary.choose(self.model,
                                                              batch))
            done = complete(self.model, self.loss, batch)
            loss = done.loss
            if adversary.weight > 0:
                term = batch.scaled(adversary.discriminator_loss(
                    self.model, batch, done))
                loss = loss + adversary.weight * term
        ours = f'the loss of the model at {where}'
        theirs = f'the loss of the adversary at {where}'
        if adversary.simultaneous:
            total = differentiate(
                loss, [*self.params, *self.adversary_params], ours, self.model,
                self.checks)
            take_step(self.params, self.optimizers['model'], self.grad_clip,
                      ours, self.model, self.checks)
        else:
            total = minimize(loss, self.params, self.optimizers['model'],
                             self.grad_clip, ours, self.model,
                             self.checks)
        if self.form is not None:
            self.form.after_step()
        if not self.adversary_params:
            return {'loss': total}
        if adversary.simultaneous:
            for p in self.adversary_params:  # These maximize the same term.
                if p.grad is not None:
                    p.grad.mul_(-1.0 / adversary.weight)
            take_step(self.adversary_params, self.optimizers['adversary'],
                      self.grad_clip, theirs, adversary, self.checks)
            generator_loss = -sum_over_ranks(term.detach().clone())
        else:
            with self.precision():
                generator_loss = batch.scaled(adversary.generator_loss(
                    self.model, batch, done))
            generator_loss = minimize(
                generator_loss, self.adversary_params,
                self.optimizers['adversary'], self.grad_clip, theirs,
                adversary, self.checks)
        return {'loss': total, 'generator_loss': generator_loss}

    def splits_batch(self) -> bool:
        return self.adversary.splits_batch and super().splits_batch()

    def fingerprint(self) -> dict[str, Any]:
        return {**super().fingerprint(), 'adversary': repr(self.adversary),
                'generator_lr': self.generator_lr}

    def extra_states(self) -> dict[str, State]:
        return {**super().extra_states(),
                'adversary': self.adversary.state_dict()}

    def load_extra_states(self, states: dict[str, State], path: Path) -> None:
        super().load_extra_states(states, path)
        restore(self.adversary, states, 'adversary', path)
