r"""Scores of all nodes for a query, in the fastest way a model supports."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.distributed.group import sum_over_ranks, world_size
from pyg_mmkgc.distributed.table import candidates, positions, sharded_tables
from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.evaluation.modes import evaluation_mode, full_precision
from pyg_mmkgc.io.pretrained import check_numbering
from pyg_mmkgc.kernels.backend import BLOCK
from pyg_mmkgc.kernels.dense import TILE
from pyg_mmkgc.kernels.host import on_host, to_device
from pyg_mmkgc.nn.kge.base import check_extension
from pyg_mmkgc.nn.kge.pyg import triple_model
from pyg_mmkgc.typing import Side

# The maximum number of nodes to score at once, which limits the rows of a
# table.
NODES = 1 << 15
# The nodes of a block are always encoded in chunks of this size, since the
# rounding of a matrix product depends on its number of rows.
CHUNK = 1 << 12

# (node [Q], rel_type [Q], side, table [T, *]) -> scores [Q, T] of all rows of
# the table on that side. The nodes are positions in the table.
Score = Callable[[Tensor, Tensor, Side, Tensor], Tensor]
# Nodes [*] -> their rows of a table, [*, *].
Rows = Callable[[Tensor], Tensor]


class Scorer:
    r"""Scores queries against all nodes, block by block.

    If all nodes fit into one block, its table is computed once. Otherwise,
    the table of a block is computed on demand, and the rows of the known
    nodes of the queries are appended to it.

    Args:
        score (callable): Maps rows of a table, relations and the side to
            predict to the scores of all rows of the table.
        num_nodes (int): The number of nodes.
        device (torch.device): The device of the scores.
        rows (callable, optional): Maps nodes to rows of a table.
            (default: :obj:`None`, all nodes form one block)
        table (callable, optional): Computes the table of all nodes.
            (default: :obj:`rows` of all nodes)
        nodes (torch.Tensor, optional): The sorted nodes that this process
            scores, if others score the other nodes. It needs :obj:`rows`.
            (default: :obj:`None`, all nodes)
    """
    def __init__(self, score: Score, num_nodes: int, device: torch.device,
                 rows: Rows | None = None,
                 table: Callable[[], Tensor] | None = None,
                 nodes: Tensor | None = None) -> None:
        self.score, self.rows, self.num_nodes = score, rows, num_nodes
        self.device, self.nodes = device, nodes
        # All processes encode equally many blocks of equal sizes, since they
        # may look up each other's rows.
        own = num_nodes if nodes is None else -(-num_nodes // world_size())
        last = num_nodes if nodes is None else nodes.numel()
        step = own if rows is None else min(NODES, own)
        #: The position of the first node of each block, and of the first node
        #: after it.
        self.blocks = [(min(i, last), min(i + step, last))
                       for i in range(0, own, step)]
        self._padded = min(step, own)
        #: The maximum number of queries for :meth:`ask`, and the number of
        #: queries that fill a block of scores.
        self.max_queries = NODES
        self.batch_size = _batch_size(step, device)
        self.table: Tensor | None = None
        if len(self.blocks) == 1 and nodes is None:
            self.table = (table() if table is not None else
                          self.encode(torch.arange(num_nodes)))

    def ask(self, node: Tensor, rel_type: Tensor, side: Side) -> Queries:
        r"""Prepares queries :obj:`[Q]`."""
        node, rel_type = on_host(node), on_host(rel_type)
        given = None if self.table is not None else self.encode(node)
        return Queries(self, node, rel_type, side, given)

    def __call__(self, node: Tensor, rel_type: Tensor, side: Side) -> Tensor:
        r"""Returns the scores :obj:`[Q, N]` of all nodes on one side of
        queries :obj:`[Q]`.
        """
        queries = self.ask(node, rel_type, side)
        every = torch.arange(node.numel())
        scores = torch.cat([queries.against(block, node.numel())(every)
                            for block in self.blocks], dim=1)
        if self.nodes is None:
            return scores
        out = scores.new_zeros(node.numel(), self.num_nodes)
        out[:, to_device(self.nodes, self.device)] = scores
        return sum_over_ranks(out)

    def members(self, block: tuple[int, int]) -> Tensor:
        r"""Returns the nodes of a block, possibly followed by others."""
        assert self.nodes is not None
        nodes = self.nodes[block[0]:block[1]]
        return torch.cat([nodes, nodes.new_zeros(
            self._padded - nodes.numel())])

    def place(self, node: Tensor) -> Tensor:
        r"""Returns the positions of nodes :obj:`[*]`, which are on the host,
        among the nodes of all blocks, or -1 where another process scores
        them.
        """
        return node if self.nodes is None else positions(self.nodes, node)

    def node(self, place: Tensor) -> Tensor:
        r"""Returns the nodes at positions :obj:`[*]`."""
        return (place if self.nodes is None else
                to_device(self.nodes, place.device)[place])

    def encode(self, node: Tensor, spare: int = 0) -> Tensor:
        r"""Returns the rows of nodes :obj:`[T]`, followed by :obj:`spare`
        uninitialized rows.
        """
        assert self.rows is not None
        node, out = on_host(node), None
        for i in range(0, node.numel(), CHUNK):
            part = node[i:i + CHUNK]
            more = part[-1:].expand(CHUNK - part.numel())
            rows = self.rows(to_device(torch.cat([part, more]), self.device))
            if out is None:
                out = rows.new_empty(node.numel() + spare, *rows.shape[1:])
            out[i:i + part.numel()] = rows[:part.numel()]
        assert out is not None
        return out


@dataclass(frozen=True)
class Queries:
    r"""Queries prepared by :meth:`Scorer.ask`, whose nodes and relations are
    on the host.
    """
    scorer: Scorer
    node: Tensor
    rel_type: Tensor
    side: Side
    given: Tensor | None  # The rows of the nodes, unless a table has them.

    def against(self, block: tuple[int, int],
                batch_size: int) -> Callable[[Tensor], Tensor]:
        r"""Returns a function that maps the positions (on the host) of up to
        :obj:`batch_size` queries to their scores :obj:`[*, stop - start]`
        for the nodes of a block.
        """
        table, size = self.scorer.table, block[1] - block[0]
        device = self.scorer.device
        if table is None:
            table = self.scorer.encode(
                torch.arange(*block) if self.scorer.nodes is None else
                self.scorer.members(block), batch_size)
        last = table.size(0) - batch_size  # Rows of the block.

        def score(place: Tensor) -> Tensor:
            node, rows = self.node[place], table
            if self.given is not None:
                node = torch.arange(last, last + place.numel())
                rows = table[:last + place.numel()]
                rows[last:] = self.given[to_device(place, device)]
            out = self.scorer.score(
                to_device(node, device),
                to_device(self.rel_type[place], device), self.side, rows)
            return out[:, :size].to(torch.float32)

        return score


def model_for(model: Module, kg: KnowledgeGraph) -> Module:
    r"""Returns the model for a graph: the model itself, a model that is
    attached to the graph, or an extended model if nodes were added to it.

    Raises:
        ModelError: If the graph has additional nodes that the model cannot
            represent.
    """
    attached: Any = getattr(model, 'attached', None)
    if attached is not None:
        other: Module = attached(kg)
        return other
    size = getattr(model, 'num_nodes', None)
    if size is None or kg.num_nodes <= size:
        return model
    check_extension(model, kg)
    extended: Module = model.extend(kg)  # type: ignore[operator]
    return extended


@contextmanager
def scoring(model: Module, kg: KnowledgeGraph) -> Iterator[Scorer]:
    r"""Context manager that prepares a model to score all nodes of a graph.

    Inside the context, the model is in evaluation mode, without gradients and
    in full single precision, since TF32, bfloat16 and autocast can swap nearly
    equal scores, which changes ranks. Everything is restored at the end, by
    the last of several threads.

    Scores come from the first of these options that the model supports:

    * :obj:`members` and :obj:`combine()`, as in
      :class:`~pyg_mmkgc.nn.Ensemble`, whose members are scored by any of
      these options.
    * :obj:`score_all()`, as in :class:`~pyg_mmkgc.nn.path.PathModel`, which
      then passes its messages through the training triples of the graph.
    * :obj:`encode()`, :obj:`score_tails()` and :obj:`score_heads()`, as in
      :class:`~pyg_mmkgc.nn.kge.MMKGEModel`. If :obj:`encode()` takes an
      :obj:`index`, many nodes are encoded and scored in blocks. The two
      score methods must then look up nodes in their table only: it holds
      the rows of some nodes, and positions in it start at zero.
    * A query and a key, for the models of :pyg:`PyG` whose :meth:`forward`
      is not overridden.
    * :meth:`forward` over blocks of all pairs, for any other model.
    """
    device_of(model)  # Checks that it is a model.
    if hasattr(model, 'attached'):
        model = model_for(model, kg)
    with ExitStack() as stack:
        _check_sizes(model, kg)
        stack.enter_context(evaluation_mode(model))
        stack.enter_context(torch.no_grad())
        stack.enter_context(full_precision())
        stack.enter_context(
            torch.autocast(device_of(model).type, enabled=False))
        yield _make_scorer(model, kg)


def device_of(model: Module) -> torch.device:
    r"""Returns the device of a model's parameters or buffers."""
    if not isinstance(model, Module):
        raise ModelError(f"Expected 'model' to be a 'torch.nn.Module' (got "
                         f"'{type(model).__name__}')")
    for tensors in (model.parameters(), model.buffers()):
        for tensor in tensors:
            return tensor.device
    return torch.device('cpu')


