"""Projection and the policies for missing rows."""

import math

import pytest
import torch
from torch import Tensor

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn import ModalityEncoder
from pyg_mmkgc.nn.encoder import MISSING, check_modalities, make_encoders

N, F, C = 40, 3, 5


def features(num_missing: int = 10) -> tuple[Tensor, Tensor]:
    x = torch.randn(N, F) * torch.tensor([1.0, 5.0, 0.1]) + 2.0
    mask = torch.arange(N) >= num_missing
    x[~mask] = 99.0  # Masked rows must not matter.
    return x, mask


def project(encoder: ModalityEncoder, row: Tensor) -> Tensor:
    """Eq. (2) by plain loops."""
    weight, bias = encoder.lin.weight.tolist(), encoder.lin.bias.tolist()
    return torch.tensor([
        sum(w * f for w, f in zip(weight[c], row.tolist())) + bias[c]
        for c in range(C)])


@pytest.mark.parametrize('missing', MISSING)
def test_present_rows_are_projected(missing: str) -> None:
    x, mask = features()
    before = x.clone()
    encoder = ModalityEncoder(x, C, mask, missing)
    index = torch.tensor([[12, 39], [20, 12]])
    out = encoder(index)
    assert out.shape == (2, 2, C)
    for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
        torch.testing.assert_close(out[i, j],
                                   project(encoder, x[index[i, j]]))
    encoder.reset_parameters()
    assert torch.equal(x, before), "the graph's own features changed"
    assert not any(name == 'x' for name, _ in encoder.named_parameters())


def test_zeros() -> None:
    encoder = ModalityEncoder(*swap(features(), C), missing='zeros')
    torch.testing.assert_close(encoder(torch.arange(10)),
                               encoder.lin.bias.expand(10, C))


def test_mean() -> None:
    x, mask = features()
    encoder = ModalityEncoder(x, C, mask, 'mean')
    mean = torch.tensor([sum(x[10:, j].tolist()) / 30 for j in range(F)])
    torch.testing.assert_close(encoder(torch.tensor([0])),
                               project(encoder, mean)[None])


def swap(pair: tuple[Tensor, Tensor],
         channels: int) -> tuple[Tensor, int, Tensor]:
    return pair[0], channels, pair[1]


def test_random_has_the_moments_of_the_present_rows() -> None:
    n = 20000
    scale = torch.tensor([1.0, 5.0, 0.1])
    x = torch.randn(2 * n, F) * scale + torch.tensor([2.0, -1.0, 0.0])
    mask = torch.arange(2 * n) < n
    x[~mask] = float('nan')
    drawn = ModalityEncoder(x, C, mask).features(torch.arange(n, 2 * n))
    error = scale / n ** 0.5
    assert ((drawn.mean(0) - x[:n].mean(0)).abs() < 5 * error).all()
    assert ((drawn.std(0) - x[:n].std(0)).abs() < 5 * error).all()
    # Channels and rows are independent, and all rows differ.
    assert (torch.corrcoef(drawn.t()) - torch.eye(F)).abs().max() < 0.05
    assert len(drawn.unique(dim=0)) == n


def test_random_is_frozen_and_follows_the_seed() -> None:
    x, mask = features()

    def make() -> ModalityEncoder:
        torch.manual_seed(5)
        return ModalityEncoder(x, C, mask)

    encoder = make()
    index = torch.arange(N)
    first = encoder.features(index)
    assert torch.equal(first, make().features(index))
    assert torch.equal(encoder(index), encoder(index))
    encoder.reset_parameters()  # Redraws missing rows.
    second = encoder.features(index)
    assert (second[:10] != first[:10]).all()
    assert torch.equal(second[10:], x[10:])
    assert not second.requires_grad


def test_random_from_few_rows() -> None:
    """One present row has no deviation, none at all has no mean."""
    x = torch.full((4, F), 3.0)
    one, none = (ModalityEncoder(x, C, mask).features(torch.arange(4))
                 for mask in (torch.arange(4) == 0,
                              torch.zeros(4, dtype=torch.bool)))
    assert one.isfinite().all() and none.isfinite().all()
    assert not torch.equal(none[0], none[1])


def test_learned() -> None:
    x, mask = features()
    encoder = ModalityEncoder(x, C, mask, 'learned')
    assert encoder.fill is not None
    index = torch.tensor([0, 3, 15])
    out = encoder(index)
    assert torch.equal(out[0], encoder.fill) and torch.equal(out[0], out[1])
    weight = torch.randn(3, C)
    (out * weight).sum().backward()
    # The fill gets the gradient of missing rows, and the projection gets the
    # gradient of present rows.
    torch.testing.assert_close(encoder.fill.grad, weight[0] + weight[1])
    torch.testing.assert_close(encoder.lin.bias.grad, weight[2])
    torch.testing.assert_close(encoder.lin.weight.grad,
                               torch.outer(weight[2], x[15]))
    encoder.zero_grad()
    encoder(torch.tensor([12, 15])).sum().backward()
    assert not encoder.fill.grad.any()


