"""Faults in the library that the tests next to this file find."""

from collections.abc import Callable
from typing import Any, Optional

import pytest
import torch
from torch import Tensor

from pyg_mmkgc.kernels import relational
from pyg_mmkgc.kernels.relational import Order, RelationalGraph
from pyg_mmkgc.nn.path import PathModel, RelationalConv, reach

from . import test_explain, test_path_models
from .test_path_models import SIZES

Patch = Callable[[pytest.MonkeyPatch], None]


def other_direction(patch: pytest.MonkeyPatch) -> None:
    """The tail hears of the head along r."""
    prepare = PathModel.prepare
    patch.setattr(PathModel, 'prepare', lambda self, edge_index, edge_type:
                  prepare(self, edge_index.flip(0), edge_type))


def edges_left_in(patch: pytest.MonkeyPatch) -> None:
    """Training sees the edges of its batch."""
    patch.setattr(RelationalGraph, 'without', lambda self, drop: self)


def off_by_one(patch: pytest.MonkeyPatch) -> None:
    """The first edge of each node is not among its known answers."""
    def at(self: Order, node: Tensor) -> tuple[Tensor, Tensor]:
        first = self.ptr[node]
        count = (self.ptr[node + 1] - first - 1).clamp(min=0)
        query = torch.repeat_interleave(count)
        offset = torch.arange(query.numel()) - (count.cumsum(0)
                                                - count)[query]
        return query, first[query] + 1 + offset

    patch.setattr(Order, 'at', at)


def mean_of_edges_alone(patch: pytest.MonkeyPatch) -> None:
    """The start is added to the mean instead of averaged."""
    def aggregate(self: RelationalConv, x: Tensor, weight: Tensor,
                  graph: RelationalGraph, node: Tensor,
                  start: Tensor) -> Tensor:
        out = relational.relational_propagate(x, weight, graph, self.message,
                                              self.reduce)
        query = torch.arange(node.numel())
        return out.index_put((query, node), start, accumulate=True)

    patch.setattr(RelationalConv, 'aggregate', aggregate)


def start_only_once(patch: pytest.MonkeyPatch) -> None:
    """Later layers do not get the start again."""
    aggregate = RelationalConv.aggregate
    patch.setattr(RelationalConv, 'aggregate', lambda self, x, weight, graph,
                  node, start: aggregate(self, x, weight, graph, node,
                                         torch.zeros_like(start)))


def norm_after_relu(patch: pytest.MonkeyPatch) -> None:
    def update(self: RelationalConv, x: Tensor, message: Tensor) -> Tensor:
        out = self.linear(torch.cat([x, message], dim=-1))
        return self.layer_norm(out.relu()) + x

    patch.setattr(RelationalConv, 'update', update)


def no_short_cut(patch: pytest.MonkeyPatch) -> None:
    update = RelationalConv.update
    patch.setattr(RelationalConv, 'update', lambda self, x, message:
                  update(self, x, message) - x)


def reach_too_short(patch: pytest.MonkeyPatch) -> None:
    """The last message changes no node."""
    find_reach = reach.find_reach

    def short(graph: RelationalGraph, node: Tensor,
              num_layers: int) -> Optional[reach.Reach]:
        found = find_reach(graph, node, num_layers - 1)
        return found and found._replace(
            size=[*found.size, found.size[-1]],
            graph=[*found.graph, found.graph[-1]])

    patch.setattr(reach, 'find_reach', short)


def nbfnet(reduce: str, size: int = 0) -> None:
    test_path_models.test_nbfnet_equals_its_equations(
        'product', reduce, True, SIZES[size])


def ultra(size: int = 0) -> None:
    test_path_models.test_ultra_equals_its_equations(SIZES[size])


@pytest.mark.parametrize('fault, test, args', [
    (other_direction, nbfnet, ('sum', )),
    (other_direction, ultra, ()),
    (other_direction, test_path_models.test_relation_graph_by_hand, ()),
    (other_direction,
     test_explain.test_directions_are_those_of_the_triples, ()),
    (edges_left_in,
     test_path_models.test_loss_takes_the_edges_of_the_batch_out,
     ('NBFNet', False, 12)),
    (edges_left_in, test_explain.test_no_path, ()),
    (off_by_one, test_path_models.test_loss_takes_the_edges_of_the_batch_out,
     ('NBFNet', False, 12)),
    (mean_of_edges_alone, nbfnet, ('mean', )),
    (mean_of_edges_alone, nbfnet, ('max', )),
    (start_only_once, nbfnet, ('sum', )),
    (norm_after_relu, nbfnet, ('sum', )),
    (no_short_cut, ultra, ()),
    (reach_too_short, nbfnet, ('sum', 1)),
    (reach_too_short, ultra, (1, )),
])
def test_fault_is_found(fault: Patch, test: Callable[..., None],
                        args: tuple[Any, ...],
                        monkeypatch: pytest.MonkeyPatch) -> None:
    test(*args)
    fault(monkeypatch)
    with pytest.raises((AssertionError, ValueError)):
        test(*args)
