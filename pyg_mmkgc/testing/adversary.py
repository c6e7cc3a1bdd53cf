from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch_geometric.nn.kge import KGEModel

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn.kge import RotatE
from pyg_mmkgc.testing.sampler import small_model
from pyg_mmkgc.testing.subject import (
    changed,
    expect,
    named,
    run_check,
    small_graph,
    state,
)
from pyg_mmkgc.training import AdversarialTrainer, Adversary


@dataclass
class Opponent:
    r"""The adversary to check, and the model that it is trained against."""
    build: Callable[[Any], Adversary]
    model: Callable[[KnowledgeGraph], KGEModel]

    def pair(self, seed: int = 0) -> tuple[KGEModel, Adversary]:
        r"""Builds a model and its adversary."""
        torch.manual_seed(seed)
        model = self.model(small_graph())
        adversary = self.build(model)
        expect(isinstance(adversary, Adversary),
               "Expected an 'Adversary' (got "
               f"'{type(adversary).__name__}')")
        return model, adversary


def trainer_of(model: KGEModel, adversary: Adversary, epochs: int = 2,
               lr: float = 0.05, **kwargs: Any) -> AdversarialTrainer:
    r"""Returns a trainer with batches of 32 and without validation."""
    return AdversarialTrainer(
        model, small_graph(), adversary=adversary, lr=lr, generator_lr=lr,
        batch_size=32, epochs=epochs, valid_every=None, progress=False,
        **kwargs)


def check_sides(subject: Opponent) -> None:
    r"""Checks that the step of each side only changes this side."""
    expect_sides(*subject.pair())


def expect_sides(model: KGEModel, adversary: Adversary,
                 **kwargs: Any) -> None:
    r"""Trains for two steps, and checks that each side only changes itself."""
    trainer = trainer_of(model, adversary, epochs=1, **kwargs)
    theirs = {name for name, p in model.named_parameters()
              if any(p is q for q in adversary.parameters())}
    seen: list[tuple[dict[str, Tensor], dict[str, Tensor]]] = []

    def look() -> None:
        seen.append(({name: x for name, x in state(model).items()
                      if name not in theirs}, state(adversary)))

    def generator_loss(*args: Any) -> Tensor:
        look()  # The model has taken its step, and the adversary is next.
        loss = adversary_loss(*args)
        expect(loss.dim() == 0 and loss.isfinite(), 'Expected a finite scalar '
               f'from generator_loss (got {loss})')
        return loss

    def train_step(*args: Any) -> dict[str, Tensor]:
        look()
        out = step(*args)
        look()
        return out

    step, adversary_loss = trainer.train_step, adversary.generator_loss
    vars(trainer)['train_step'] = train_step
    vars(adversary)['generator_loss'] = generator_loss
    try:
        trainer.fit()
    finally:
        del vars(trainer)['train_step'], vars(adversary)['generator_loss']
    # An adversary without parameters takes no step.
    learns = any(True for _ in adversary.parameters())
    expect(len(seen) == (6 if learns else 4),
           'Expected one call of generator_loss in each step (got '
           f'{len(seen)} states)')
    half = len(seen) // 2
    for start, middle, end in ((*seen[:half], seen[half - 1])[:3],
                               (*seen[half:], seen[-1])[:3]):
        leaks = changed(start[1], middle[1])
        expect(not leaks, 'Expected the step of the model to keep the '
               f'adversary (got changes of {", ".join(leaks)})')
        leaks = changed(middle[0], end[0])
        expect(not leaks, 'Expected the step of the adversary to keep the '
               f'model (got changes of {", ".join(leaks)})')
        expect(changed(start[0], middle[0]),
               'Expected the step of the model to change it (got no change)')
    learnt = changed(seen[0][1], seen[-1][1])
    for name, _ in adversary.named_parameters():
        expect(name in learnt, f"Expected '{name}' of the adversary to learn "
               '(got no change)')


def check_seed(subject: Opponent) -> None:
    r"""Checks that two trainings with the same seed are equal bit for bit."""
    runs = []
    for _ in range(2):
        model, adversary = subject.pair()
        trainer_of(model, adversary).fit()
        runs.append(_all(model, adversary))
    expect(not changed(*runs), 'Expected equal trainings with the same seed '
           f'(got different {", ".join(changed(*runs))})')


def check_state(subject: Opponent) -> None:
    r"""Checks that a training that is resumed after its first epoch equals an
    uninterrupted training bit for bit.
    """
    whole = subject.pair()
    trainer_of(*whole).fit()
    with tempfile.TemporaryDirectory() as folder:
        trainer_of(*subject.pair(), epochs=1, folder=folder).fit()
        resumed = subject.pair(seed=1)
        trainer_of(*resumed, folder=folder).fit(resume=True)
    differ = changed(_all(*whole), _all(*resumed))
    expect(not differ, 'Expected equal states after resuming (got different '
           f'{", ".join(differ)})')


def check_refusal(subject: Opponent) -> None:
    r"""Checks that a model without modalities either can be trained, or is
    rejected with a clear error at construction.
    """
    data = small_graph()
    model = RotatE(data.num_nodes, data.num_relations, 4)
    try:
        trainer = trainer_of(model, subject.build(model))
    except ModelError as error:
        expect(len(str(error)) > 20, 'Expected a ModelError with a reason '
               f"(got '{error}')")
        return
    trainer.fit()


def _all(model: KGEModel, adversary: Adversary) -> dict[str, Tensor]:
    return {**state(model), **{f'adversary.{name}': x for name, x in
                               state(adversary).items()}}


#: All checks of an adversary by name.
ADVERSARY_CHECKS: dict[str, Callable[[Opponent], None]] = named(
    check_sides, check_seed, check_state, check_refusal)


def check_adversary(build: Callable[[Any], Adversary], *,
                    model: Callable[[KnowledgeGraph], KGEModel] = small_model,
                    checks: Sequence[str] = tuple(ADVERSARY_CHECKS)) -> None:
    r"""Checks that an adversary fulfills the contract of
    :class:`~pyg_mmkgc.training.Adversary`, on a graph of 24 nodes.

    .. code-block:: python

        check_adversary(MAT.from_model)

    Args:
        build (callable): A function that builds an adversary for a model.
        model (callable, optional): A function that builds a model for a graph.
            (default: a small :class:`~pyg_mmkgc.nn.kge.AdaMF`)
        checks (list[str], optional): The names of the checks, see
            :obj:`ADVERSARY_CHECKS`. (default: all)

    Raises:
        AssertionError: If a check fails. The message starts with its name.
    """
    subject = Opponent(build, model)
    for name in checks:
        run_check(name, ADVERSARY_CHECKS[name], subject)