def test_drop() -> None:
    encoder = ModalityEncoder(*swap(features(), C), missing='drop')
    out = encoder(torch.tensor([0, 15]))
    assert not out[0].any() and out[1].all()
    out.sum().backward()
    torch.testing.assert_close(encoder.lin.bias.grad, torch.ones(C))


@pytest.mark.parametrize('missing', ['random', 'learned'])
def test_half_precision_features(missing: str) -> None:
    x, mask = features()
    encoder = ModalityEncoder(x.half(), C, mask, missing)
    assert encoder.x.dtype == torch.half  # Half the memory.
    out = encoder(torch.arange(N))
    assert out.dtype == torch.float and out.isfinite().all()
    torch.testing.assert_close(out[20], project(encoder, x[20].half()))
    out.sum().backward()


@pytest.mark.parametrize('dtype', [torch.float, torch.half])
@pytest.mark.parametrize('num_missing', [0, 10])
def test_trainable_features(dtype: torch.dtype, num_missing: int) -> None:
    x, mask = features(num_missing)
    x = x.to(dtype)
    before = x.clone()
    encoder = ModalityEncoder(x, C, mask, trainable_features=True)
    assert isinstance(encoder.x, torch.nn.Parameter)
    encoder(torch.tensor([20])).sum().backward()
    assert encoder.x.grad[20].all() and not encoder.x.grad[21].any()
    torch.optim.SGD(encoder.parameters(), lr=1.0).step()
    assert torch.equal(x, before)


def test_bad_input() -> None:
    x, mask = features()
    with pytest.raises(
            ModelError, match=r"'missing'.*'random', 'zeros'.*\(got 'none'"):
        ModalityEncoder(x, C, mask, 'none')
    with pytest.raises(ModelError, match=r'\[N, F\].*\(got \[40\]'):
        ModalityEncoder(x[:, 0], C)
    with pytest.raises(ModelError, match=r'floating-point.*\(got .*int64\)'):
        ModalityEncoder(x.long(), C)
    with pytest.raises(
            ModelError, match=r"'mask' .*shape \[40\].*\(got \[39\]"):
        ModalityEncoder(x, C, mask[1:])
    with pytest.raises(
            ModelError, match=r'torch.bool \(got .*torch.float32\)'):
        ModalityEncoder(x, C, mask.float())


@pytest.mark.parametrize('name', ['', 'structure', 'a.b', 'forward', 'keys',
                                  'training'])
def test_bad_names(name: str) -> None:
    with pytest.raises(ModelError, match=f'modality name.*got {name!r}'):
        check_modalities({name: torch.randn(4, 2)}, 4)


def test_rows_must_be_nodes() -> None:
    with pytest.raises(
            ModelError, match=r"'text'.*\[5, F\].* \(got \[4, 2\]\)"):
        check_modalities({'text': torch.randn(4, 2)}, 5)


@pytest.mark.parametrize('missing', MISSING)
@pytest.mark.parametrize('instances', [1, 3])
def test_features_are_those_of_the_graph(missing: str,
                                         instances: int) -> None:
    """They are neither copied nor changed nor part of a state, although rows
    are missing."""
    x = torch.randn(6, instances, F)
    mask = torch.arange(6) % 3 > 0
    if instances == 1:
        x = x[:, 0]
    expected = x.clone()
    encoder = ModalityEncoder(x, C, mask, missing)
    encoder.reset_parameters()
    encoder(torch.arange(6)).sum().backward()
    assert encoder.x.data_ptr() == x.data_ptr()
    assert torch.equal(x, expected)
    assert sum(value.numel() for value in encoder.state_dict().values()
               if value.size(-1) == F) < x.numel() + C * F
    assert not any(value.shape == x.shape
                   for value in encoder.state_dict().values())


@pytest.mark.parametrize('instances', [1, 3])
def test_state_has_the_drawn_rows(instances: int) -> None:
    x = torch.randn(N, instances, F)
    mask = torch.rand(N, instances) < 0.7
    if instances == 1:
        x, mask = x[:, 0], mask[:, 0]
    one, other = (ModalityEncoder(x, C, mask) for _ in range(2))
    index = torch.arange(N)
    assert not torch.equal(one.features(index), other.features(index))
    one.load_state_dict(other.state_dict())
    assert torch.equal(one.features(index), other.features(index))
    assert torch.equal(one(index), other(index))
    # Another mask, of as many rows, has drawn rows elsewhere.
    third = ModalityEncoder(x, C, mask.roll(1, 0))
    one.load_state_dict(third.state_dict())
    assert torch.equal(one.features(index), third.features(index))


