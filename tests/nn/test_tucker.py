"""Products with a core tensor, against loops."""

import pytest
import torch

from pyg_mmkgc.kernels import backend
from pyg_mmkgc.nn.tucker import tucker, tucker_by_relation

C, D, E = 3, 4, 5


def product(rel: torch.Tensor, x: torch.Tensor,
            core: torch.Tensor) -> torch.Tensor:
    return torch.stack([sum(
        core[c, d, e] * rel[c] * x[d] for c in range(C) for d in range(D))
        for e in range(E)])


@pytest.mark.parametrize('block', [1, 1 << 20])
def test_by_loops(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, 'BLOCK', block)
    core = torch.randn(C, D, E).double().requires_grad_()
    x, table = torch.randn(6, D).double(), torch.randn(9, C).double()
    x, table = x.requires_grad_(), table.requires_grad_()
    rel_type = torch.tensor([4, 0, 4, 8, 0, 4])
    wanted = torch.stack([product(table[r], row, core)
                          for r, row in zip(rel_type.tolist(), x)])
    weight = torch.randn_like(wanted)
    grads = torch.autograd.grad((weight * wanted).sum(), [x, table, core])
    for out in (tucker(x, table[rel_type], core),
                tucker_by_relation(x, rel_type, table, core)):
        torch.testing.assert_close(out, wanted)
        for a, b in zip(torch.autograd.grad(
                (weight * out).sum(), [x, table, core]), grads):
            torch.testing.assert_close(a, b)


def test_broadcasting() -> None:
    core, table = torch.randn(C, D, E), torch.randn(9, C)
    x, rel_type = torch.randn(2, 1, D), torch.tensor([[1, 7, 1]])
    wanted = torch.stack([torch.stack([
        product(table[r], row, core) for r in rel_type[0].tolist()])
        for row in x[:, 0]])
    for out in (tucker(x, table[rel_type], core),
                tucker_by_relation(x, rel_type, table, core)):
        torch.testing.assert_close(out, wanted)
    for size in ((0, D), (2, 0, D)):
        none = torch.empty(size[:-1], dtype=torch.long)
        for out in (tucker(torch.empty(size), table[none], core),
                    tucker_by_relation(torch.empty(size), none, table, core)):
            assert out.shape == (*size[:-1], E)
    one = tucker_by_relation(x[0, 0], torch.tensor(7), table, core)
    torch.testing.assert_close(one, product(table[7], x[0, 0], core))
    for wrong in (-1, 9):
        with pytest.raises(IndexError):
            tucker_by_relation(x, torch.tensor([[wrong]]), table, core)
