r"""Checks of a model's parameters: that all learn, and that all are kept."""
from __future__ import annotations

import tempfile

import torch
from torch_geometric.nn.inits import reset

from pyg_mmkgc.nn.kge import MMKGEModel
from pyg_mmkgc.testing.subject import (
    Subject,
    changed,
    expect,
    small_graph,
    state,
    triples,
)

MARK = 0.12345


def check_gradients(subject: Subject) -> None:
    r"""Every parameter gets a gradient that is not zero from the model's own
    loss, after two steps.
    """
    data = small_graph()
    model = subject.fit(subject.model(data), data).train()
    model.zero_grad()
    model.loss(*triples(data)).backward()
    for name, p in model.named_parameters():
        # A table of no rows (no structure) has nothing to learn.
        expect(not p.requires_grad or p.numel() == 0 or (
            p.grad is not None and p.grad.to_dense().any()),
            f'{name} gets no gradient')


def check_reset_parameters(subject: Subject) -> None:
    r""":meth:`reset_parameters` draws every parameter anew."""
    model = subject.model()
    names = [name for name, _ in model.named_parameters()
             if not (name.startswith('encoders.') and name.endswith('.x'))]
    params = dict(model.named_parameters())
    with torch.no_grad():
        for name in names:
            params[name].fill_(MARK)
    reset(model)
    for name in names:
        p = dict(model.named_parameters())[name]
        expect(not (p == MARK).any(),
               f'reset_parameters does not reset {name}')
        expect(p.isfinite().all(), f'{name} is not finite after a reset')


def check_state_dict(subject: Subject) -> None:
    r"""A state that is loaded into another model gives the same scores."""
    data = small_graph()
    model = subject.fit(subject.model(data), data)
    other = subject.model(data, seed=1).eval()
    expect(changed(state(model), state(other)),
           'expected other weights from another seed')
    other.load_state_dict(state(model))
    _expect_same_scores(model, other, 'state_dict')


def check_pretrained(subject: Subject) -> None:
    r"""What :meth:`save_pretrained` writes, :meth:`from_pretrained` reads:
    the class, its arguments, and the scores.
    """
    data = small_graph()
    model = subject.fit(subject.model(data), data)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        before = torch.get_rng_state()
        other = MMKGEModel.from_pretrained(folder)
    expect(torch.equal(before, torch.get_rng_state()),
           'from_pretrained draws from the global random numbers')
    expect(type(other) is type(model), f'expected {type(model).__name__}, '
           f'got {type(other).__name__}')
    expect(other.config() == model.config(),
           f'expected the arguments {model.config()}, got {other.config()}')
    expect(not other.training, 'expected evaluation mode')
    _expect_same_scores(model, other, 'from_pretrained')


def check_seed(subject: Subject) -> None:
    r"""One seed gives one model, before and after training, bit for bit."""
    data = small_graph()
    models = [subject.model(data, seed) for seed in (0, 0, 1)]
    first, second, third = (state(model) for model in models)
    expect(not changed(first, second), 'the same seed builds different '
           f'{", ".join(changed(first, second))}')
    expect(changed(first, third), 'every seed builds the same model')
    trained = [state(subject.fit(model, data)) for model in models[:2]]
    expect(not changed(*trained), 'two trainings with the same seed differ '
           f'in {", ".join(changed(*trained))}')
    expect(changed(first, trained[0]), 'training changes nothing')


def _expect_same_scores(model: MMKGEModel, other: MMKGEModel,
                        what: str) -> None:
    head, rel, tail = triples(small_graph())
    with torch.no_grad():
        for name, x, y in (
                ('forward', model(head, rel, tail), other(head, rel, tail)),
                ('score_tails', model.score_tails(head, rel),
                 other.score_tails(head, rel)),
                ('score_heads', model.score_heads(rel, tail),
                 other.score_heads(rel, tail))):
            expect(torch.equal(x, y), f'{name} differs after {what}')
