"""Tests of cross-modal attention against plain loops."""

import pytest
import torch
import torch.nn.functional as F

from pyg_mmkgc.sampler import CrossModalAttention
from pyg_mmkgc.sampler import attention as module

N, C, CR, D = 12, 4, 3, 5
ROWS = {'visual': 3, 'text': 2, 'audio': 1, 'image': 1}


def make(*names: str) -> CrossModalAttention:
    features = {name: torch.randn(N, ROWS[name], 6).double()
                for name in names}
    return CrossModalAttention(features, C, CR, hidden_channels=D).double()


def inputs(B: int = 4, M: int = 7) -> list:
    # Three relations, of which the first has no positive.
    return [torch.randperm(N)[:M], torch.randint(N, (B, )),
            torch.randn(3, CR).double(), torch.tensor([2, 1, 2, 2]),
            torch.randn(M, C).double(), torch.randn(B, C).double()]


def layer_norm(x: torch.Tensor, norm: torch.nn.LayerNorm) -> torch.Tensor:
    mean = sum(x) / len(x)
    var = sum((v - mean) ** 2 for v in x) / len(x)
    return (x - mean) / (var + norm.eps).sqrt() * norm.weight + norm.bias


def view(kca: CrossModalAttention, name: str, node: int,
         rel: torch.Tensor) -> torch.Tensor:
    """Returns the view of one entity for one relation, as in the paper."""
    def project(m: str) -> list[torch.Tensor]:
        lin = kca.lin[f'x_{m}']
        rows = kca.get_buffer(f'x_{m}')[node]
        return [F.leaky_relu(lin.weight @ row + lin.bias, 0.1)
                for row in rows]

    X = project(name)
    names = [m for m in kca.rows if m != name] or [name]
    Y = [y for m in names for y in project(m)]
    P, Q = len(X), len(Y)
    affinity = [[X[i] @ Y[j] for j in range(Q)] for i in range(P)]
    lin = kca.gate[f'x_{name}']
    gate = torch.sigmoid(lin.weight @ rel + lin.bias)
    columns = []
    for j in range(Q):
        total = sum(affinity[i][j].exp() for i in range(P))
        soft = sum(affinity[i][j].exp() / total * X[i] for i in range(P))
        guided = sum(gate[i * Q + j] * affinity[i][j] * X[i]
                     for i in range(P))
        norm = kca.norm[f'x_{name}']
        columns.append(layer_norm(soft, norm) + layer_norm(guided, norm))
    lin = kca.out[f'x_{name}']
    return lin.weight @ torch.cat(columns) + lin.bias


def structure(kca: CrossModalAttention, x: torch.Tensor,
              rel: torch.Tensor) -> torch.Tensor:
    lin, gate = kca.lin_node, kca.gate_node
    hidden = F.leaky_relu(lin.weight @ torch.cat([x, rel]) + lin.bias, 0.1)
    return x * torch.sigmoid(gate.weight @ hidden + gate.bias)