def _check_sizes(model: Module, kg: KnowledgeGraph) -> None:
    members = hasattr(model, 'members')  # Whose nodes are checked later.
    num_nodes = getattr(model, 'num_nodes', kg.num_nodes)
    if num_nodes != kg.num_nodes and not members:
        raise ModelError(f"Expected '{type(model).__name__}' to have the "
                         f'{kg.num_nodes} nodes of the graph (got '
                         f'{num_nodes})')
    # A model may have more, such as an inverse of every relation.
    num_relations = getattr(model, 'num_relations', kg.num_relations)
    if num_relations < kg.num_relations:
        raise ModelError(f"Expected '{type(model).__name__}' to have the "
                         f'{kg.num_relations} relations of the graph (got '
                         f'{num_relations})')
    if not members:
        check_numbering(model, kg)


def member_scorers(model: Any, kg: KnowledgeGraph) -> list[Scorer]:
    r"""Returns the scorer of each member of an ensemble, inside
    :func:`scoring`.
    """
    out = []
    for member in model.members:
        member = model_for(member, kg)
        _check_sizes(member, kg)
        if sharded_tables(member):
            raise ModelError(
                'Expected members with all rows of their tables (got '
                f"'{type(member).__name__}', whose rows are distributed over "
                'processes). Save it by pyg_mmkgc.distributed.save_over_ranks '
                'and load it.')
        out.append(_make_scorer(member, kg, split=False))
    return out


