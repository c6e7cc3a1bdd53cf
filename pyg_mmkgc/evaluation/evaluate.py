from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from pyg_mmkgc.data import KnowledgeGraph, TripleIndex, relation_categories
from pyg_mmkgc.errors import ConfigError, DataError, check_whole
from pyg_mmkgc.evaluation.blocks import SideRanking
from pyg_mmkgc.evaluation.result import RankingResult, TieWarning
from pyg_mmkgc.evaluation.scorer import model_for, scoring
from pyg_mmkgc.metrics import Ranks, mean_reciprocal_rank
from pyg_mmkgc.typing import Side

SIDES: tuple[Side, ...] = ('head', 'tail')


def evaluate(
    model: Module,
    kg: Any,
    split: str = 'test',
    *,
    batch_size: int | None = None,
    ties: str = 'realistic',
    filtered: bool = True,
    sides: Sequence[str] = SIDES,
) -> RankingResult:
    r"""Ranks each triple of a split among all triples with one node replaced.

    All nodes are candidates, except for nodes that complete another known
    triple: a triple of the training, validation or test split, or of the
    graph's own filter. Queries and nodes are scored in blocks, and each
    distinct query is scored once against each node. The ranks do not depend
    on the size of the blocks, and the memory needed for scores does not
    depend on the number of nodes.

    If :mod:`torch.distributed` is initialized, all processes of its group must
    call this function. They score different nodes, and return the same ranks.

    .. code-block:: python

        >>> from pyg_mmkgc import AdaMF, Countries, evaluate
        >>> kg = Countries()[0]
        >>> model = AdaMF.from_data(kg, hidden_channels=8)
        >>> result = evaluate(model, kg, split='test')
        >>> result.protocol['num_rankings']  # print(result) shows all.
        2472
        >>> 0 < result.mrr < result.hits_at(10) < 1
        True
        >>> 0 < result.slices['category']['N-N']['mrr'] < 1
        True

    Args:
        model (torch.nn.Module): A
            :class:`~pyg_mmkgc.nn.kge.MMKGEModel`, any
            :class:`~torch_geometric.nn.kge.KGEModel`, or any module that
            scores triples :obj:`(head_index, rel_type, tail_index)` such
            that higher is better. It runs on its own device in evaluation
            mode, and returns to its previous mode afterwards.
        kg (KnowledgeGraph): The graph, or a :pyg:`PyG` data object or
            dataset that :meth:`~pyg_mmkgc.data.KnowledgeGraph.from_pyg`
            reads.
        split (str, optional): :obj:`"train"`, :obj:`"val"` or
            :obj:`"test"`. (default: :obj:`"test"`)
        batch_size (int, optional): The number of queries that are scored at
            once. It is halved when memory runs out. (default: :obj:`None`, as
            many as fit into a block of fixed size)
        ties (str, optional): The treatment of equal scores in the headline
            metrics: :obj:`"realistic"` (the mean rank over all orders of
            equal scores), :obj:`"optimistic"` or :obj:`"pessimistic"`. All
            three are reported. (default: :obj:`"realistic"`)
        filtered (bool, optional): If set to :obj:`False`, known triples stay
            among the candidates. (default: :obj:`True`)
        sides (list[str], optional): The sides of a triple whose node is
            replaced. (default: :obj:`("head", "tail")`)

    Returns:
        The ranks, metrics and slices, and the protocol under which they were
        computed. Printing the result shows a table.

    Raises:
        ConfigError: If :obj:`ties` or :obj:`sides` is unknown.
        DataError: If the split is missing or empty.
        ModelError: If the model does not fit the graph, or if
            :obj:`batch_size` is out of range.
        NonFiniteError: If a score is NaN or infinite.
        OutOfMemoryError: If not even one query fits into memory.
    """
    asked = _check_options(sides, ties, batch_size)
    kg = as_graph(kg)
    model = model_for(model, kg)
    triples = kg.split(split)
    # Queries and known answers are found on the host: a device only scores
    # and counts.
    head, tail = triples.edge_index.cpu()
    rel = triples.edge_type.cpu()
    index = known_index(kg).to('cpu') if filtered else None

    parts, num_queries = [], 0
    with scoring(model, kg) as scorer:
        for side in asked:
            given, target = (tail, head) if side == 'head' else (head, tail)
            ranks, count = SideRanking(
                scorer, given, rel, target, side, index,
                batch_size or scorer.batch_size).rank()
            parts.append(ranks)
            num_queries += count
    ranks = Ranks(*(torch.cat(part).cpu()
                    for part in zip(*parts, strict=True)))

    copies = len(asked)
    result = RankingResult(
        ranks=ranks,
        head_index=head.repeat(copies),
        rel_type=rel.repeat(copies),
        tail_index=tail.repeat(copies),
        groups=_groups(kg, triples, asked),
        protocol={
            'split': split,
            'filter': _filter_name(kg) if filtered else 'none',
            'ties': ties,
            'sides': asked,
            'num_triples': rel.numel(),
            'num_rankings': rel.numel() * copies,
            'num_queries': num_queries,
            'num_nodes': kg.num_nodes,
            'mean_candidates': float(ranks.num_candidates.double().mean()),
        },
    )
    _warn_of_ties(ranks)
    return result


