"""The seam: a model of three calls gets everything else from the base."""

import pytest
import torch
from torch import Tensor

from pyg_mmkgc.nn import MMKGEModel
from pyg_mmkgc.nn.functional import diagonal_score

N, R, C = 7, 2, 4


class SideBySide(MMKGEModel):
    """Two views, concatenated, as IKRL has them; DistMult's score."""
    def __init__(self, num_nodes: int, num_relations: int,
                 hidden_channels: int,
                 modalities: dict[str, Tensor] | None = None) -> None:
        super().__init__(num_nodes, num_relations, hidden_channels,
                         modalities, num_negatives=3)
        self.register_buffer('x', torch.cat(list((modalities or {})
                                                 .values()), dim=-1))
        self.rel_emb = torch.nn.Embedding(num_relations,
                                          hidden_channels + self.x.size(1))

    def embed(self, index: Tensor) -> dict[str, Tensor]:
        return super().embed(index) | {'features': self.x[index]}

    def fuse(self, views: dict[str, Tensor]) -> Tensor:
        return torch.cat(list(views.values()), dim=-1)

    def score(self, head: Tensor, rel_type: Tensor, tail: Tensor) -> Tensor:
        return diagonal_score(head, self.rel_emb(rel_type), tail)


@pytest.fixture
def model() -> SideBySide:
    return SideBySide(N, R, C, {'a': torch.randn(N, 2),
                                'b': torch.randn(N, 1)}).double()


def loop_score(model: SideBySide, h: int, r: int, t: int) -> float:
    head, tail = ([*model.node_emb.weight[n].tolist(), *model.x[n].tolist()]
                  for n in (h, t))
    rel = model.rel_emb.weight[r].tolist()
    return sum(a * b * c for a, b, c in zip(head, rel, tail))


def test_forward_and_ranking(model: SideBySide) -> None:
    head, rel, tail = (torch.tensor([0, 6, 3]), torch.tensor([0, 1, 1]),
                       torch.tensor([5, 6, 0]))
    scores = model(head, rel, tail)
    tails, heads = model.score_tails(head, rel), model.score_heads(rel, tail)
    assert tails.shape == heads.shape == (3, N)
    for b, (h, r, t) in enumerate(zip(head.tolist(), rel.tolist(),
                                      tail.tolist())):
        assert scores[b].item() == pytest.approx(loop_score(model, h, r, t))
        for n in range(N):
            assert tails[b, n].item() == pytest.approx(
                loop_score(model, h, r, n))
            assert heads[b, n].item() == pytest.approx(
                loop_score(model, n, r, t))


def test_encode_any_shape(model: SideBySide) -> None:
    table = model.encode()
    assert table.shape == (N, C + 3)
    index = torch.randint(N, (2, 3))
    assert torch.equal(model.encode(index), table[index])


def test_loss_is_pygs_interface(model: SideBySide) -> None:
    model.loss(*torch.tensor([[0, 1], [0, 1], [2, 2]])).backward()
    assert model.node_emb.weight.grad is not None
    model.reset_parameters()


def test_score_is_the_models_own() -> None:
    model = MMKGEModel(N, R, C)
    with pytest.raises(NotImplementedError):
        model(*torch.zeros(3, 1).long())
