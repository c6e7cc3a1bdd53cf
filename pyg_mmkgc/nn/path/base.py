from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import partial
from typing import Any, Optional, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from pyg_mmkgc.errors import ModelError, check_side, check_whole
from pyg_mmkgc.io.arguments import arguments_of
from pyg_mmkgc.io.pretrained import Pretrained
from pyg_mmkgc.kernels.host import on_host, to_device
from pyg_mmkgc.kernels.relational import RelationalGraph
from pyg_mmkgc.nn.encoder import check_name
from pyg_mmkgc.nn.loss import SelfAdversarialLoss
from pyg_mmkgc.nn.path.features import (
    FeatureGates,
    FeatureTables,
    NodeFeatures,
    read_features,
)
from pyg_mmkgc.nn.path.reach import near_queries, shared_scores
from pyg_mmkgc.nn.path.score import node_scores, row_by_row
from pyg_mmkgc.nn.share import draw, mine

T = TypeVar('T', bound='PathModel')
# The number of elements of stacked representations, which fit into the cache
# of a CPU or keep a GPU busy.
STACK = {'cpu': 1 << 18, 'cuda': 1 << 26}


class PathModel(Pretrained):
    r"""An abstract base class of models that score all nodes for a query by
    passing messages from the node of the query through the graph. They have no
    embeddings of nodes, so the same model applies to graphs with any number of
    nodes.

    The edges are the training triples of the graph that is passed to
    :meth:`attach`, and their reciprocals. A triple :obj:`(head, r, tail)`
    passes a message from the tail to the head with relation :obj:`r`, and from
    the head to the tail with relation :obj:`r + R`. Heads are predicted as the
    tails of :obj:`r + R`. The weights do not contain the edges, so a loaded
    model must be attached to a graph.
    :func:`~pyg_mmkgc.evaluation.evaluate`,
    :func:`~pyg_mmkgc.evaluation.predict` and
    :class:`~pyg_mmkgc.training.Trainer` attach it to their graph.

    A subclass provides :obj:`layers` of
    :class:`~pyg_mmkgc.nn.path.RelationalConv`, an :obj:`mlp` of two linear
    layers for :math:`[\mathbf{x}_v ; \mathbf{x}^{(0)}_h]`, and
    :meth:`condition`.

    With modalities, the features of nodes enter the input and the score
    through :class:`~pyg_mmkgc.nn.path.features.FeatureGates`, so nodes differ
    even if no path leads to them. The weights only depend on the numbers of
    channels, while the features and masks come from the graph that the model
    is attached to.

    Args:
        hidden_channels (int): The number of channels of nodes and relations.
        num_negatives (int, optional): The number of negatives of a query in
            :meth:`loss`. (default: :obj:`None`, all nodes)
        remove_one_hop (bool, optional): If set to :obj:`True`, training
            removes all edges between the two nodes of a triple instead of the
            triple only. (default: :obj:`False`)
        modalities (dict, optional): The number of channels of the features of
            each modality. (default: :obj:`None`, no features)
        structure_dropout (float, optional): The probability that training
            removes all edges of the node of a triple that has fewer edges, as
            if this node were new. Without this dropout, the features only
            learn to complement the paths. Requires modalities.
            (default: :obj:`0.0`)
    """
    num_nodes: Optional[int] = None
    num_relations: Optional[int] = None
    layers: Any
    mlp: Any
    #: If :obj:`True`, the model applies to graphs with other relations.
    any_relations = False
    #: If :obj:`True`, the model is only trained with its own loss.
    own_loss = True
    #: Whether processes compute the loss of their :class:`Share` of a batch.
    splits_loss = True

    def __init__(self, hidden_channels: int,
                 num_negatives: Optional[int] = None,
                 remove_one_hop: bool = False,
                 modalities: Optional[dict[str, int]] = None,
                 structure_dropout: float = 0.0) -> None:
        check_whole(hidden_channels=hidden_channels)
        super().__init__()
        self.hidden_channels = hidden_channels
        self.num_negatives, self.remove_one_hop = num_negatives, remove_one_hop
        self.structure_dropout = structure_dropout
        self.criterion = SelfAdversarialLoss()
        self._graph: Optional[RelationalGraph] = None
        self._features: Optional[NodeFeatures] = None
        self.modalities: dict[str, int] = {}
        self.features: Optional[FeatureGates] = None
        if modalities:
            self._add_modalities(modalities)
        self._check_loss()

    def _check_loss(self) -> None:
        r"""Checks the arguments of :meth:`loss`."""
        check_whole(optional=True, num_negatives=self.num_negatives)
        rate = self.structure_dropout
        if not isinstance(rate, (int, float)) or not 0.0 <= rate < 1.0 or (
                rate > 0 and not self.modalities):
            raise ModelError("Expected 'structure_dropout' to lie in [0, 1), "
                             'and to be 0 for a model without modalities (got '
                             f'{rate!r} and the modalities '
                             f'{list(self.modalities)})')

    def _add_modalities(self, modalities: dict[str, Any]) -> None:
        for name in modalities:
            check_name(name)
        check_whole(**{f'modalities.{name}': width
                       for name, width in modalities.items()})
        self.modalities = dict(modalities)
        self.features = FeatureGates(self.modalities, self.hidden_channels)

    def config(self) -> dict[str, Any]:
        out = super().config()
        return {**out, 'modalities': self.modalities} if self.modalities else (
            out)

    @classmethod
    def from_data(cls: type[T], data: Any, hidden_channels: int = 32,
                  **kwargs: Any) -> T:
        r"""Builds a model for a :class:`~pyg_mmkgc.data.KnowledgeGraph` with
        all modalities of the graph, and attaches it.

        Args:
            data (KnowledgeGraph): The graph.
            hidden_channels (int, optional): The number of channels of nodes
                and relations. (default: :obj:`32`)
            **kwargs (optional): Additional arguments of the model. Set
                :obj:`modalities={}` to leave out the features, while
                :obj:`None` stands for all modalities of the graph.

        Raises:
            ModelError: If :obj:`data` is not a knowledge graph.
        """
        if not hasattr(data, 'splits'):
            raise ModelError("Expected 'data' to be a KnowledgeGraph (got "
                             f'{type(data).__name__}). Use '
                             'KnowledgeGraph.from_pyg to convert data from '
                             'PyG.')
        if 'num_relations' in arguments_of(cls):
            kwargs.setdefault('num_relations', data.num_relations)
        if 'modalities' in arguments_of(cls) and (
                kwargs.get('modalities') is None):
            kwargs['modalities'] = widths_of(data)
        out = cls(hidden_channels=hidden_channels, **kwargs)
        if not out.any_relations:
            out.relation_names = data.get('relation_names')
        if out.modalities:
            out.feature_encoders = data.get('feature_encoders')
        return out.attach(data)

    # The graph ###############################################################

    def attach(self: T, data: Any) -> T:
        r"""Sets the training triples of a
        :class:`~pyg_mmkgc.data.KnowledgeGraph` as the edges, and takes its
        numbers of nodes and relations and its features.

        Raises:
            ModelError: If the graph has more relations than the model, or
                lacks features of the model.
        """
        train = data.split('train')
        features = (read_features(data, self.modalities).with_mean()
                    if self.modalities else None)
        if not self.any_relations and (self.num_relations or 0) < (
                data.num_relations):
            raise ModelError(
                f"Expected a graph for '{type(self).__name__}' with at most "
                f'{self.num_relations} relations (got {data.num_relations})')
        self.num_nodes = data.num_nodes
        if self.any_relations:
            self.num_relations = data.num_relations
        self._features = features
        self.prepare(train.edge_index, train.edge_type)
        return self

    def attached(self: T, data: Any) -> T:
        r"""Returns the model itself if it is attached to a graph, and
        otherwise a model with the same weights that is.
        """
        return self if self._is_attached(data) else copy.copy(self).attach(
            data)

    def _is_attached(self, data: Any) -> bool:
        if self._graph is None:
            return False
        relations = (data.num_relations if self.any_relations else
                     self.num_relations)
        train, device = data.split('train'), self._graph.device
        if self.modalities and not (
                self._features is not None and self._features.equal(
                    read_features(data, self.modalities))):
            return False
        half = self._graph.num_edges // 2  # Reciprocals come second.
        edges = torch.stack([self._graph.target, self._graph.source])
        return (
            (self.num_nodes, self.num_relations) == (data.num_nodes,
                                                     relations)
            and torch.equal(edges[:, :half], train.edge_index.to(device))
            and torch.equal(self._graph.edge_type[:half],
                            train.edge_type.to(device)))

    def prepare(self, edge_index: Tensor, edge_type: Tensor) -> None:
        r"""Sets triples :obj:`[2, E]` and :obj:`[E]` as the edges.

        Raises:
            ModelError: If the model is not attached to a graph.
        """
        if self.num_nodes is None or self.num_relations is None:
            raise ModelError(f"Expected '{type(self).__name__}' to be "
                             'attached to a graph (got no number of nodes). '
                             "Call 'attach' with the graph.")
        head, tail = edge_index
        # A triple passes a message from its tail to its head.
        self._graph = RelationalGraph(
            torch.cat([tail, head]),
            torch.cat([edge_type, edge_type + self.num_relations]),
            torch.cat([head, tail]), self.num_nodes, 2 * self.num_relations)

    @property
    def graph(self) -> RelationalGraph:
        r"""The edges that messages are passed along."""
        if self._graph is None:
            raise ModelError(f"Expected '{type(self).__name__}' to be "
                             "attached to a graph (got none). Call 'attach' "
                             'with the graph.')
        device = next(self.parameters()).device
        if self._graph.device != device:
            self._graph = self._graph.to(device)
        return self._graph

    # Scores ##################################################################

    def condition(self, rel_type: Tensor) -> tuple[Tensor, list[Tensor]]:
        r"""Returns the initial row :obj:`[Q, D]` of the node of each query and
        the weights :obj:`[Q, 2R, D]` of all relations in each layer, given the
        relations :obj:`[Q]` of the queries.
        """
        raise NotImplementedError

    def score_queries(self, graph: RelationalGraph, node: Tensor,
                      rel_type: Tensor) -> Tensor:
        r"""Returns the scores :obj:`[Q, N]` of all nodes as tails of queries
        :obj:`[Q]` with relations below :obj:`2 * num_relations`.
        """
        if node.numel() == 0:
            return next(self.parameters()).new_zeros(0, graph.num_nodes)
        device, kind = node.device, node.device.type
        # Only the products of rows of all nodes are in half precision.
        products = torch.autocast(kind, torch.get_autocast_dtype(kind),
                                  torch.is_autocast_enabled(kind))
        order: list[Tensor] = []
        scores = []
        with torch.autocast(kind, enabled=False):
            tables = self.feature_tables()
            node, rel_type = on_host(node), on_host(rel_type)
            parts = self.conditions(graph, rel_type, device)
            # A query's gradient of a table is as large as the table, so
            # products with tables are taken once for all queries of a training
            # step.
            chunks = ([list(parts)] if torch.is_grad_enabled() else
                      ([part] for part in parts))
            for chunk in chunks:
                query = torch.cat([query for query, *_ in chunk])
                starts = torch.cat([start for _, start, _ in chunk])
                rows = self.feature_rows(tables, starts)
                others = ([None] * len(chunk) if rows is None else
                          rows.split([start.size(0) for _, start, _ in chunk]))
                with products:
                    out = torch.cat([self.score_conditioned(
                        graph, to_device(node[part], device), start, weights,
                        row) for (part, start, weights), row in zip(
                            chunk, others, strict=True)])
                if tables is not None:
                    assert self.features is not None
                    count = torch.cat([
                        torch.full((start.size(0), ),
                                   part.numel() // start.size(0))
                        for part, start, _ in chunk])
                    out = out + self.features.scores(
                        tables, to_device(node[query], device), starts,
                        to_device(count, device))
                order.append(query)
                scores.append(out)
        out, place = torch.cat(scores), torch.cat(order)
        if bool((place[1:] > place[:-1]).all()):
            return out
        return out[to_device(place.argsort(), device)]

    def conditions(self, graph: RelationalGraph, rel_type: Tensor,
                   device: torch.device
                   ) -> Iterator[tuple[Tensor, Tensor, list[Tensor]]]:
        r"""Yields the positions of queries to score at once, with the results
        of :meth:`condition`, with either a row per query or one row for all of
        them.

        Args:
            graph (RelationalGraph): The edges.
            rel_type (torch.Tensor): The relations of all queries, :obj:`[Q]`,
                on the host.
            device (torch.device): The device of the results.
        """
        size = graph.num_nodes * self.hidden_channels
        # Queries with the same relation share what depends on it.
        if device.type == 'cpu' and (self.any_relations
                                     or stack_size(size, device) == 1):
            order = rel_type.argsort(stable=True)
            count = torch.bincount(rel_type, minlength=1)
            for query in order.split(count[count > 0].tolist()):
                yield query, *self.condition(rel_type[query[:1]])
            return
        for part in stacks(rel_type.numel(), size, device):
            yield torch.arange(rel_type.numel())[part], *self.condition(
                to_device(rel_type[part], device))

    def score_conditioned(self, graph: RelationalGraph, node: Tensor,
                          start: Tensor, weights: list[Tensor],
                          others: Optional[Tensor] = None) -> Tensor:
        r"""Returns the scores :obj:`[Q, N]` of all nodes by their messages for
        queries from nodes :obj:`[Q]`, given the results of :meth:`condition`
        and :meth:`feature_rows`, with either a row per query or one row for
        all of them.
        """
        layer, trains = self.layers[0], torch.is_grad_enabled()
        if (node.device.type != 'cpu' or start.size(0) > 1
                or layer.reduce != 'sum' or layer.message == 'sum'
                or (trains and node.numel() == 1)  # Nothing to share.
                # Many queries on a small graph are fast as they are.
                or stack_size(graph.num_nodes * self.hidden_channels,
                              node.device) > 1):
            return self._dense_scores(graph, node, start, weights, others)
        out: dict[int, Tensor] = {}
        for block in near_queries(graph, node, len(self.layers), trains):
            if len(block) > 1 or not trains:
                out.update(zip(block, shared_scores(
                    self.layers, self.mlp, weights, graph,
                    list(block.values()), start, others), strict=True))
        far = [q for q in range(node.numel()) if q not in out]
        if far:
            out.update(zip(far, self._dense_scores(
                graph, node[far], start, weights, others), strict=True))
        return torch.stack([out[q] for q in range(node.numel())])

    def _dense_scores(self, graph: RelationalGraph, node: Tensor,
                      start: Tensor, weights: list[Tensor],
                      others: Optional[Tensor]) -> Tensor:
        Q = node.numel()
        start, *weights = (x.expand(Q, *x.shape[1:])
                           for x in (start, *weights))
        if others is not None:
            others = others.expand(Q, *others.shape[1:])
        out = []
        for part in stacks(Q, graph.num_nodes * self.hidden_channels,
                           node.device):
            x = iterate(self.layers, [weight[part] for weight in weights],
                        graph, node[part], start[part],
                        None if others is None else others[part])
            out.append(node_scores(self.mlp, x, start[part]))
        return torch.cat(out)

    # Features ################################################################

    def feature_tables(self) -> Optional[FeatureTables]:
        r"""Returns the projected features of all nodes, or :obj:`None` if the
        model has no modalities.
        """
        if self.features is None:
            return None
        if self._features is None:
            raise ModelError(f"Expected '{type(self).__name__}' to be "
                             'attached to a graph with features (got none). '
                             "Call 'attach' with the graph.")
        device = self.features.gate.weight.device
        if next(iter(self._features.x.values())).device != device:
            self._features = self._features.to(device)
        return self.features.tables(self._features)

    def feature_rows(self, tables: Optional[FeatureTables],
                     start: Tensor) -> Optional[Tensor]:
        r"""Returns the part :obj:`[Q, N, D]` of the features in the input,
        given the initial rows :obj:`[Q, D]` of queries, or :obj:`None` if
        there is none.
        """
        if tables is None:
            return None
        assert self.features is not None
        # With closed gates, inference equals the model without features bit
        # for bit.
        if not torch.is_grad_enabled() and self.features.closed():
            return None
        return self.features.rows(tables, start)

    @torch.no_grad()
    def modality_gates(self, rel_type: Tensor,
                       side: str = 'tail') -> dict[str, Tensor]:
        r"""Returns the gates :obj:`[Q, 2]` of each modality in the input and
        in the score, :math:`\gamma` and :math:`\delta` in
        :class:`~pyg_mmkgc.nn.path.features.FeatureGates`, for queries with
        relations :obj:`[Q]`.

        Args:
            rel_type (torch.Tensor): The relations.
            side (str, optional): The side to predict. (default: :obj:`"tail"`)
        """
        check_side(side)
        if self.features is None:
            return {}
        if side == 'head':
            rel_type = rel_type + self.graph.num_relations // 2
        gates = self.features.gates(self.condition(rel_type)[0])
        return {name: torch.stack([gate[:, m] for gate in gates], dim=-1)
                for m, name in enumerate(self.modalities)}

    def modality_weights(self, index: Tensor,
                         rel_type: Tensor) -> Optional[dict[str, Tensor]]:
        r"""Returns the weights :obj:`[Q]` of each modality of nodes
        :obj:`[Q]` in the scores of queries with relations :obj:`[Q]`, or
        :obj:`None` if the model has no modalities. They are the absolute
        values of the gates :math:`\delta`, divided by their sum over the
        modalities of a node.
        """
        if self._features is None:
            return None
        gates = self.modality_gates(rel_type)
        weight = torch.stack([
            gates[name][:, 1].abs() * mask.to(index.device)[index]
            for name, mask in self._features.mask.items()])
        weight = weight / weight.sum(dim=0).clamp(
            min=torch.finfo(weight.dtype).tiny)
        return dict(zip(self.modalities, weight, strict=True))

    def without(self: T, name: str) -> T:
        r"""Returns a model with the same weights and graph for which all
        nodes share the same mean features of a modality.
        """
        if self._features is None or name not in self.modalities:
            raise ModelError('Expected one of the modalities '
                             f'{list(self.modalities)} of a model that is '
                             f'attached to a graph (got {name!r})')
        out = copy.copy(self)
        out._features = self._features.without(name)
        return out

    def score_all(self, node: Tensor, rel_type: Tensor,
                  side: str) -> Tensor:
        r"""Returns the scores :obj:`[Q, N]` of all nodes on one side of
        queries.

        Args:
            node (torch.Tensor): The nodes :obj:`[Q]` on the other side.
            rel_type (torch.Tensor): The relations :obj:`[Q]`.
            side (str): The side to score, either :obj:`"head"` or
                :obj:`"tail"`.

        Raises:
            IndexError: If a node or relation is not in the graph.
            ModelError: If :obj:`side` is unknown.
        """
        check_side(side)
        graph = self.graph
        check_ids(node, graph.num_nodes, 'a node')
        check_ids(rel_type, graph.num_relations // 2, 'a relation')
        if side == 'head':
            rel_type = to_device(on_host(rel_type) + graph.num_relations // 2,
                                 node.device)
        return self.score_queries(graph, node, rel_type)

    def score_tails(self, head_index: Tensor, rel_type: Tensor) -> Tensor:
        r"""Returns the scores :obj:`[Q, N]` of all nodes as tails."""
        return self.score_all(head_index, rel_type, 'tail')

    def score_heads(self, rel_type: Tensor, tail_index: Tensor) -> Tensor:
        r"""Returns the scores :obj:`[Q, N]` of all nodes as heads."""
        return self.score_all(tail_index, rel_type, 'head')

    def forward(self, head_index: Tensor, rel_type: Tensor,
                tail_index: Tensor) -> Tensor:
        r"""Returns the scores :obj:`[*]` of triples :obj:`[*]`, with each tail
        as the answer. All nodes are scored for each query.
        """
        graph = self.graph
        check_ids(tail_index, graph.num_nodes, 'a node')
        head, rel, tail = torch.broadcast_tensors(head_index, rel_type,
                                                  tail_index)
        query, place = torch.stack([
            on_host(head).reshape(-1), on_host(rel).reshape(-1)]).unique(
                dim=1, return_inverse=True)
        scores = self.score_all(to_device(query[0], tail.device),
                                to_device(query[1], tail.device), 'tail')
        place = to_device(place, tail.device)
        return scores[place, tail.reshape(-1)].view(tail.shape)

    # Training ################################################################

    def loss(self, head_index: Tensor, rel_type: Tensor,
             tail_index: Tensor) -> Tensor:
        r"""Returns the mean loss of the tails and heads of triples :obj:`[B]`,
        whose own edges are removed from the graph, and all edges of some of
        their nodes with :obj:`structure_dropout`. It is the cross-entropy over
        all nodes, or the self-adversarial loss against :obj:`num_negatives`
        random nodes. Both leave out other known answers of a query.
        """
        graph, device = self.graph.on_host, head_index.device
        R = graph.num_relations // 2
        # The host finds the edges to remove.
        head_index, rel_type, tail_index = map(
            on_host, (head_index, rel_type, tail_index))
        node = torch.cat([head_index, tail_index])
        rel_type = torch.cat([rel_type, rel_type + R])
        target = torch.cat([tail_index, head_index])
        query, place = graph.by_target.at(node)
        edge = graph.by_target.edge[place]
        answer, kind = graph.source[edge], graph.edge_type[edge]
        asked = kind == rel_type[query]
        known = torch.zeros(node.numel(), graph.num_nodes, dtype=torch.bool)
        known[query[asked], answer[asked]] = True
        known[torch.arange(node.numel()), target] = False

        # An edge and its reciprocal are edges at either node of the triple.
        own = answer == target[query]
        if not self.remove_one_hop:
            own &= asked
        drop = torch.zeros(graph.num_edges, dtype=torch.bool)
        drop[edge[own]] = True
        if self.remove_one_hop:  # Removes both directions of each edge.
            half = graph.num_edges // 2
            drop |= torch.cat([drop[half:], drop[:half]])
        if self.structure_dropout > 0:
            head, tail = node.chunk(2)
            fewer = torch.where(graph.degree[head] < graph.degree[tail], head,
                                tail)
            lost = torch.zeros(graph.num_nodes, dtype=torch.bool)
            lost[fewer[torch.rand(fewer.size()) < self.structure_dropout]] = (
                True)
            drop |= lost[graph.source] | lost[graph.target]
        graph = graph.without(drop)
        if device.type != 'cpu':
            graph = graph.to(device)
        # The graph lacks the edges of the whole batch.
        node, rel_type, target, known = (
            to_device(mine(x), device)
            for x in (node, rel_type, target, known))
        scores = self.score_queries(graph, node, rel_type)
        # Low enough to have no effect, but finite, to keep products finite.
        scores = scores.masked_fill(known, torch.finfo(scores.dtype).min / 4)
        if self.num_negatives is None:
            return F.cross_entropy(scores, target)
        negative = draw(partial(torch.randint, graph.num_nodes - 1),
                        node.numel(), self.num_negatives, device=node.device)
        negative += negative >= target.view(-1, 1)
        return self.criterion(scores.gather(1, target.view(-1, 1)).view(-1),
                              scores.gather(1, negative))

    # Saving ##################################################################

    def set_labels(self, nodes: Optional[list[str]],
                   relations: Optional[list[str]],
                   node_ids: Optional[list[str]] = None) -> None:
        r"""Sets the names of relations that the model was trained with. The
        names and identifiers of nodes are ignored.
        """
        self.relation_names = None if self.any_relations else relations


def stacks(num_queries: int, num_elements: int,
           device: torch.device) -> list[slice]:
    r"""Returns the ranges of queries that are computed at once, given the
    number of elements in the representations of one query.
    """
    size = stack_size(num_elements, device)
    return [slice(i, min(i + size, num_queries))
            for i in range(0, num_queries, size)]


def stack_size(num_elements: int, device: torch.device) -> int:
    r"""Returns the number of queries that are computed at once, as for
    :func:`stacks`.
    """
    if row_by_row(device):
        return 1
    return max(1, STACK.get(device.type, STACK['cuda']) // num_elements)


def iterate(layers: Any, weights: list[Tensor], graph: RelationalGraph,
            node: Tensor, start: Tensor,
            others: Optional[Tensor] = None) -> Tensor:
    r"""Returns the representations :obj:`[Q, N, D]` after all
    :class:`~pyg_mmkgc.nn.path.RelationalConv` layers with weights
    :obj:`[Q, R, D]`, starting with rows :obj:`[Q, D]` at nodes :obj:`[Q]`, in
    addition to rows :obj:`others` :obj:`[Q, N, D]` of all nodes.
    """
    x = None if others is None else add_start(others, node, start)
    for layer, weight in zip(layers, weights, strict=True):
        x = (layer.first(weight, graph, node, start) if x is None else
             layer(x, weight, graph, node, start))
    assert x is not None
    return x


def add_start(x: Tensor, node: Tensor, start: Tensor) -> Tensor:
    r"""Adds rows :obj:`[Q, D]` at nodes :obj:`[Q]` to representations
    :obj:`[Q, N, D]`.
    """
    query = torch.arange(node.numel(), device=node.device)
    return x.index_put((query, node), start, accumulate=True)


def widths_of(data: Any) -> dict[str, int]:
    r"""Returns the number of channels of each modality of a graph."""
    return {name: x.size(-1) for name, x in data.features().items()}


def check_ids(index: Tensor, size: int, kind: str) -> None:
    r"""Raises an :obj:`IndexError` if an id on the host is out of range."""
    if index.numel() > 0 and index.device.type == 'cpu':
        low, high = (int(x) for x in index.aminmax())
        if low < 0 or high >= size:
            raise IndexError(f'Expected {kind} to lie in [0, {size}) (got '
                             f'{low if low < 0 else high})')