def as_graph(kg: Any) -> KnowledgeGraph:
    r"""Converts a data object or dataset of :pyg:`PyG` to a
    :class:`~pyg_mmkgc.data.KnowledgeGraph`.
    """
    kg = KnowledgeGraph.from_pyg(kg)
    if 'n_id' in kg:  # A model does not know the local ids of a batch.
        raise DataError("Expected a whole graph (got a sampled batch with "
                        "'n_id')")
    return kg


def known_index(kg: KnowledgeGraph) -> TripleIndex:
    r"""Returns the index of all triples that are known to be true."""
    return TripleIndex(*kg.known_triples(), num_nodes=kg.num_nodes,
                       num_relations=kg.num_relations)


def _check_options(sides: Sequence[str], ties: str,
                   batch_size: int | None) -> list[Side]:
    sides = [sides] if isinstance(sides, str) else sides
    if not isinstance(sides, Collection) or len(sides) == 0 or any(
            side not in SIDES for side in sides):
        raise ConfigError(f"Expected 'sides' to hold 'head', 'tail' or both "
                          f'(got {sides!r})')
    if ties not in ('realistic', 'optimistic', 'pessimistic'):
        raise ConfigError(f"Expected 'ties' to be 'realistic', 'optimistic' "
                          f"or 'pessimistic' (got '{ties}')")
    check_whole(optional=True, batch_size=batch_size)
    return [side for side in SIDES if side in sides]


def _filter_name(kg: KnowledgeGraph) -> str:
    names = list(kg.splits())
    return '+'.join(names + ['filter'] * ('filter_edge_index' in kg))


def _groups(
    kg: KnowledgeGraph,
    triples: KnowledgeGraph,
    sides: Sequence[str],
) -> dict[str, tuple[list[str], Tensor]]:
    (head, tail), rel = triples.edge_index.cpu(), triples.edge_type.cpu()
    train = kg.splits().get('train')
    seen = torch.zeros(kg.num_nodes, dtype=torch.bool)
    category = ['unseen'] * kg.num_relations
    if train is not None:
        seen[train.edge_index.cpu().reshape(-1)] = True
        category = relation_categories(train.edge_index, train.edge_type,
                                       kg.num_relations)
    categories = ['1-1', '1-N', 'N-1', 'N-N', 'unseen']
    kind = torch.tensor([categories.index(name) for name in category])[rel]

    side = torch.arange(len(sides)).repeat_interleave(rel.numel())
    copies = len(sides)
    names = [str(name) for name in kg.get('relation_names') or
             range(kg.num_relations)]
    return {
        'side': ([*sides], side),
        'entities': (['seen', 'unseen'],
                     (~(seen[head] & seen[tail])).long().repeat(copies)),
        'category': (categories, kind.repeat(copies)),
        'category_side': (
            [f'{name} {side}' for name in categories for side in sides],
            kind.repeat(copies) * copies + side),
        'relation': (names, rel.repeat(copies)),
    }


def _warn_of_ties(ranks: Ranks) -> None:
    best = mean_reciprocal_rank(ranks.by_ties('optimistic'))
    worst = mean_reciprocal_rank(ranks.by_ties('pessimistic'))
    if best - worst > 1e-3:
        warnings.warn(
            f'Many candidates share the score of the target: MRR is '
            f'{best:.4f} if it comes first among them and {worst:.4f} if it '
            f'comes last. Report the realistic MRR.', TieWarning,
            stacklevel=3)
