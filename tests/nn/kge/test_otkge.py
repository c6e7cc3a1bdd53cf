"""OTKGE against complex numbers in loops, and its transport."""

import numpy as np
import pytest
import torch
from torch import Tensor

from pyg_mmkgc.datasets import FakeMMKG
from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn import OTKGE, OneVsAllLoss
from pyg_mmkgc.training import Trainer

from .against_formula import check_formula

N, R, D, F = 14, 3, 4, 5


def make(**kwargs: object) -> OTKGE:
    model = OTKGE(N, R, D, {'visual': torch.randn(N, F),
                            'text': torch.randn(N, 3)},
                  {'visual': torch.arange(N) % 6 != 1},
                  **{'scale': 0.7, **kwargs}).double()
    with torch.no_grad():
        for p in (model.node_emb.weight, model.rel_emb.weight):
            p.normal_()
    return model


def transport(model: OTKGE, name: str, nodes: list[int]) -> np.ndarray:
    """The mean plan of the ten nodes, by Sinkhorn's scalings."""
    total = 0
    for n in nodes:
        f = model.encoders[name].features(torch.tensor(n)).numpy()
        e = model.node_emb.weight[n].detach().numpy()
        kernel = np.exp(-0.1 * 0.7 * (f[:, None] - e) ** 2)
        u, v = np.ones(len(f)), np.ones(2 * D)
        for _ in range(500):
            u = 1 / len(f) / (kernel @ v)
            v = 1 / (2 * D) / (kernel.T @ u)
        total = total + u[:, None] * kernel * v
    return 2 * D * 0.7 * total / len(nodes)


# Nodes 1, 7 and 13 have no image: their place is taken by 10 and 11.
FIRST = {'visual': [0, 2, 3, 4, 5, 6, 8, 9, 10, 11], 'text': [*range(10)]}


def test_formula() -> None:
    model = make(alpha={'visual': 0.1, 'text': 0.7})
    model.update_transport()
    plans = {name: torch.from_numpy(transport(model, name, nodes))
             for name, nodes in FIRST.items()}

    def joint(n: int) -> Tensor:
        out = (1 - 0.1 - 0.7) * model.node_emb.weight[n]
        for name, alpha in (('visual', 0.1), ('text', 0.7)):
            encoder = model.encoders[name]
            matrix = plans[name] + encoder.lin.weight.t()
            x = encoder.features(torch.tensor(n))
            out = out + alpha * torch.stack([sum(
                f * row for f, row in zip(x, matrix[:, c]))
                for c in range(2 * D)])
        return out

    def number(row: Tensor, i: int) -> Tensor:
        return torch.complex(row[i], row[D + i])

    def score(h: int, r: int, t: int) -> Tensor:
        x, rel, y = joint(h), model.rel_emb.weight[r], joint(t)
        return sum(number(x, i) * number(rel, i) * number(y, i).conj()
                   for i in range(D)).real

    # The plans are found in single precision's tolerance of 1e-6.
    check_formula(model, score, rtol=1e-5, atol=1e-6)


def test_transport_is_computed_anew_now_and_then() -> None:
    model = make(refresh=3)
    args = torch.tensor([0]), torch.tensor([0]), torch.tensor([1])
    seen = []
    for _ in range(7):
        with torch.no_grad():
            model.node_emb.weight.mul_(1.5)
        model.loss(*args)
        seen.append(model.transported_text.clone())
    changes = [not torch.equal(a, b) for a, b in zip(seen, seen[1:])]
    assert changes == [False, False, True, False, False, True]
    before = [x.clone() for x in model.parameters()]
    scores = model.eval().score_tails(*args[:2])
    assert torch.equal(scores, model.score_tails(*args[:2]))
    assert all(map(torch.equal, before, model.parameters()))


def test_resumed_between_two_transports(tmp_path) -> None:  # noqa: ANN001
    kg = FakeMMKG(num_nodes=40, num_edges=160)[0]

    def trainer(epochs: int, folder: str | None = None) -> Trainer:
        torch.manual_seed(0)
        model = OTKGE.from_data(kg, D, refresh=4, reciprocal=True, n3=0.01)
        return Trainer(model, kg, loss=OneVsAllLoss(), batch_size=50,
                       epochs=epochs, valid_every=None, progress=False,
                       folder=folder)

    whole = trainer(3)
    whole.fit()
    trainer(2, tmp_path).fit()
    resumed = trainer(3, tmp_path)
    resumed.fit(resume=True)
    assert int(resumed.model.steps) == 3 * len(resumed)
    for name, x in whole.model.state_dict().items():
        assert torch.equal(x, resumed.model.state_dict()[name]), name


def test_a_modality_of_nobody() -> None:
    model = OTKGE(N, R, D, {'text': torch.randn(N, 3)},
                  {'text': torch.zeros(N, dtype=torch.bool)})
    assert not model.transported_text.any()


@pytest.mark.parametrize('kwargs', [
    {'alpha': {'visual': 0.5}}, {'alpha': {'visual': 0.5, 'text': 0.6}},
    {'alpha': {'visual': -0.5, 'text': 0.6}}, {'scale': 0.0},
    {'refresh': 0}, {'alpha': {'visual': 0.1, 'text': 0.1, 'audio': 0.1}}])
def test_bad_input(kwargs: dict) -> None:
    with pytest.raises(
            ModelError, match=rf"^Expected .*'{next(iter(kwargs))}'.*\(got "):
        make(**kwargs)
