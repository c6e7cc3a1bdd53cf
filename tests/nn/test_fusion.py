"""Eqs. (4) and (5) by plain loops."""

import math

import pytest
import torch
from torch import Tensor

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn import AdaptiveFusion

NAMES = ['structure', 'visual', 'text']
C = 6


def make_views(names: list[str] = NAMES) -> dict[str, Tensor]:
    return {name: torch.randn(4, C, dtype=torch.double) for name in names}


def make(mode: str = 'adaptive', **kwargs: bool) -> AdaptiveFusion:
    fusion = AdaptiveFusion(NAMES, C, mode, **kwargs).double()
    torch.nn.init.normal_(fusion.weight)
    return fusion


def weights(fusion: AdaptiveFusion, views: dict[str, Tensor], row: int,
            absent: tuple[str, ...] = ()) -> dict[str, float]:
    """Eq. (4) for one node."""
    top = {}
    for m, name in enumerate(fusion.names):
        if name in absent:
            continue
        logit = 0.0
        if fusion.mode != 'mean':
            w = fusion.weight[m if fusion.mode == 'adaptive' else 0].tolist()
            e = views[name][row].tolist()
            logit = sum(w[i] * math.tanh(e[i]) for i in range(C))
        top[name] = math.exp(logit)
    return {name: value / sum(top.values()) for name, value in top.items()}


@pytest.mark.parametrize('mode', ['adaptive', 'shared', 'mean'])
def test_equals_loops(mode: str) -> None:
    fusion, views = make(mode), make_views()
    alpha, out = fusion.weights(views), fusion(views)
    for row in range(4):
        expected = weights(fusion, views, row)
        assert alpha[row].tolist() == pytest.approx(list(expected.values()),
                                                    rel=1e-12)
        joint = [sum(expected[name] * float(views[name][row, i])
                     for name in NAMES) for i in range(C)]
        assert out[row].tolist() == pytest.approx(joint, rel=1e-12)
    torch.testing.assert_close(alpha.sum(-1), torch.ones_like(alpha[:, 0]))


def test_modes_differ_and_have_the_papers_parameters() -> None:
    shapes = {mode: tuple(make(mode).weight.shape)
              for mode in ('adaptive', 'shared', 'mean')}
    assert shapes == {'adaptive': (3, C), 'shared': (1, C), 'mean': (0, C)}
    views = make_views()
    assert torch.equal(make('mean').weights(views),
                       torch.full((4, 3), 1 / 3, dtype=torch.double))


def test_permuted_modalities_permute_the_weights() -> None:
    fusion, views = make(), make_views()
    order = [2, 0, 1]
    other = AdaptiveFusion([NAMES[i] for i in order], C).double()
    with torch.no_grad():
        other.weight.copy_(fusion.weight[order])
    torch.testing.assert_close(other.weights(views),
                               fusion.weights(views)[:, order])
    torch.testing.assert_close(other(views), fusion(views))
    # The order of the dict does not matter.
    turned = dict(reversed(views.items()))
    assert torch.equal(fusion(turned), fusion(views))


@pytest.mark.parametrize('mode', ['adaptive', 'shared', 'mean'])
def test_absent_views_get_no_weight(mode: str) -> None:
    fusion, views = make(mode, skip_absent=True), make_views()
    views['visual'][0] = 0.0
    views['visual'][1] = views['text'][1] = 0.0
    views['text'][2, 1:] = 0.0  # Still there.
    for name in NAMES:
        views[name].requires_grad_()
    alpha, out = fusion.weights(views), fusion(views)
    absent = {0: ('visual', ), 1: ('visual', 'text'), 2: (), 3: ()}
    for row, names in absent.items():
        expected = weights(fusion, views, row, names)
        assert alpha[row].tolist() == pytest.approx(
            [expected.get(name, 0.0) for name in NAMES], rel=1e-12)
    torch.testing.assert_close(out[1], views['structure'][1])
    out.sum().backward()
    assert all(view.grad.isfinite().all() for view in views.values())
    # Without the option a zero view takes part.
    assert make(mode).weights(views)[1, 1].item() > 0


@pytest.mark.parametrize('dtype', [torch.float, torch.double])
@pytest.mark.parametrize('mode', ['adaptive', 'shared', 'mean'])
def test_nothing_is_the_sum_of_nothing(mode: str, dtype: torch.dtype) -> None:
    """A row without any view is zero, and no NaN spreads."""
    fusion = make(mode, skip_absent=True).to(dtype)
    views = {name: x.to(dtype) for name, x in make_views().items()}
    for name in NAMES:
        views[name][1] = 0.0
        views[name].requires_grad_()
    out = fusion(views)
    assert not out[1].any() and out[[0, 2, 3]].all()
    torch.testing.assert_close(fusion.weights(views)[1],
                               torch.full((3, ), 1 / 3, dtype=dtype))
    out.sum().backward()
    assert all(x.grad.isfinite().all() for x in views.values())
    assert fusion.weight.grad is None or fusion.weight.grad.isfinite().all()


def test_one_view_is_itself() -> None:
    views = make_views(['text'])
    fusion = AdaptiveFusion(['text'], C).double()
    assert torch.equal(fusion(views), views['text'])
    assert torch.equal(fusion.weights(views),
                       torch.ones(4, 1, dtype=torch.double))


def test_views_broadcast() -> None:
    """Generated views have a group dimension in front."""
    fusion, views = make(skip_absent=True), make_views()
    views['visual'] = torch.randn(2, 4, C, dtype=torch.double)
    out = fusion(views)
    assert out.shape == (2, 4, C)
    for group in range(2):
        one = views | {'visual': views['visual'][group]}
        torch.testing.assert_close(out[group], fusion(one))


def test_reset_parameters() -> None:
    fusion = AdaptiveFusion(NAMES, 400)
    fusion.weight.data.fill_(9.0)
    fusion.reset_parameters()
    assert 0.9 / 20 < fusion.weight.abs().max().item() <= 1 / 20


def test_bad_mode() -> None:
    with pytest.raises(
            ModelError, match=r"'fusion' to be 'adaptive'.*\(got 'max'\)"):
        AdaptiveFusion(NAMES, C, 'max')
