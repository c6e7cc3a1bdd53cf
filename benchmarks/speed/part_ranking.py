"""Full filtered two-sided ranking of the test triples."""

import statistics
from collections.abc import Callable
from typing import Any

import torch
from exact_ranks import bounds, unexplained
from protocol import Row, Setup, ratio, row
from torch import Tensor
from torch_geometric.nn import ComplEx, DistMult, KGEModel, RotatE, TransE
from workloads import Size, build, db15k, mkg_w

from pyg_mmkgc import KnowledgeGraph, evaluate, nn
from pyg_mmkgc.evaluation.scorer import scoring

# Seconds on 2 cores, and on a GPU for DB15K at full size.
FULL = {'MKG-W': 4.0, 'DB15K': 12.0}
GPU_DB15K = 1.5


def full(setup: Setup) -> list[Row]:
    """RotatE (structure only) and AdaMF (all modalities), on MKG-W with d=200,
    and on DB15K with d=250 and features of 4096 and 768.
    """
    tasks: dict[str, Callable[[], Any]] = {}
    sizes: dict[str, tuple[str, int]] = {}
    for data, kg, width in (('MKG-W', mkg_w(setup), 200),
                            ('DB15K', db15k(setup, torch.float16), 250)):
        for name in ('RotatE', 'AdaMF'):
            model = build(name, kg, Size.of(setup, width).channels)
            model = model.to(setup.device)
            label = f'{data}: {name}'
            tasks[label] = _evaluation(model, kg)
            sizes[label] = data, 2 * kg.split('test').num_edges
    out = []
    for label, values in setup.interleave(tasks).items():
        data, count = sizes[label]
        out.append(row(
            label, values, rankings=count,
            ms_per_ranking=1e3 * statistics.median(values) / count,
            bar=setup.bar(('<=', FULL[data]), ('<=', GPU_DB15K)
                          if data == 'DB15K' else None)))
    return out


def _evaluation(model: torch.nn.Module,
                kg: KnowledgeGraph) -> Callable[[], Any]:
    def run() -> None:  # Drops the ranks, which take memory.
        evaluate(model, kg, 'test')

    return run


def with_test(kg: KnowledgeGraph, rows: Tensor) -> KnowledgeGraph:
    """Returns the graph with some of its test triples, filtered by all."""
    test, edges = kg.split('test'), kg.known_triples()
    index = torch.cat([kg.split('train').edge_index,
                       test.edge_index[:, rows]], dim=1)
    kind = torch.cat([kg.split('train').edge_type, test.edge_type[rows]])
    is_test = torch.arange(kind.numel()) >= kind.numel() - rows.numel()
    return KnowledgeGraph(
        edge_index=index, edge_type=kind, num_nodes=kg.num_nodes,
        num_relations=kg.num_relations, train_mask=~is_test,
        test_mask=is_test, filter_edge_index=edges[0],
        filter_edge_type=edges[1])


def pyg_test(setup: Setup) -> list[Row]:
    """PyG's ``test`` on a sample of test triples (tails, unfiltered, all
    nodes in one block) against our full ranking (both sides, filtered), by
    query, for PyG's RotatE with the same weights and for our RotatE. Each
    triple is two queries in our ranking.
    """
    kg, size = mkg_w(setup), Size.of(setup)
    torch.manual_seed(0)
    theirs = RotatE(kg.num_nodes, kg.num_relations, size.channels)
    theirs = theirs.to(setup.device)
    ours = build('RotatE', kg, size.channels).to(setup.device)
    test = kg.split('test')
    (head, tail), rel = test.edge_index.to(setup.device), (
        test.edge_type.to(setup.device))
    sample = torch.randperm(rel.numel())[:4 if setup.quick else 20]
    found = setup.interleave({
        'test': lambda: theirs.test(head[sample], rel[sample], tail[sample],
                                    kg.num_nodes, log=False),
        'evaluate, same model': _evaluation(theirs, kg),
        'evaluate, RotatE': _evaluation(ours, kg)})
    query = {name: [1e3 * x / (sample.numel() if name == 'test' else
                               2 * rel.numel()) for x in values]
             for name, values in found.items()}
    out = [row(f'{name}: one query', values, 'ms')
           for name, values in query.items()]
    for name in list(query)[1:]:
        out.append(ratio(f'test / {name}', query['test'], query[name],
                         setup.bar(('>=', 80.0))))
    # PyG counts from zero, among all tails.
    part = evaluate(theirs, with_test(kg, sample), 'test', filtered=False,
                    sides=['tail'])
    ranks = torch.tensor([1 + theirs.test(
        head[i:i + 1], rel[i:i + 1], tail[i:i + 1], kg.num_nodes,
        log=False)[0] for i in sample.tolist()])
    return out + compared(
        {'PyG': ranks, 'ours': part.ranks.by_ties('realistic')},
        bounds(theirs, kg, sample, 'tail', filtered=False), setup)


