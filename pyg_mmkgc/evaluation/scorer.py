r"""How all nodes are scored for a query, by what a model can do."""

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
from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.evaluation.modes import evaluation_mode, full_precision
from pyg_mmkgc.io.pretrained import check_numbering
from pyg_mmkgc.kernels.backend import BLOCK
from pyg_mmkgc.kernels.dense import TILE
from pyg_mmkgc.nn.kge.pyg import triple_model
from pyg_mmkgc.typing import Side

# The most nodes that are scored together, hence the most rows of a table that
# are made.
NODES = 1 << 15
# The nodes of such a block are encoded this many at a time, no more and no
# less: the rows of a matrix product round by their number.
CHUNK = 1 << 12

# (node [Q], rel_type [Q], side, table [T, *]) -> scores [Q, T] of all rows of
# the table, on that side; the nodes are rows of it.
Score = Callable[[Tensor, Tensor, Side, Tensor], Tensor]
# Nodes [*] -> what they are scored by, [*, *].
Rows = Callable[[Tensor], Tensor]


class Scorer:
    r"""Scores queries against all nodes, block by block.

    Where the nodes fit into one block, its table is made once. Otherwise,
    that of a block is made when it is asked for, and the rows of the nodes
    that the queries are about are appended to it.

    Args:
        score (callable): Maps rows of a table, relations and the side to
            predict to the scores of all rows of the table.
        num_nodes (int): The number of nodes.
        device (torch.device): Where the scores are.
        rows (callable, optional): Maps nodes to rows of a table; without, all
            nodes are one block.
        table (callable, optional): Makes the table of all nodes.
            (default: :obj:`rows` of all)
    """
    def __init__(self, score: Score, num_nodes: int, device: torch.device,
                 rows: Rows | None = None,
                 table: Callable[[], Tensor] | None = None) -> None:
        self.score, self.rows, self.num_nodes = score, rows, num_nodes
        step = num_nodes if rows is None else min(NODES, num_nodes)
        #: The first node of each block, and the one after its last.
        self.blocks = [(i, min(i + step, num_nodes))
                       for i in range(0, num_nodes, step)]
        #: The most queries to :meth:`ask`, and how many fill a block of
        #: scores.
        self.max_queries = NODES
        self.batch_size = _batch_size(step, device)
        self.table: Tensor | None = None
        if len(self.blocks) == 1:
            self.table = (table() if table is not None else
                          self.encode(torch.arange(num_nodes, device=device)))

    def ask(self, node: Tensor, rel_type: Tensor, side: Side) -> Queries:
        r"""Readies queries :obj:`[Q]`."""
        given = None if self.table is not None else self.encode(node)
        return Queries(self, node, rel_type, side, given)

    def __call__(self, node: Tensor, rel_type: Tensor, side: Side) -> Tensor:
        r"""The scores :obj:`[Q, N]` of all nodes on one side of queries
        :obj:`[Q]`.
        """
        queries = self.ask(node, rel_type, side)
        every = torch.arange(node.numel(), device=node.device)
        return torch.cat([queries.against(block, node.numel())(every)
                          for block in self.blocks], dim=1)

    def encode(self, node: Tensor, spare: int = 0) -> Tensor:
        r"""The rows of nodes :obj:`[T]`, and some more that are not set."""
        assert self.rows is not None
        out = None
        for i in range(0, node.numel(), CHUNK):
            part = node[i:i + CHUNK]
            more = part[-1:].expand(CHUNK - part.numel())
            rows = self.rows(torch.cat([part, more]))
            if out is None:
                out = rows.new_empty(node.numel() + spare, *rows.shape[1:])
            out[i:i + part.numel()] = rows[:part.numel()]
        assert out is not None
        return out


@dataclass(frozen=True)
class Queries:
    r"""What :meth:`Scorer.ask` gives."""
    scorer: Scorer
    node: Tensor
    rel_type: Tensor
    side: Side
    given: Tensor | None  # The rows of the nodes, where no table has them.

    def against(self, block: tuple[int, int],
                batch_size: int) -> Callable[[Tensor], Tensor]:
        r"""Maps the places of some queries, at most :obj:`batch_size`, to
        their scores :obj:`[*, stop - start]` of the nodes of a block.
        """
        table, size = self.scorer.table, block[1] - block[0]
        if table is None:
            table = self.scorer.encode(
                torch.arange(*block, device=self.node.device), batch_size)

        def score(place: Tensor) -> Tensor:
            node, rows = self.node[place], table
            if self.given is not None:
                node = torch.arange(size, size + place.numel(),
                                    device=place.device)
                rows = table[:size + place.numel()]
                rows[size:] = self.given[place]
            out = self.scorer.score(node, self.rel_type[place], self.side,
                                    rows)
            return out[:, :size].to(torch.float32)

        return score