@pytest.mark.parametrize('missing', ['random', 'mean', 'zeros'])
def test_state_of_version_0_1(missing: str) -> None:
    """It has all features, with other rows in the place of missing rows."""
    x, mask = features()
    encoder = ModalityEncoder(x, C, mask, missing)
    old, before = x.clone(), x.clone()
    old[~mask] = (torch.randn(10, F) if missing == 'random' else
                  torch.randn(F) if missing == 'mean' else 0.0)
    state = {name: value for name, value in encoder.state_dict().items()
             if name != 'stand_in'} | {'x': old}
    encoder.load_state_dict(state)
    assert torch.equal(encoder.features(torch.arange(N)), old)
    assert encoder.x.data_ptr() == x.data_ptr() and torch.equal(x, before)
    with pytest.raises(RuntimeError, match='"x"'):
        encoder.load_state_dict(state | {'x': old[1:]})
    with pytest.raises(RuntimeError, match='"x"'):
        encoder.load_state_dict(state | {'x': [1.0]})


def test_a_state_that_does_not_fit_is_refused() -> None:
    x, mask = features()
    encoder = ModalityEncoder(x, C, mask)
    state = encoder.state_dict()
    for wrong in ({'mask': torch.zeros(N, dtype=torch.bool)},
                  {'mask': torch.ones(N, dtype=torch.bool)},
                  {'stand_in': state['stand_in'][1:]}):
        with pytest.raises(RuntimeError, match='stand_in'):
            ModalityEncoder(x, C, mask).load_state_dict(state | wrong)
    for dtype in (torch.long, torch.half, torch.bool):
        with pytest.raises(RuntimeError, match='stand_in.*float32'):
            ModalityEncoder(x, C, mask).load_state_dict(
                state | {'stand_in': state['stand_in'].to(dtype)},
                assign=True)


def test_a_state_does_not_change_the_mask_of_the_graph() -> None:
    x, mask = features()
    before = mask.clone()
    ModalityEncoder(x, C, mask).load_state_dict(
        ModalityEncoder(x, C, mask.roll(3)).state_dict())
    assert torch.equal(mask, before)


def test_moments_of_many_rows() -> None:
    """Rows are read in parts, so that a mapped file is never in memory."""
    n = 40_000
    x = torch.randn(n, 2) * 3 + 1000
    mask = torch.rand(n) < 0.5
    mean = ModalityEncoder(x, C, mask, 'mean').features(
        torch.arange(n)[~mask])
    torch.testing.assert_close(
        mean, x[mask].double().mean(0).float().expand_as(mean))
    drawn = ModalityEncoder(x, C, mask).features(torch.arange(n)[~mask])
    assert len(drawn.unique(dim=0)) == len(drawn)
    assert ((drawn.double().std(0) / x[mask].double().std(0)) - 1
            ).abs().max() < 5 / n ** 0.5


@pytest.mark.parametrize('missing', MISSING)
@pytest.mark.parametrize('complete', [True, False])
@pytest.mark.parametrize('trained', [True, False])
def test_new_nodes(missing: str, complete: bool, trained: bool) -> None:
    """A missing row of a new node has the mean if rows are drawn, and nothing
    changes for other nodes."""
    x, mask = features(0 if complete else 10)
    encoder = ModalityEncoder(x, C, mask, missing, trainable_features=trained)
    mean = x[mask].mean(dim=0)
    wanted = {'zeros': encoder.lin.bias, 'drop': torch.zeros(C),
              'mean': project(encoder, mean),
              'random': project(encoder, mean),
              'learned': encoder.lin.bias if encoder.fill is None else
              encoder.fill}[missing]
    size = N
    for there in ([True, True], [True, False, True], [False], [True]):
        # The mean of the present rows stays the same.
        new = mean + torch.linspace(-3, 3, len(there)).view(-1, 1)
        out = encoder.extended(new, torch.tensor(there))
        known = torch.arange(size)
        assert torch.equal(out(known), encoder(known))
        for i, present in enumerate(there):
            value = out(torch.tensor(size + i))
            if present:
                torch.testing.assert_close(value, project(encoder, new[i]))
            else:
                torch.testing.assert_close(value, wanted)
        again = encoder.extended(new, torch.tensor(there))
        again.load_state_dict(out.state_dict())
        every = torch.arange(size + len(there))
        assert torch.equal(again(every), out(every))
        encoder, size = out, size + len(there)


# Several rows per node ######################################################


def several() -> tuple[Tensor, Tensor]:
    mask = torch.rand(N, 4) < 0.5
    mask[0], mask[1] = False, torch.tensor([False, True, False, False])
    return torch.randn(N, 4, F), mask