def _make_scorer(model: Any, kg: KnowledgeGraph, split: bool = True) -> Scorer:
    # Several processes share the nodes, but share the queries of an ensemble.
    split = split and world_size() > 1
    device, num_nodes = device_of(model), kg.num_nodes
    if hasattr(model, 'members'):
        return Scorer(_combined(model, member_scorers(model, kg)), num_nodes,
                      device,
                      table=lambda: torch.empty(num_nodes, 0, device=device))
    if callable(getattr(model, 'score_all', None)):
        # The model knows the nodes, so the table has no channels.
        return Scorer(_whole(model), num_nodes, device,
                      table=lambda: torch.empty(num_nodes, 0, device=device))
    if all(
            callable(getattr(model, name, None))
            for name in ('encode', 'score_tails', 'score_heads')):
        some = 'index' in inspect.signature(model.encode).parameters
        return Scorer(_encoded(model), num_nodes, device,
                      model.encode if some else None, model.encode,
                      candidates(model, num_nodes) if split and some else None)
    form = triple_model(model)
    nodes = candidates(model, num_nodes) if split else None
    if form is not None:
        return Scorer(_encoded(form), num_nodes, device, form.encode,
                      nodes=nodes)
    # A `forward` takes nodes, so a node is its own row.
    return Scorer(_pairwise(model), num_nodes, device, lambda node: node,
                  nodes=nodes)


def _batch_size(num_nodes: int, device: torch.device) -> int:
    if device.type != 'cpu':
        return max(1, BLOCK // num_nodes)
    # Scores should stay in cache until they are counted, in whole tiles.
    return max(1, BLOCK // 4 // num_nodes // TILE[0]) * TILE[0]


def _combined(model: Any, scorers: list[Scorer]) -> Score:
    def score(node: Tensor, rel_type: Tensor, side: Side,
              table: Tensor) -> Tensor:
        return model.combine([scorer(node, rel_type, side)
                              for scorer in scorers], rel_type)

    return score


def _whole(model: Any) -> Score:
    def score(node: Tensor, rel_type: Tensor, side: str,
              table: Tensor) -> Tensor:
        return model.score_all(node, rel_type, side)

    return score


def _encoded(model: Any) -> Score:
    def score(node: Tensor, rel_type: Tensor, side: Side,
              table: Tensor) -> Tensor:
        scores = (model.score_tails(node, rel_type, table=table)
                  if side == 'tail' else
                  model.score_heads(rel_type, node, table=table))
        if scores.shape != (node.numel(), table.size(0)):
            raise ModelError(
                f'Expected scores of shape [{node.numel()}, {table.size(0)}] '
                f"for {side}s from '{type(model).__name__}' (got "
                f'{list(scores.shape)})')
        return scores

    return score


def _pairwise(model: Module) -> Score:
    # Assume that the largest tensor of a `forward` is four times [P, C].
    channels = max(1, int(getattr(model, 'hidden_channels', 256)))
    step = max(1, BLOCK // (4 * channels))

    def score(node: Tensor, rel_type: Tensor, side: Side,
              table: Tensor) -> Tensor:
        size = table.size(0)
        num_pairs, out = node.numel() * size, []
        for start in range(0, num_pairs, step):
            pair = torch.arange(start, min(start + step, num_pairs),
                                device=node.device)
            row = torch.div(pair, size, rounding_mode='floor')
            given, other = table[node[row]], table[pair % size]
            rel = rel_type[row]
            out.append(model(given, rel, other) if side == 'tail' else
                       model(other, rel, given))
        scores = torch.cat([part.reshape(-1) for part in out])
        if scores.numel() != num_pairs:
            raise ModelError(
                f"Expected one score per triple from 'forward' of "
                f"'{type(model).__name__}' (got {scores.numel()} scores for "
                f'{num_pairs} triples)')
        return scores.view(-1, size)

    return score