@contextmanager
def scoring(model: Module, kg: KnowledgeGraph) -> Iterator[Scorer]:
    r"""Readies a model to score all nodes of a graph.

    Inside, the model is in evaluation mode, without gradients and in full
    single precision: TF32, bfloat16 and autocast move near-equal scores past
    each other, which a rank sees. All of it is put back at the end, by the
    last of several threads.

    It takes the first that fits of

    * :obj:`score_all()`, as :class:`~pyg_mmkgc.nn.path.PathModel` has it,
      which meanwhile passes its messages through the training triples of the
      graph,
    * :obj:`encode()`, :obj:`score_tails()` and :obj:`score_heads()`, as
      :class:`~pyg_mmkgc.nn.kge.MMKGEModel` has them. Many nodes are encoded
      and scored in blocks, where :obj:`encode()` takes an :obj:`index`: then
      these two must look up nodes in the table only, which is given rows of
      some nodes and counts from zero,
    * a query and a key, for :pyg:`PyG`'s models whose :meth:`forward` is the
      one that :pyg:`PyG` wrote,
    * :meth:`forward` over blocks of all pairs, for any other model.
    """
    device_of(model)  # Checks that it is a model.
    with ExitStack() as stack:
        attached: Any = getattr(model, 'attached', None)
        if attached is not None:
            stack.enter_context(attached(kg))
        _check_sizes(model, kg)
        stack.enter_context(evaluation_mode(model))
        stack.enter_context(torch.no_grad())
        stack.enter_context(full_precision())
        stack.enter_context(
            torch.autocast(device_of(model).type, enabled=False))
        yield _make_scorer(model, kg.num_nodes)


def device_of(model: Module) -> torch.device:
    r"""The device of a model's parameters, or of its buffers."""
    if not isinstance(model, Module):
        raise ModelError(f"Expected a 'torch.nn.Module' as model (got "
                         f"'{type(model).__name__}')")
    for tensors in (model.parameters(), model.buffers()):
        for tensor in tensors:
            return tensor.device
    return torch.device('cpu')


def _check_sizes(model: Module, kg: KnowledgeGraph) -> None:
    num_nodes = getattr(model, 'num_nodes', kg.num_nodes)
    if num_nodes != kg.num_nodes:
        raise ModelError(f"'{type(model).__name__}' has {num_nodes} nodes, "
                         f'but the graph has {kg.num_nodes}')
    # More is fine: a model may have an inverse of every relation.
    num_relations = getattr(model, 'num_relations', kg.num_relations)
    if num_relations < kg.num_relations:
        raise ModelError(f"'{type(model).__name__}' has {num_relations} "
                         f'relations, but the graph has {kg.num_relations}')
    check_numbering(model, kg)


def _make_scorer(model: Any, num_nodes: int) -> Scorer:
    device = device_of(model)
    if callable(getattr(model, 'score_all', None)):
        # A table of no channels: the model knows the nodes.
        return Scorer(_whole(model), num_nodes, device,
                      table=lambda: torch.empty(num_nodes, 0, device=device))
    if all(
            callable(getattr(model, name, None))
            for name in ('encode', 'score_tails', 'score_heads')):
        some = 'index' in inspect.signature(model.encode).parameters
        return Scorer(_encoded(model), num_nodes, device,
                      model.encode if some else None, model.encode)
    form = triple_model(model)
    if form is not None:
        return Scorer(_encoded(form), num_nodes, device, form.encode)
    # Nodes are what a `forward` takes.
    return Scorer(_pairwise(model), num_nodes, device, lambda node: node)


def _batch_size(num_nodes: int, device: torch.device) -> int:
    if device.type != 'cpu':
        return max(1, BLOCK // num_nodes)
    # Scores that stay in cache until they are counted, of whole tiles.
    return max(1, BLOCK // 4 // num_nodes // TILE[0]) * TILE[0]


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
    # The largest tensor of a `forward` is taken to be four times [P, C].
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
                f"Expected one score a triple from 'forward' of "
                f"'{type(model).__name__}' (got {scores.numel()} for "
                f'{num_pairs})')
        return scores.view(-1, size)

    return score