def attended(encoder: ModalityEncoder, n: int, query: Tensor | None,
             rows: list[int]) -> Tensor:
    """IKRL's eqs. (3) to (5) for a node, by plain loops."""
    p = [project(encoder, encoder.features(torch.tensor(n))[i]).double()
         for i in rows]
    e = [math.exp(sum(a * b for a, b in zip(
        q.tolist(), [0.0] * C if query is None else query[n].tolist())))
         for q in p]
    return torch.stack([a / sum(e) * q for a, q in zip(e, p)]).sum(0).float()


@pytest.mark.parametrize('missing', MISSING)
@pytest.mark.parametrize('attention', [True, False])
def test_several_rows(missing: str, attention: bool) -> None:
    x, mask = several()
    x[~mask] = 99.0  # Masked rows must not matter.
    encoder = ModalityEncoder(x, C, mask, missing)
    query = torch.randn(N, C) if attention else None
    out = encoder(torch.arange(N), query)
    assert out.shape == (N, C)
    for n in range(1, N):
        rows = mask[n].nonzero().view(-1).tolist()
        if rows:
            torch.testing.assert_close(out[n],
                                       attended(encoder, n, query, rows))
    # A node without any row follows the policy.
    wanted = {'zeros': encoder.lin.bias, 'drop': torch.zeros(C),
              'mean': project(encoder, x[mask].mean(dim=0)),
              'learned': encoder.fill,
              'random': attended(encoder, 0, query, [0, 1, 2, 3])}[missing]
    torch.testing.assert_close(out[0], wanted)
    torch.testing.assert_close(encoder(torch.arange(6).view(2, 3), None if
                                       query is None else
                                       query[:6].view(2, 3, C)),
                               out[:6].view(2, 3, C))


def test_one_row_of_several_is_a_single_row() -> None:
    x, mask = features()
    torch.manual_seed(3)
    one = ModalityEncoder(x, C, mask)
    torch.manual_seed(3)
    # A mask of nodes applies to all of their rows.
    several = ModalityEncoder(x[:, None], C, mask)
    index = torch.randperm(N)
    for query in (None, torch.randn(N, C)):
        torch.testing.assert_close(several(index, query), one(index))


def test_attention_learns() -> None:
    x, mask = several()
    encoder = ModalityEncoder(x, C, mask).double()
    query = torch.randn(N, C, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda weight, q: torch.func.functional_call(
            encoder, {'lin.weight': weight}, (torch.arange(N), q)),
        (encoder.lin.weight, query))


@pytest.mark.parametrize('missing', ['zeros', 'learned', 'drop'])
def test_two_layers(missing: str) -> None:
    """A hidden layer with a ReLU, by plain loops."""
    x, mask = features()
    encoder = ModalityEncoder(x, C, mask, missing, hidden_channels=4)
    for node in (12, 39, *([3] if missing == 'zeros' else [])):
        row = x[node].tolist() if mask[node] else [0.0] * F
        hidden = [max(0.0, sum(w * f for w, f in zip(weights, row)) + bias)
                  for weights, bias in zip(encoder.hidden.weight.tolist(),
                                           encoder.hidden.bias.tolist())]
        torch.testing.assert_close(
            encoder(torch.tensor(node)), torch.tensor([
                sum(w * h for w, h in zip(weights, hidden)) + bias
                for weights, bias in zip(encoder.lin.weight.tolist(),
                                         encoder.lin.bias.tolist())]))
    if missing == 'learned':
        assert torch.equal(encoder(torch.tensor(3)), encoder.fill)
    if missing == 'drop':
        assert not encoder(torch.tensor(3)).any()


def test_presence_matters_with_two_layers_only() -> None:
    """The sum of both effects is all that one layer can express."""
    value, there = torch.tensor([0.0, 1.0]), torch.tensor([0.0, 1.0])
    x = torch.cartesian_prod(value, there)
    mixed = {}
    for hidden in (None, 8):
        encoder = ModalityEncoder(x, C, hidden_channels=hidden)
        out = encoder(torch.arange(4))
        mixed[hidden] = (out[3] - out[2] - out[1] + out[0]).abs().max()
    assert mixed[None] < 1e-6 < 1e-3 < mixed[8]


def test_hidden_widths_of_modalities() -> None:
    x = {'text': torch.randn(N, F), 'numeric': torch.randn(N, F)}
    encoders = make_encoders(x, None, C, {'numeric': 7})
    assert encoders['text'].hidden is None
    assert encoders['numeric'].hidden.out_features == 7
    with pytest.raises(ModelError, match=r"'encoder_channels' to be among "
                       r"\['text', 'numeric'\] \(got \['number'\]\)"):
        make_encoders(x, None, C, {'number': 7})
    with pytest.raises(ModelError, match=r'hidden_channels.*got 0'):
        make_encoders(x, None, C, {'numeric': 0})
