r"""The most important paths of a prediction."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

import torch
from torch import Tensor

from pyg_mmkgc.errors import ModelError, check_side, check_whole
from pyg_mmkgc.kernels.backend import BLOCK
from pyg_mmkgc.kernels.relational import RelationalGraph, edge_messages
from pyg_mmkgc.nn.path.base import PathModel, add_start, check_ids
from pyg_mmkgc.nn.path.score import node_scores


@dataclass(frozen=True)
class Path:
    r"""A path from the node of a query to its answer.

    Args:
        score (float): The importance, see :func:`best_paths`.
        nodes (list[int]): The nodes, including both ends.
        relations (list[int]): The relation of each step.
        forward (list[bool]): :obj:`True` for steps from head to tail, and
            :obj:`False` for steps from tail to head.
    """
    score: float
    nodes: list[int]
    relations: list[int]
    forward: list[bool]

    def text(self, node_names: Optional[Sequence[str]] = None,
             relation_names: Optional[Sequence[str]] = None) -> str:
        r"""Returns the path with labels, or with ids if there are no labels,
        such as :obj:`Alice -worksFor-> X <-ownerOf- Bob`.
        """
        def name(names: Optional[Sequence[str]], i: int) -> str:
            return str(i) if names is None else names[i]

        out = name(node_names, self.nodes[0])
        for node, rel, forward in zip(self.nodes[1:], self.relations,
                                      self.forward, strict=True):
            label = name(relation_names, rel)
            arrow = f'-{label}->' if forward else f'<-{label}-'
            out += f' {arrow} {name(node_names, node)}'
        return out


def best_paths(model: PathModel, node: int, rel_type: int, answer: int,
               side: str = 'tail', k: int = 5,
               num_beams: int = 10) -> list[Path]:
    r"""Returns the paths that affect a score most, as in section 4.5 of the
    `"Neural Bellman-Ford Networks" <https://arxiv.org/abs/2106.06935>`_ paper.

    The importance of a path is the mean gradient of the score with respect to
    the weights of its edges, each in the layer of its step. A beam search
    keeps the best partial paths at every node. As in training, the triple
    itself is not an edge.

    Args:
        model (PathModel): A model that is attached to a graph.
        node (int): The node of the query, where paths begin.
        rel_type (int): The relation of the query.
        answer (int): The node on the other side, where paths end.
        side (str, optional): The side of the answer, :obj:`"tail"` or
            :obj:`"head"`. (default: :obj:`"tail"`)
        k (int, optional): The number of paths. (default: :obj:`5`)
        num_beams (int, optional): The number of partial paths to keep at each
            node. (default: :obj:`10`)

    Returns:
        At most :obj:`k` paths, best first, with at most as many edges as the
        model has layers.

    Raises:
        IndexError: If a node or the relation is not in the graph.
        ModelError: If the model has :obj:`num_active` set, since only some
            nodes then pass messages on, or an argument is out of range.
    """
    check_whole(k=k, num_beams=num_beams)
    check_side(side)
    check_ids(torch.tensor([node, answer]), model.graph.num_nodes, 'a node')
    check_ids(torch.tensor([rel_type]), model.graph.num_relations // 2,
              'a relation')
    if getattr(model, 'num_active', None) is not None:
        raise ModelError('Expected a model whose messages go along all edges '
                         f'(got num_active={model.num_active})')
    graph = _without(model.graph, node, rel_type, answer, side)
    R = graph.num_relations // 2
    weight = edge_gradients(model, graph, node,
                            rel_type + (R if side == 'head' else 0), answer)
    found = {path: score for score, path in
             _search(graph, weight, node, answer, num_beams)}
    best = sorted(found, key=lambda path: -found[path])[:k]
    return [_path(graph, node, edges, found[edges]) for edges in best]


def edge_gradients(model: PathModel, graph: RelationalGraph, node: int,
                   rel_type: int, answer: int) -> Tensor:
    r"""Returns the gradients :obj:`[L, E]` of a score with respect to a weight
    of one for each message in each layer.

    Args:
        model (PathModel): The model.
        graph (RelationalGraph): The edges.
        node (int): The node of the query.
        rel_type (int): The relation, below :obj:`2 * num_relations`.
        answer (int): The node whose score is differentiated.
    """
    device = graph.device
    index = torch.tensor([node], device=device)
    inputs, messages = [], []
    with torch.enable_grad():
        start, weights = model.condition(torch.tensor([rel_type],
                                                      device=device))
        start = start.detach().requires_grad_()
        others = model.feature_rows(model.feature_tables(), start)
        if others is None:
            others = start.new_zeros(1, graph.num_nodes, start.size(1))
        x = add_start(others, index, start)
        for layer, weight in zip(model.layers, weights, strict=True):
            inputs.append(x.detach())
            message = layer.aggregate(x, weight, graph, index, start)
            messages.append(message)
            x = layer.update(x, message)
        score = node_scores(model.mlp, x, start)[0, answer]
        grads = torch.autograd.grad(score, messages)
    out = start.new_zeros(len(grads), graph.num_edges).detach()
    step = max(1, BLOCK // start.size(1))
    for i, (layer, x, weight, message, grad) in enumerate(zip(
            model.layers, inputs, weights, messages, grads, strict=True)):
        if layer.reduce == 'mean':  # The mean of the edges and x0.
            grad = grad / (graph.degree + 1).view(-1, 1)
        for first in range(0, graph.num_edges, step):
            part = slice(first, first + step)
            target = graph.target[part]
            rows = edge_messages(x, weight.detach(), graph.source[part],
                                 graph.edge_type[part], layer.message)[:, 0]
            share = grad[0, target] * rows
            if layer.reduce == 'max':
                share = share * (rows == message.detach()[0, target])
            out[i, part] = share.sum(dim=-1)
    return out


def _without(graph: RelationalGraph, node: int, rel_type: int, answer: int,
             side: str) -> RelationalGraph:
    R = graph.num_relations // 2
    head, tail = (node, answer) if side == 'tail' else (answer, node)
    drop = torch.zeros(graph.num_edges, dtype=torch.bool,
                       device=graph.device)
    for source, kind, target in ((tail, rel_type, head),
                                 (head, rel_type + R, tail)):
        drop |= ((graph.source == source) & (graph.edge_type == kind)
                 & (graph.target == target))
    return graph.without(drop)


def _search(graph: RelationalGraph, weight: Tensor, node: int, answer: int,
            num_beams: int) -> list[tuple[float, tuple[int, ...]]]:
    r"""Returns the scores and the edges of the paths to the answer."""
    N, K = graph.num_nodes, num_beams
    best = weight.new_full((N, K), float('-inf'))
    best[node, 0] = 0.0
    found: list[tuple[float, tuple[int, ...]]] = []
    steps: list[tuple[Tensor, Tensor]] = []
    for length, gain in enumerate(weight, start=1):
        score = best[graph.source] + gain.view(-1, 1)
        edge, beam = (score > float('-inf')).nonzero().t()
        score = score[edge, beam]
        order = score.argsort(descending=True, stable=True)
        order = order[graph.target[edge[order]].argsort(stable=True)]
        edge, beam, score = edge[order], beam[order], score[order]
        target = graph.target[edge]
        place = torch.arange(target.numel(), device=target.device) - (
            torch.searchsorted(target, target))
        keep = place < K
        row = target[keep], place[keep]
        best = torch.full_like(best, float('-inf'))
        back = best.new_zeros(N, K, dtype=torch.long), best.new_zeros(
            N, K, dtype=torch.long)
        best[row], back[0][row], back[1][row] = (score[keep], edge[keep],
                                                 beam[keep])
        steps.append(back)
        for i, value in enumerate(best[answer].tolist()):
            if value > float('-inf'):
                found.append((value / length,
                              _trace(graph, steps, answer, i)))
    return found


def _trace(graph: RelationalGraph, steps: list[tuple[Tensor, Tensor]],
           node: int, beam: int) -> tuple[int, ...]:
    edges = []
    for edge_of, beam_of in reversed(steps):
        edge, beam = int(edge_of[node, beam]), int(beam_of[node, beam])
        edges.append(edge)
        node = int(graph.source[edge])
    return tuple(reversed(edges))


def _path(graph: RelationalGraph, node: int, edges: tuple[int, ...],
          score: float) -> Path:
    R, index = graph.num_relations // 2, list(edges)
    kinds = graph.edge_type[index].tolist()
    # A triple passes messages from its tail to its head, which is backwards.
    return Path(score, [node, *graph.target[index].tolist()],
                [kind % R for kind in kinds], [kind >= R for kind in kinds])
