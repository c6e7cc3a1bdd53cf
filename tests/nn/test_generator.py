"""Eq. (9) by plain loops."""

import pytest
import torch

from pyg_mmkgc.nn import ModalityGenerator

C, Z, H = 4, 3, 5


def test_equals_loops() -> None:
    generator = ModalityGenerator(C, Z, H).double()
    structure = torch.randn(6, C, dtype=torch.double)
    noise = torch.randn(6, Z, dtype=torch.double)
    out = generator(structure, noise)
    w1, b1 = generator.lin1.weight.tolist(), generator.lin1.bias.tolist()
    w2, b2 = generator.lin2.weight.tolist(), generator.lin2.bias.tolist()
    for row in range(6):
        x = structure[row].tolist() + noise[row].tolist()  # [e_s ; z]
        hidden = [sum(w * v for w, v in zip(w1[j], x)) + b1[j]
                  for j in range(H)]
        hidden = [v if v > 0 else 0.01 * v for v in hidden]  # LeakyReLU
        expected = [sum(w * v for w, v in zip(w2[c], hidden)) + b2[c]
                    for c in range(C)]
        assert out[row].tolist() == pytest.approx(expected, rel=1e-12)


def test_groups_share_the_structure() -> None:
    generator = ModalityGenerator(C, Z, H)
    structure, noise = torch.randn(6, C), torch.randn(2, 6, Z)
    out = generator(structure, noise)
    assert out.shape == (2, 6, C)
    for group in range(2):
        torch.testing.assert_close(out[group],
                                   generator(structure, noise[group]))
    assert not torch.allclose(out[0], out[1])


def test_widths_of_the_released_code() -> None:
    generator = ModalityGenerator(400)
    shapes = {name: tuple(p.shape) for name, p in
              generator.named_parameters()}
    assert shapes == {'lin1.weight': (512, 464), 'lin1.bias': (512, ),
                      'lin2.weight': (400, 512), 'lin2.bias': (400, )}


def test_reset_parameters() -> None:
    generator = ModalityGenerator(C, Z, H)
    before = [p.detach().clone() for p in generator.parameters()]
    generator.reset_parameters()
    assert not any(torch.equal(p, q)
                   for p, q in zip(generator.parameters(), before))
