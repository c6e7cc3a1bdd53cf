r"""Checks of a model's parameters, their gradients and their storage."""
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
    r"""Checks that every parameter has a non-zero gradient of the model's own
    loss after two steps.
    """
    data = small_graph()
    model = subject.fit(subject.model(data), data).train()
    model.zero_grad()
    model.loss(*triples(data)).backward()
    for name, p in model.named_parameters():
        # Without structure, the embedding has no rows and no gradient.
        expect(not p.requires_grad or p.numel() == 0 or (
            p.grad is not None and p.grad.to_dense().any()),
            f"Expected a gradient of '{name}' (got none, or zero)")


def check_reset_parameters(subject: Subject) -> None:
    r"""Checks that :meth:`reset_parameters` resets every parameter."""
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
               f"Expected reset_parameters to reset '{name}' (got the old "
               'values)')
        expect(p.isfinite().all(), f"Expected finite values of '{name}' after "
               'reset_parameters (got NaN or infinity)')


def check_state_dict(subject: Subject) -> None:
    r"""Checks that a model that loads the state of another model returns the
    same scores.
    """
    data = small_graph()
    model = subject.fit(subject.model(data), data)
    other = subject.model(data, seed=1).eval()
    expect(changed(state(model), state(other)),
           'Expected different weights for different seeds (got the same)')
    other.load_state_dict(state(model))
    _expect_same_scores(model, other, 'state_dict')


def check_pretrained(subject: Subject) -> None:
    r"""Checks that :meth:`from_pretrained` restores the class, its arguments
    and the scores of a model written by :meth:`save_pretrained`.
    """
    data = small_graph()
    model = subject.fit(subject.model(data), data)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        before = torch.get_rng_state()
        other = MMKGEModel.from_pretrained(folder)
    expect(torch.equal(before, torch.get_rng_state()),
           'Expected from_pretrained to keep the global random state (got '
           'another state)')
    expect(type(other) is type(model), f"Expected '{type(model).__name__}' "
           f"from from_pretrained (got '{type(other).__name__}')")
    expect(other.config() == model.config(),
           f'Expected the arguments {model.config()} (got {other.config()})')
    expect(not other.training,
           'Expected evaluation mode after from_pretrained (got training)')
    _expect_same_scores(model, other, 'from_pretrained')


def check_seed(subject: Subject) -> None:
    r"""Checks that models with the same seed are equal bit for bit, before and
    after training.
    """
    data = small_graph()
    models = [subject.model(data, seed) for seed in (0, 0, 1)]
    first, second, third = (state(model) for model in models)
    expect(not changed(first, second), 'Expected equal models with the same '
           f'seed (got different {", ".join(changed(first, second))})')
    expect(changed(first, third),
           'Expected different models for different seeds (got the same)')
    trained = [state(subject.fit(model, data)) for model in models[:2]]
    expect(not changed(*trained), 'Expected equal trainings with the same '
           f'seed (got different {", ".join(changed(*trained))})')
    expect(changed(first, trained[0]),
           'Expected training to change the model (got no change)')


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
            expect(torch.equal(x, y), f'Expected equal scores of {name} after '
                   f'{what} (got different scores)')