def cosine(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return x @ y / float(x.norm() * y.norm())  # The norms are constants.


@pytest.mark.filterwarnings('ignore:Converting a tensor')
@pytest.mark.parametrize('names', [
    ('visual', 'text'), ('text', ), ('visual', 'text', 'audio'),
    ('audio', ), ('audio', 'image')])
def test_cosines_and_gradients_by_loops(names) -> None:
    kca, (node, own, rel, kind, node_x, own_x) = make(*names), inputs()
    with torch.no_grad():  # Zeros and ones would hide their effect.
        for p in kca.parameters():
            p += 0.1 * torch.randn_like(p)
    got = kca(node, own, rel, kind, node_x, own_x)
    rel = rel[kind]
    assert list(got) == [*names, 'structure']
    expected = {key: torch.zeros_like(got[key]) for key in got}
    weight = {key: torch.randn_like(got[key]) for key in got}
    total = 0.0
    for b in range(own.numel()):
        for m in range(node.numel()):
            for name in names:
                value = cosine(view(kca, name, int(node[m]), rel[b]),
                               view(kca, name, int(own[b]), rel[b]))
                expected[name][b, m] = value.detach()
                total = total + value * weight[name][b, m]
            value = cosine(structure(kca, node_x[m], rel[b]),
                           structure(kca, own_x[b], rel[b]))
            expected['structure'][b, m] = value.detach()
            total = total + value * weight['structure'][b, m]
    for key in got:
        torch.testing.assert_close(got[key], expected[key])
    params = list(kca.parameters())
    ours = torch.autograd.grad(
        sum((got[key] * weight[key]).sum() for key in got), params)
    theirs = torch.autograd.grad(total, params)
    for (name, _), x, y in zip(kca.named_parameters(), ours, theirs):
        torch.testing.assert_close(x, y, msg=lambda m, n=name: f'{n}: {m}')


def test_chunks_change_nothing(monkeypatch) -> None:
    """Chunks bound the memory as well."""
    kca, args = make('visual', 'text'), inputs(M=9)
    whole = kca(*args)
    params = list(kca.parameters())
    grads = torch.autograd.grad(sum(x.sin().sum() for x in whole.values()),
                                params)
    sizes = []
    cos = module._cosine

    def watch(x, y):  # noqa: ANN001, ANN202
        sizes.append(y.size(0))
        return cos(x, y)

    monkeypatch.setattr(module, '_cosine', watch)
    monkeypatch.setattr(module, 'BLOCK', 60)
    monkeypatch.setattr(module, 'KEEP', 60)
    parts = kca(*args)
    assert max(sizes) < 9 and len(sizes) > 6
    for key in whole:
        torch.testing.assert_close(parts[key], whole[key])
    again = torch.autograd.grad(sum(x.sin().sum() for x in parts.values()),
                                params)
    for x, y in zip(again, grads):
        torch.testing.assert_close(x, y)


def test_rows_that_are_missing_are_zero() -> None:
    x = {'visual': torch.randn(N, 3, 6), 'text': torch.randn(N, 6)}
    masks = {'visual': torch.rand(N, 3) < 0.5, 'text': torch.rand(N) < 0.5}
    kca = CrossModalAttention(x, C, CR, masks)
    assert kca.rows == {'visual': 3, 'text': 1}
    rows = kca.get_buffer('x_visual')
    assert bool((rows[~masks['visual']] == 0).all())
    assert torch.equal(rows[masks['visual']], x['visual'][masks['visual']])
    assert bool((kca.get_buffer('x_text')[~masks['text']] == 0).all())
    assert not any(name.startswith('x_') for name in kca.state_dict())


def test_reset_parameters() -> None:
    kca = make('visual', 'text')
    before = {name: p.detach().clone() for name, p in kca.named_parameters()}
    with torch.no_grad():
        for p in kca.parameters():
            p += 1
    kca.reset_parameters()
    for name, p in kca.named_parameters():
        if p.dim() > 1:
            assert not torch.equal(p, before[name])
        else:
            assert torch.equal(p, before[name])


@pytest.mark.parametrize('names', [('visual', 'text'), ('audio', )])
def test_a_node_without_features_points_nowhere(names) -> None:
    """Its cosines and their gradients are zero while biases are zero."""
    kca, args = make(*names), inputs()
    missing = args[0][2]
    for name in names:
        kca.get_buffer(f'x_{name}')[missing] = 0
    kca.reset_parameters()
    args[1][:] = args[0][0]  # None of the positives.
    got = kca(*args)
    params = [p for name, p in kca.named_parameters() if '_node' not in name]
    weight = torch.randn(4, 7).double()
    with_it, without = (torch.autograd.grad(
        sum((got[name] * weight * keep).sum() for name in names), params,
        retain_graph=True) for keep in (1, torch.arange(7) != 2))
    for name in names:
        assert bool((got[name][:, 2] == 0).all())
        assert bool((got[name][:, 3] != 0).all())
    for x, y in zip(with_it, without):
        torch.testing.assert_close(x, y)
