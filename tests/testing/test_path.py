"""Tests that check_model accepts path models and finds planted faults."""

from typing import Any

import pytest
import torch
from torch import Tensor

from pyg_mmkgc.kernels.relational import RelationalGraph
from pyg_mmkgc.nn import path
from pyg_mmkgc.nn.path import ULTRA, NBFNet, PathModel
from pyg_mmkgc.testing import PATH_CHECKS, check_model

SMALL = {'hidden_channels': 8, 'num_layers': 3}
CASES: list[tuple[type[PathModel], dict[str, Any]]] = [
    (NBFNet, {}),
    (NBFNet, {'message': 'rotation', 'reduce': 'mean'}),
    (NBFNet, {'message': 'sum', 'reduce': 'max', 'num_negatives': 8}),
    (NBFNet, {'dependent': False}),
    (NBFNet, {'modalities': {}}),
    (ULTRA, {}),
    (ULTRA, {'modalities': {}}),
]


def test_every_path_model_has_a_case() -> None:
    public = {getattr(path, name) for name in path.classes}
    models = {cls for cls in public if isinstance(cls, type)
              and issubclass(cls, PathModel)} - {PathModel}
    assert models == {cls for cls, _ in CASES}


@pytest.mark.parametrize('check', PATH_CHECKS)
@pytest.mark.parametrize('cls, kwargs', CASES, ids=str)
def test_sound(cls: type[PathModel], kwargs: dict[str, Any],
               check: str) -> None:
    check_model(cls, checks=[check], lr=0.01, **SMALL, **kwargs)


class KeepsEdges(NBFNet):
    def score_queries(self, graph: RelationalGraph, node: Tensor,
                      rel_type: Tensor) -> Tensor:
        return super().score_queries(self.graph, node, rel_type)


class KnowsNumbers(NBFNet):
    def score_queries(self, graph: RelationalGraph, node: Tensor,
                      rel_type: Tensor) -> Tensor:
        out = super().score_queries(graph, node, rel_type)
        return out + 0.1 * torch.arange(out.size(1))


class OneForm(NBFNet):
    def score_heads(self, rel_type: Tensor, tail_index: Tensor) -> Tensor:
        return self.score_all(tail_index, rel_type, 'tail')


class Infinite(NBFNet):
    def score_queries(self, graph: RelationalGraph, node: Tensor,
                      rel_type: Tensor) -> Tensor:
        out = super().score_queries(graph, node, rel_type)
        lost = (graph.degree == 0).expand_as(out)
        return out.masked_fill(lost, float('-inf'))


class Batched(NBFNet):
    def score_queries(self, graph: RelationalGraph, node: Tensor,
                      rel_type: Tensor) -> Tensor:
        out = super().score_queries(graph, node, rel_type)
        return out - out.mean()


class Noisy(NBFNet):
    def score_queries(self, graph: RelationalGraph, node: Tensor,
                      rel_type: Tensor) -> Tensor:
        out = super().score_queries(graph, node, rel_type)
        return out + 0.01 * torch.randn_like(out)


class Unchecked(NBFNet):
    def score_all(self, node: Tensor, rel_type: Tensor,
                  side: str) -> Tensor:
        return self.score_queries(self.graph, node, rel_type + (
            self.num_relations if side == 'head' else 0))


class KeepsFeatures(NBFNet):
    def attach(self, data: Any) -> Any:
        before = self._features
        super().attach(data)
        self._features = before or self._features
        return self


class Idle(NBFNet):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.spare = torch.nn.Parameter(torch.ones(2))


class Forgets(NBFNet):
    def __init__(self, num_relations: int, hidden_channels: int = 8,
                 num_layers: int = 3) -> None:
        super().__init__(num_relations, hidden_channels, num_layers)

    def config(self) -> dict[str, Any]:
        return {**super().config(), 'num_layers': 2}


class Lower(NBFNet):
    def loss(self, head_index: Tensor, rel_type: Tensor,
             tail_index: Tensor) -> Tensor:
        return -super().loss(head_index, rel_type, tail_index)


class Stays(NBFNet):
    def reset_parameters(self) -> None:
        for layer in self.layers:
            layer.reset_parameters()


class Unseeded(NBFNet):
    count = 0

    def reset_parameters(self) -> None:
        super().reset_parameters()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        Unseeded.count += 1
        with torch.no_grad():
            self.query_emb.weight.add_(Unseeded.count)


@pytest.mark.parametrize('cls, check', [
    (KeepsEdges, 'own_edges'), (KnowsNumbers, 'any_numbering'),
    (OneForm, 'score_all'), (Infinite, 'finite'),
    (Batched, 'batch_of_0_and_1'), (Noisy, 'eval_is_deterministic'),
    (Unchecked, 'out_of_range'), (Idle, 'gradients'),
    (KeepsFeatures, 'any_numbering'), (Forgets, 'pretrained'),
    (Lower, 'higher_is_better'),
    (Stays, 'reset_parameters'), (Unseeded, 'seed')])
def test_planted_fault_is_found(cls: type[PathModel], check: str) -> None:
    with pytest.raises(AssertionError, match=f'^{check}: '):
        check_model(cls, checks=[check], lr=0.01, **SMALL)