def compared(ranks: dict[str, Tensor], limits: tuple[Tensor, Tensor],
             setup: Setup) -> list[Row]:
    """Compares the ranks of both sides, up to rounding."""
    first, second = ranks.values()
    differ = (first.double() - second.double()).abs()
    return [row(f'ranks of {name} that rounding does not explain',
                unexplained(values, limits), 'ranks',
                setup.bar(('<=', 0.0), ('<=', 0.0)),
                compared=differ.numel(), equal=int((differ == 0).sum()),
                largest_difference=float(differ.max()))
            for name, values in ranks.items()]


def bare(setup: Setup) -> list[Row]:
    """Ranking against the bare operation for the same number of queries,
    width and block size: ``torch.cdist`` for TransE, the matrix product for
    DistMult and ComplEx. The bare operation has no filter and computes no
    ranks. The row 'scores' only scores the distinct queries.
    """
    kg, size = mkg_w(setup), Size.of(setup)
    out = []
    for name, model, width, operation, limit in _cases(kg, size):
        model = model.to(setup.device)
        scores, queries, step = _scores_only(model, kg)
        table = torch.randn(kg.num_nodes, width, device=setup.device)
        query = torch.randn(queries, width, device=setup.device)

        def plain(query: Tensor = query, table: Tensor = table,
                  operation: Any = operation, step: int = step) -> None:
            for block in query.split(step):
                operation(block, table)

        found = setup.interleave({
            'bare operation': plain, 'scores': scores,
            'full ranking': _evaluation(model, kg)})
        out += [row(f'{name}: {task}', values)
                for task, values in found.items()]
        out.append(ratio(f'{name}: scores / bare', found['scores'],
                         found['bare operation']))
        out.append(ratio(f'{name}: full ranking / bare',
                         found['full ranking'], found['bare operation'],
                         setup.bar(('<=', limit))))
    return out


def _cases(kg: KnowledgeGraph, size: Size
           ) -> list[tuple[str, KGEModel, int, Any, float]]:
    def distance(p: float) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda a, b: torch.cdist(a, b, p=p)

    def product(a: Tensor, b: Tensor) -> Tensor:
        return a @ b.t()

    torch.manual_seed(0)
    args = kg.num_nodes, kg.num_relations, size.channels
    width = size.channels
    out = [('PyG TransE, p=1', TransE(*args, p_norm=1.0), width,
            distance(1.0), 2.0),
           ('PyG TransE, p=2', TransE(*args, p_norm=2.0), width,
            distance(2.0), 2.0),
           ('PyG DistMult', DistMult(*args), width, product, 1.5),
           ('PyG ComplEx', ComplEx(*args), 2 * width, product, 1.5)]
    for name, columns, operation, limit in (
            ('TransE', width, distance(1.0), 2.0),
            ('DistMult', width, product, 1.5),
            ('ComplEx', 2 * width, product, 1.5)):
        own = getattr(nn, name, None)
        if own is not None:
            out.append((f'our {name}', own(*args), columns, operation, limit))
    return out


def _scores_only(model: torch.nn.Module, kg: KnowledgeGraph
                 ) -> tuple[Callable[[], None], int, int]:
    """Scores all queries. Returns their number and the number in a block."""
    test = kg.split('test')
    (head, tail), rel = test.edge_index, test.edge_type
    device, queries = next(model.parameters()).device, []
    for side, node in (('tail', head), ('head', tail)):
        key = (rel * kg.num_nodes + node).unique().to(device)
        queries.append((side, key % kg.num_nodes, key // kg.num_nodes))

    def run() -> None:
        with scoring(model, kg) as scorer:
            for side, node, kind in queries:
                for part in torch.arange(len(node),
                                         device=device).split(step):
                    scorer(node[part], kind[part], side)

    with scoring(model, kg) as scorer:
        step = scorer.batch_size
    return run, sum(len(node) for _, node, _ in queries), step


GROUPS = {'full': full, 'pyg_test': pyg_test, 'bare': bare}
