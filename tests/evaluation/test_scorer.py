import pytest
import torch
from torch_geometric.nn.kge import ComplEx, DistMult, RotatE, TransE
from torch_geometric.testing import withCUDA

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.evaluation import scorer as module
from pyg_mmkgc.evaluation.scorer import device_of, scoring
from pyg_mmkgc.kernels import backend, dense


@pytest.fixture
def kg():
    return KnowledgeGraph(edge_index=torch.tensor([[0], [1]]),
                          edge_type=torch.tensor([0]), num_nodes=40,
                          num_relations=5)


def all_pairs(model, node, rel_type, side, num_nodes):
    r"""Returns scores of `forward`, query by query, in double precision."""
    rows, other = [], torch.arange(num_nodes, device=node.device)
    for n, r in zip(node, rel_type, strict=True):
        n, r = n.expand_as(other), r.expand_as(other)
        rows.append(model(n, r, other) if side == 'tail' else
                    model(other, r, n))
    return torch.stack(rows)


def queries(device):
    g = torch.Generator().manual_seed(0)
    node = torch.randint(40, (9, ), generator=g)
    return node.to(device), torch.randint(5, (9, ), generator=g).to(device)


MODELS = [(TransE, {}), (TransE, {'p_norm': 2}), (TransE, {'p_norm': 3}),
          (DistMult, {}), (ComplEx, {}), (RotatE, {'margin': 4.0})]


@withCUDA
@pytest.mark.parametrize('side', ['head', 'tail'])
@pytest.mark.parametrize('cls, kwargs', MODELS)
def test_closed_forms_equal_forward(cls, kwargs, side, device, kg):
    model = cls(40, 5, 16, **kwargs).to(device)
    node, rel_type = queries(device)
    with torch.no_grad():
        expected = all_pairs(model.double(), node, rel_type, side, 40)
        model.float()

    model.forward_calls = 0
    model.register_forward_hook(
        lambda *args: setattr(model, 'forward_calls', 1))
    with scoring(model, kg) as score:
        out = score(node, rel_type, side)
    # There is no query for a norm without a kernel.
    assert model.forward_calls == (kwargs == {'p_norm': 3})
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('cls', [TransE, RotatE])
def test_small_distances_keep_single_precision(cls, kg):
    # Points far from the origin and close to one another.
    model = cls(40, 5, 16, **({'p_norm': 2} if cls is TransE else {}))
    with torch.no_grad():
        model.node_emb.weight.mul_(1e-4).add_(100.0)
        model.rel_emb.weight.zero_()
        node, rel_type = queries('cpu')
        with scoring(model, kg) as score:
            out = score(node, rel_type, 'tail')
        expected = all_pairs(model, node, rel_type, 'tail', 40)
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('cls, kwargs', MODELS)
def test_changed_forward_is_what_counts(cls, kwargs, kg):
    class Negated(cls):
        def forward(self, head_index, rel_type, tail_index):
            return -super().forward(head_index, rel_type, tail_index)

    class Renamed(cls):
        def loss(self, head_index, rel_type, tail_index):
            raise NotImplementedError

    torch.manual_seed(0)
    model = cls(40, 5, 16, **kwargs)
    node, rel_type = queries('cpu')
    with scoring(model, kg) as score:
        plain = score(node, rel_type, 'head')
    for changed in (Negated, Renamed):
        other = changed(40, 5, 16, **kwargs)
        other.load_state_dict(model.state_dict())
        with scoring(other, kg) as score:
            out = score(node, rel_type, 'head')
        sign = -1 if changed is Negated else 1
        torch.testing.assert_close(out, sign * plain)
    patched = cls(40, 5, 16, **kwargs)
    patched.forward = lambda h, r, t: (h * 100 + t).float()
    with scoring(patched, kg) as score:
        assert float(score(node, rel_type, 'tail')[0, 7]) == node[0] * 100 + 7


@pytest.mark.parametrize('block', [1, 100, 10_000])
@pytest.mark.parametrize('cls, kwargs', MODELS)
def test_blocks_inside_do_not_matter(cls, kwargs, block, kg, monkeypatch):
    class Slow(cls):
        largest = 0

        def forward(self, head_index, rel_type, tail_index):
            Slow.largest = max(Slow.largest, head_index.numel())
            return super().forward(head_index, rel_type, tail_index)

    node, rel_type = queries('cpu')
    for model in (cls(40, 5, 16, **kwargs), Slow(40, 5, 16, **kwargs)):
        with scoring(model, kg) as score:
            expected = score(node, rel_type, 'tail')
        with monkeypatch.context() as patch:
            for where in (module, backend, dense):
                patch.setattr(where, 'BLOCK', block)
            Slow.largest = 0
            with scoring(model, kg) as score:
                out = score(node, rel_type, 'tail')
        assert Slow.largest <= max(1, block // 64)
        assert torch.equal(out, expected)


def test_mode_is_restored_after_an_error(kg):
    model = DistMult(40, 5, 16).train()
    with pytest.raises(ZeroDivisionError), scoring(model, kg):
        assert not model.training and not torch.is_grad_enabled()
        raise ZeroDivisionError
    assert model.training and torch.is_grad_enabled()


def test_device_of_a_model_without_tensors():
    assert device_of(torch.nn.Identity()) == torch.device('cpu')
