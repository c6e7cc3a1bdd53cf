"""A small model whose representation concatenates its views."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from pyg_mmkgc.nn.encoder import ModalityEncoder
from pyg_mmkgc.nn.kge import MMKGEModel
from pyg_mmkgc.sampler import NegativeSampler


class Pairs(MMKGEModel):
    """Minus the sum of |h_x + r - t_y| over pairs of views x and y."""
    def __init__(self, num_nodes: int, num_relations: int,
                 hidden_channels: int, modalities: dict[str, Tensor]) -> None:
        super().__init__(num_nodes, num_relations, hidden_channels, modalities)
        self.encoders = torch.nn.ModuleDict({
            name: ModalityEncoder(x, hidden_channels)
            for name, x in modalities.items()})

    def embed(self, index: Tensor) -> dict[str, Tensor]:
        return super().embed(index) | {
            name: encoder(index) for name, encoder in self.encoders.items()}

    def fuse(self, views: dict[str, Tensor]) -> Tensor:
        return torch.cat(list(views.values()), dim=-1)

    def score(self, head: Tensor, rel_type: Tensor, tail: Tensor) -> Tensor:
        num, rel = len(self.encoders) + 1, self.rel_emb(rel_type)
        return -sum((x + rel - y).abs().sum(-1) for x in head.chunk(num, -1)
                    for y in tail.chunk(num, -1))


def numpy_views(model: MMKGEModel) -> dict[str, np.ndarray]:
    """Returns the views of all nodes in plain numpy."""
    out = {'structure': model.node_emb.weight.detach().numpy()}
    for name, encoder in model.encoders.items():
        weight = encoder.lin.weight.detach().numpy()
        out[name] = (encoder.x.numpy() @ weight.T
                     + encoder.lin.bias.detach().numpy())
    return out


def energy(head: np.ndarray, rel: np.ndarray, tail: np.ndarray) -> float:
    """Returns the distance between a view of a head and a view of a tail."""
    return float(sum(abs(h + r - t) for h, r, t in zip(head, rel, tail)))


@dataclass
class Toy:
    """A model with two modalities, its triples, and its views in numpy."""
    model: Pairs
    triples: tuple[Tensor, Tensor, Tensor]
    views: dict[str, np.ndarray]

    def prepare(self, sampler: NegativeSampler) -> NegativeSampler:
        head, rel, tail = self.triples
        sampler.check(self.model)
        return sampler.prepare(torch.stack([head, tail]), rel,
                               self.model.num_nodes, self.model.num_relations)

    def score(self, heads: dict[str, int], rel: int,
              tails: dict[str, int]) -> float:
        """Returns the score in plain loops, with a node for each view."""
        r = self.model.rel_emb.weight[rel].tolist()
        return -sum(energy(self.views[x][heads[x]], r,
                           self.views[y][tails[y]])
                    for x in self.views for y in self.views)


@pytest.fixture
def toy() -> Toy:
    torch.manual_seed(0)
    N, R = 20, 3
    model = Pairs(N, R, 4, {'visual': torch.randn(N, 5).double(),
                            'text': torch.randn(N, 6).double()}).double()
    head, tail = torch.randint(N, (2, 30))
    rel = torch.randint(R, (30, ))
    return Toy(model, (head, rel, tail), numpy_views(model))
