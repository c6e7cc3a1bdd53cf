"""Path models: a query of ULTRA, a training query of NBFNet, and how message
passing grows with the edges.

As in `roofline`, operations and bytes are lower bounds. Operations are the
products of linear layers and the messages. Bytes assume that every
representation is read and written once per layer, since the rows at both ends
of an edge come from cache.
"""

import statistics
from typing import Any

import torch
from ceilings import best, ceilings
from part_growth import exponent
from protocol import Row, Setup, row
from workloads import mkg_w

from pyg_mmkgc.kernels.relational import RelationalGraph, relational_propagate
from pyg_mmkgc.nn.path import ULTRA, NBFNet, PathModel

EDGES = (10_000, 30_000, 100_000, 300_000, 1_000_000)


def least(model: PathModel, ceiling: dict[str, float],
          training: bool) -> tuple[float, dict[str, float]]:
    """Returns the seconds of a query at the ceiling, and the counted work."""
    graph, D = model.graph, model.hidden_channels
    N, L = graph.num_nodes, len(model.layers) - 1  # The first reads one row.
    product = 2.0 * N * D * (2 * D * L + 2 * D + 2)
    message = 2.0 * graph.num_edges * D * L
    rows = 4.0 * N * D * (3 * L + 1)
    times = 3 if training else 1
    counted = {'GFLOP of products': times * product / 1e9,
               'GFLOP of messages': times * message / 1e9,
               'MB': times * rows / 1e6}
    return times * max((product + message) / ceiling['fp32'],
                       rows / ceiling['copy']), counted


def _row(name: str, seconds: list[float], model: PathModel,
         ceiling: dict[str, float], bar: Any, training: bool) -> Row:
    floor, counted = least(model, ceiling, training)
    return row(name, [1e3 * x for x in seconds], 'ms', bar, counted=counted,
               ceiling_ms=1e3 * floor,
               times_the_ceiling=statistics.median(seconds) / floor)


def forward(setup: Setup) -> list[Row]:
    """ULTRA, 64 channels and 6 layers, new weights, on MKG-W: the scores of
    all nodes for a query, one thread; 20 queries of as many relations as
    their triples have.
    """
    kg = mkg_w(setup)
    torch.manual_seed(0)
    model = ULTRA.from_data(kg, hidden_channels=64, modalities={})
    model = model.eval().to(setup.device)
    count = 2 if setup.quick else 20
    train = kg.split('train')
    pick = torch.arange(count) * (train.num_edges // count)
    node = train.edge_index[0, pick].to(setup.device)
    rel = train.edge_type[pick].to(setup.device)
    before = torch.get_num_threads()
    ceiling = best(ceilings(setup))
    try:
        torch.set_num_threads(1)
        with torch.no_grad():
            found = setup.interleave({'query': lambda: model.score_all(
                node, rel, 'tail')})
    finally:
        torch.set_num_threads(before)
    return [_row('a query', [x / count for x in found['query']], model,
                 ceiling, setup.bar(cpu=('<=', 100.0)), False)]


def training(setup: Setup) -> list[Row]:
    """NBFNet, 32 channels and 4 layers, on MKG-W: loss and gradient of eight
    triples, which are 16 queries; by query.
    """
    kg = mkg_w(setup)
    torch.manual_seed(0)
    model = NBFNet.from_data(kg, hidden_channels=32, num_layers=4,
                             modalities={})
    model = model.to(setup.device)
    train = kg.split('train')
    batch = [x[:8].to(setup.device) for x in (
        train.edge_index[0], train.edge_type, train.edge_index[1])]

    def step() -> None:
        model.zero_grad()
        model.loss(*batch).backward()

    found = setup.interleave({'query': step})
    return [_row('a training query', [x / 16 for x in found['query']], model,
                 best(ceilings(setup)), setup.bar(cpu=('<=', 30.0)), True)]


def edges(setup: Setup) -> list[Row]:
    """Sums of products along random edges between 15,000 nodes, 100
    relations, 64 channels, one query; the exponent is the slope of a line
    through logarithms.
    """
    values = (100, 300) if setup.quick else EDGES
    num_nodes = 50 if setup.quick else 15_000
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, num_nodes, 64, generator=generator).to(setup.device)
    weight = torch.randn(1, 100, 64, generator=generator).to(setup.device)
    tasks = {}
    for value in values:
        ends = torch.randint(num_nodes, (2, value), generator=generator)
        graph = RelationalGraph(
            ends[0].to(setup.device),
            torch.randint(100, (value, ), generator=generator).to(
                setup.device), ends[1].to(setup.device), num_nodes, 100)
        tasks[f'{value:,} edges'] = _propagate(x, weight, graph)
    found = setup.interleave(tasks)
    rows = [row(name, [1e3 * x for x in seconds], 'ms')
            for name, seconds in found.items()]
    # Below, the cost of a call and of the nodes counts.
    slope = exponent(values[-3:], [statistics.median(found[name])
                                   for name in list(found)[-3:]])
    return [*rows, row('exponent of the last three', slope, '')]


def _propagate(x: torch.Tensor, weight: torch.Tensor,
               graph: RelationalGraph) -> Any:
    def task() -> None:
        relational_propagate(x, weight, graph)

    return task


def pruned(setup: Setup) -> list[Row]:
    """NBFNet, 32 channels and 4 layers, new weights, on MKG-W, a query without
    gradients: all nodes pass messages on in a layer, or the best K of those
    that are reached.
    """
    kg = mkg_w(setup)
    train = kg.split('train')
    count = 2 if setup.quick else 20
    pick = torch.arange(count) * (train.num_edges // count)
    tasks = {}
    for active in (10, 100, 1000, kg.num_nodes, None):
        torch.manual_seed(0)
        model = NBFNet.from_data(kg, hidden_channels=32, num_layers=4,
                                 modalities={}, num_active=active)
        model = model.eval().to(setup.device)
        name = 'all nodes' if active is None else f'K={active:,}'
        tasks[name] = _ask(model, train.edge_index[0, pick].to(setup.device),
                           train.edge_type[pick].to(setup.device))
    return [row(name, [1e3 * x / count for x in seconds], 'ms')
            for name, seconds in setup.interleave(tasks).items()]


def _ask(model: PathModel, node: torch.Tensor, rel: torch.Tensor) -> Any:
    def task() -> None:
        with torch.no_grad():
            model.score_all(node, rel, 'tail')

    return task


GROUPS = {'forward': forward, 'training': training, 'edges': edges,
          'pruned': pruned}
