from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Optional

import torch
from torch import Tensor
from torch.nn import Embedding, ModuleDict
from torch_geometric.nn.kge import KGEModel

from pyg_mmkgc.errors import ModelError, check_whole
from pyg_mmkgc.io.arguments import arguments_of
from pyg_mmkgc.io.pretrained import Pretrained
from pyg_mmkgc.kernels.dense import blocks
from pyg_mmkgc.kernels.host import known_on_host, on_host, to_device
from pyg_mmkgc.nn.encoded import Encoded, Scored, encode
from pyg_mmkgc.nn.encoder import check_modalities
from pyg_mmkgc.nn.gnn import GNNEncoder, load_encoder
from pyg_mmkgc.nn.loss import SelfAdversarialLoss
from pyg_mmkgc.typing import Side


class TripleModel:
    r"""The interface that losses, trainers and rankings require of a model.
    Everything follows from three methods: :meth:`embed`, :meth:`fuse` and
    :meth:`score`. Hooks into training, such as :meth:`before_step`, do nothing
    by default.
    """
    num_nodes: int
    num_relations: int
    #: If :obj:`True`, the heads of :math:`(?, r, t)` are ranked as the tails
    #: of :math:`(t, r + R, ?)`, as in `Canonical Tensor Decomposition for
    #: Knowledge Base Completion <https://arxiv.org/abs/1806.07297>`_.
    reciprocal: bool = False

    def embed(self, index: Tensor) -> dict[str, Tensor]:
        r"""Returns the views of nodes :obj:`[*]`, one per modality, each with
        shape :obj:`[*, C]`.
        """
        raise NotImplementedError

    def fuse(self, views: dict[str, Tensor]) -> Tensor:
        r"""Fuses views into the representations :obj:`[*, C]` that are
        scored.
        """
        return views['structure']

    def score(self, head: Tensor, rel_type: Tensor, tail: Tensor) -> Tensor:
        r"""Returns the plausibility :obj:`[*]` of triples (higher is better)
        from representations :obj:`[*, C]` and relations :obj:`[*]`, which
        broadcast.
        """
        raise NotImplementedError

    def encode(self, index: Optional[Tensor] = None) -> Tensor:
        r"""Returns the representations :obj:`[*, C]` of nodes :obj:`[*]`, or
        the table :obj:`[N, C]` of all nodes if :obj:`index` is :obj:`None`.
        :func:`~pyg_mmkgc.evaluation.export_embeddings` exports this table.
        """
        raise NotImplementedError

    def experts(self, table: Tensor) -> list[tuple[TripleModel, Tensor]]:
        r"""Returns the experts of the model, each with its part of a table
        :obj:`[N, C]`. The model's own loss and losses on the scores of all
        nodes train each expert and add up their losses. By default, the only
        expert is the model itself.
        """
        return [(self, table)]

    def inverse(self, rel_type: Tensor) -> Tensor:
        r"""Returns the reciprocal relations of relations :obj:`[*]`."""
        # What is known on the host stays known there.
        rel = on_host(rel_type) if known_on_host(rel_type) else rel_type
        return to_device((rel + self.num_relations) %
                         (2 * self.num_relations), rel_type.device)

    def score_candidates(self, table: Tensor, head: Tensor, rel_type: Tensor,
                         tail: Tensor, index: Tensor,
                         corrupt_head: Tensor) -> Tensor:
        r"""Returns the scores :obj:`[B, K]` of corrupted triples. Rows
        :obj:`index` :obj:`[B, K]` of :obj:`table` replace the head where
        :obj:`corrupt_head` :obj:`[B, K]` is :obj:`True`, and the tail
        elsewhere.
        """
        return form_of(type(self), 'candidate_scores')(
            self, table, head, rel_type, tail, index, corrupt_head)

    def score_tails(self, head_index: Tensor, rel_type: Tensor,
                    table: Optional[Tensor] = None) -> Tensor:
        r"""Returns the scores :obj:`[Q, N]` of all nodes as tails of queries
        :obj:`[Q]`. Passing the table of :meth:`encode` avoids computing it
        again.
        """
        return self._score_all(head_index, rel_type, 'tail', table)

    def score_heads(self, rel_type: Tensor, tail_index: Tensor,
                    table: Optional[Tensor] = None) -> Tensor:
        r"""Returns the scores :obj:`[Q, N]` of all nodes as heads of queries
        :obj:`[Q]`. Passing the table of :meth:`encode` avoids computing it
        again.
        """
        if self.reciprocal:
            return self.score_tails(tail_index, self.inverse(rel_type), table)
        return self._score_all(tail_index, rel_type, 'head', table)

    def _score_all(self, index: Tensor, rel_type: Tensor, side: Side,
                   table: Optional[Tensor]) -> Tensor:
        table = self.encode() if table is None else table
        return form_of(type(self), 'node_scores')(
            self, table[index], rel_type, side, table)

    # A model may override the following general forms with faster ones. If a
    # subclass overrides `score` but not a form, the general form is used.

    def candidate_scores(self, table: Tensor, head: Tensor, rel_type: Tensor,
                         tail: Tensor, index: Tensor,
                         corrupt_head: Tensor) -> Tensor:
        r"""Implements :meth:`score_candidates`."""
        node, replaced = table[index], corrupt_head.unsqueeze(-1)
        return self.score(torch.where(replaced, node, head.unsqueeze(1)),
                          rel_type.unsqueeze(1),
                          torch.where(replaced, tail.unsqueeze(1), node))

    def node_scores(self, x: Tensor, rel_type: Tensor, side: Side,
                    table: Tensor) -> Tensor:
        r"""Returns the scores :obj:`[Q, N]` of all rows of a table as answers
        on :obj:`side`, given the representations :obj:`[Q, C]` of the known
        nodes on the other side.
        """
        x, rel_type = x.unsqueeze(1), rel_type.unsqueeze(1)
        return torch.cat([
            self.score(x, rel_type, rows) if side == 'tail' else
            self.score(rows, rel_type, x)
            for rows in blocks(table, x.size(0))], dim=-1)

    def prepare(self, edge_index: Tensor, edge_type: Tensor) -> None:
        r"""Receives the edges :obj:`[2, E]` and relations :obj:`[E]` of the
        training triples once, before the first step.
        """

    def before_step(self, head_index: Tensor, rel_type: Tensor,
                    tail_index: Tensor) -> None:
        r"""Receives the positives :obj:`[B]` of a step before any node is
        embedded.
        """

    def after_step(self) -> None:
        r"""Runs after each step of the optimizer, for example to constrain
        norms.
        """

    def regularization(self, encoded: Encoded,
                       rel_type: Tensor) -> Optional[Tensor]:
        r"""Returns a scalar that is added to the loss of the scores, or
        :obj:`None` if there is no such term.

        Args:
            encoded (Encoded): The distinct nodes of the step, with their ids
                :obj:`node`, their :obj:`views`, their representations
                :obj:`table`, and the rows :obj:`head` and :obj:`tail` of the
                positives in it, each :obj:`[B]`.
            rel_type (torch.Tensor): The relations, :obj:`[B]`.
        """
        return None

    #: If :obj:`True`, :meth:`regularization` is a mean over positives, and a
    #: step draws no random numbers for nodes. Several processes then compute
    #: parts of a batch. Otherwise, each of them computes the whole batch.
    splits_batch: bool = True
    #: If :obj:`True`, a step reads all structural embeddings.
    needs_table: bool = False

    def generator_modules(self) -> Optional[ModuleDict]:
        r"""Returns the generators that an adversary trains, by modality, or
        :obj:`None` if the model has no generators.
        """
        return None

    def combiner(self) -> Optional[torch.nn.Module]:
        r"""Returns the module that combines the scores of :meth:`experts` and
        is fitted on validation triples, or :obj:`None` if the model has no
        such module.
        """
        return None

    def score_step(self, encoded: Encoded, rel_type: Tensor, index: Tensor,
                   corrupt_head: Tensor,
                   table: Optional[Tensor] = None) -> Scored:
        r"""Scores positives and their negatives. The negatives are the rows
        :obj:`index` :obj:`[B, K]` of :obj:`table`, which is the table of
        :obj:`encoded` by default, or the part of it that belongs to an expert.
        """
        table = encoded.table if table is None else table
        head, tail = encoded.ends(table)
        return Scored(head, tail, self.score(head, rel_type, tail),
                      self.score_candidates(table, head, rel_type, tail,
                                            index, corrupt_head))


class MMKGEModel(TripleModel, Pretrained, KGEModel):
    r"""An abstract base class of multi-modal knowledge graph embedding
    models. A model consists of three methods: :meth:`embed` returns one view
    per modality, :meth:`fuse` combines the views into a representation, and
    :meth:`score` scores representations. As a
    :class:`torch_geometric.nn.kge.KGEModel`, it has :meth:`forward`,
    :meth:`loss`, :meth:`loader` and :meth:`test` with PyG's signatures.

    Args:
        num_nodes (int): The number of nodes/entities :obj:`N` in the graph.
        num_relations (int): The number of relations in the graph.
        hidden_channels (int): The hidden embedding size.
        modalities (dict[str, torch.Tensor], optional): The features
            :obj:`[N, F_m]` of each modality. (default: :obj:`None`)
        num_negatives (int, optional): The number of negatives that each call
            of :meth:`loss` draws. All triples of the call share them.
            (default: :obj:`128`)
        sparse (bool, optional): If set to :obj:`True`, gradients w.r.t.
            the embedding matrices will be sparse. (default: :obj:`False`)

    Raises:
        ModelError: If a size is not a positive integer, or features do not
            have one row per node.
    """
    num_nodes: int
    num_relations: int
    hidden_channels: int
    node_emb: Any  # An embedding table, or a GNNEncoder.
    rel_emb: Embedding
    encoders: ModuleDict
    criterion: torch.nn.Module

    def __init__(self, num_nodes: int, num_relations: int,
                 hidden_channels: int,
                 modalities: Optional[dict[str, Tensor]] = None,
                 num_negatives: int = 128, sparse: bool = False) -> None:
        check_whole(num_nodes=num_nodes, num_relations=num_relations,
                    hidden_channels=hidden_channels,
                    num_negatives=num_negatives)
        super().__init__(num_nodes, num_relations, hidden_channels, sparse)
        self.sparse = sparse
        self.num_negatives = num_negatives
        self.modalities = list(modalities or {})
        self.criterion = SelfAdversarialLoss()
        check_modalities(modalities or {}, num_nodes)

    @classmethod
    def from_data(cls, data: Any, hidden_channels: int,
                  encoder: Optional[GNNEncoder] = None,
                  **kwargs: Any) -> MMKGEModel:
        r"""Builds a model for a :class:`~pyg_mmkgc.data.KnowledgeGraph` from
        its number of nodes and relations. The features and masks of the graph
        are passed on if the model takes them.

        Args:
            data (KnowledgeGraph): The graph.
            hidden_channels (int): The hidden embedding size.
            encoder (GNNEncoder, optional): A GNN over the training triples of
                the graph, which encodes the structural embeddings.
                (default: :obj:`None`)
            **kwargs (optional): Additional arguments of the model.

        Raises:
            ModelError: If :obj:`data` is not a knowledge graph.
        """
        if not hasattr(data, 'features'):
            raise ModelError("Expected 'data' to be a KnowledgeGraph (got "
                             f'{type(data).__name__}). Use '
                             'KnowledgeGraph.from_pyg to convert data from '
                             'PyG.')
        names = arguments_of(cls)
        for name, values in (('modalities', data.features()),
                             ('masks', data.masks())):
            if name in names:
                kwargs.setdefault(name, values)
        out = cls(data.num_nodes, data.num_relations, hidden_channels,
                  **kwargs)
        out.set_labels(data.get('node_names'), data.get('relation_names'),
                       data.get('node_ids'))
        out.feature_encoders = data.get('feature_encoders')
        if encoder is not None:
            train = data.split('train')
            out.node_emb = encoder.replace(out.node_emb, out.num_relations,
                                           train.edge_index, train.edge_type)
        return out

    def module_configs(self) -> dict[str, Any]:
        return ({'encoder': self.node_emb.config()}
                if isinstance(self.node_emb, GNNEncoder) else {})

    def replace_modules(self, configs: dict[str, Any],
                        state: dict[str, Tensor]) -> None:
        if 'encoder' in configs:
            self.node_emb = load_encoder(configs['encoder'], state,
                                         self.num_relations)

    @property
    def inductive(self) -> bool:
        r"""If :obj:`True`, the model represents nodes without a structural
        embedding by their features alone, so :meth:`extend` can add nodes.
        """
        return False

    def extend(self, data: Any) -> MMKGEModel:
        r"""Returns a model that shares all weights with this model and also
        scores the nodes that were added to a graph. These nodes are
        represented by their features. :func:`~pyg_mmkgc.evaluation.predict`
        and the other functions of :mod:`pyg_mmkgc.evaluation` call this method
        for a graph with more nodes than the model.

        Args:
            data (KnowledgeGraph): A graph whose first nodes are the nodes of
                the model, as :meth:`~pyg_mmkgc.data.KnowledgeGraph.add_nodes`
                returns it.

        Raises:
            ModelError: If the model is not :attr:`inductive`, or if the new
                nodes have no features.
        """
        check_extension(self, data)
        N, features, masks = self.num_nodes, data.features(), data.masks()
        lacking = [name for name in self.encoders if name not in features]
        if lacking:
            raise ModelError(f'Expected the modalities {list(self.encoders)} '
                             f'in the graph (got {list(features)})')
        described = torch.stack([
            masks[name][N:].reshape(data.num_nodes - N, -1).any(dim=1)
            for name in self.encoders]).any(dim=0)
        if not bool(described.all()):
            node = N + int((~described).nonzero()[0])
            raise ModelError(
                f'Expected features of {" or ".join(self.encoders)} for every '
                f'new node (got none for {data.node_names[node]!r}). A node '
                'that was added after training has no other representation.')
        encoders: dict[str, Any] = dict(self.encoders.items())
        out = copy.copy(self)
        for name in ('_parameters', '_buffers', '_modules'):
            setattr(out, name, dict(getattr(self, name)))
        out.encoders = ModuleDict({
            name: encoder.extended(features[name][N:], masks[name][N:])
            for name, encoder in encoders.items()})
        out.num_nodes = data.num_nodes
        out.set_labels(data.node_names, self.relation_names or data.get(
            'relation_names'), data.get('node_ids'))
        return out

    def embed(self, index: Tensor) -> dict[str, Tensor]:
        return {'structure': self.node_emb(index)}

    def forward(self, head_index: Tensor, rel_type: Tensor,
                tail_index: Tensor) -> Tensor:
        return self.score(self.encode(head_index), rel_type,
                          self.encode(tail_index))

    def encode(self, index: Optional[Tensor] = None) -> Tensor:
        if index is not None:
            return self.fuse(self.embed(index))
        if type(self).embed is MMKGEModel.embed and isinstance(
                self.node_emb, Embedding):  # Avoids a copy of the table.
            return self.fuse({'structure': self.node_emb.weight})
        return self.fuse(self.embed(torch.arange(
            self.num_nodes, device=self.rel_emb.weight.device)))

    def modality_weights(self, index: Tensor,
                         rel_type: Tensor) -> Optional[dict[str, Tensor]]:
        r"""Returns the weights :obj:`[*]` of each modality in the
        representations of nodes :obj:`[*]` when they are scored with
        relations :obj:`[*]`, or :obj:`None` if the model has no such weights.
        """
        return None

    def loss(self, head_index: Tensor, rel_type: Tensor,
             tail_index: Tensor) -> Tensor:
        r"""Returns the loss of triples :obj:`[B]` against
        :obj:`num_negatives` random nodes. Each node replaces either the head
        or the tail of a triple, at random. The loss is self-adversarial
        unless a model defines its own.
        """
        return self.encode_and_loss(head_index, rel_type, tail_index)[1]

    def encode_and_loss(self, head_index: Tensor, rel_type: Tensor,
                        tail_index: Tensor) -> tuple[Encoded, Tensor]:
        r"""Returns the encoded nodes of a step and their :meth:`loss`."""
        device = head_index.device
        pool = to_device(torch.randint(
            self.num_nodes, (self.num_negatives, )), device)
        self.before_step(head_index, rel_type, tail_index)
        encoded = encode(self, head_index, tail_index, pool)
        index = to_device(on_host(encoded.others[0]).expand(
            head_index.numel(), -1), device)
        corrupt_head = torch.rand(index.shape, device=index.device) < 0.5
        scored = [expert.score_step(encoded, rel_type, index, corrupt_head,
                                    table)
                  for expert, table in self.experts(encoded.table)]
        loss = torch.stack([self.criterion(x.pos, x.neg)
                            for x in scored]).sum()
        extra = self.regularization(encoded, rel_type)
        return encoded, loss if extra is None else loss + extra


#: The models that score nodes without a structural embedding, for messages.
INDUCTIVE = ('AdaMF, AdaMFMAT and NativE with drop_unseen=True or '
             'structure=False, NeighborBaseline, NBFNet and ULTRA')


def check_extension(model: Any, data: Any) -> None:
    r"""Raises :class:`~pyg_mmkgc.errors.ModelError` if a model cannot score
    the nodes that were added to its graph.
    """
    N = model.num_nodes
    if not getattr(model, 'inductive', False):
        raise ModelError(
            f"Expected '{type(model).__name__}' to have the {data.num_nodes} "
            f'nodes of the graph (got {N}). Nodes that were added after '
            f'training need a model that does without structural embeddings: '
            f'{INDUCTIVE}.')
    ours, theirs = model.node_names, data.get('node_names')
    if ours is None or theirs is None or theirs[:N] != ours:
        what = ('no labels' if ours is None or theirs is None else
                'other labels')
        raise ModelError(
            f"Expected a graph whose first {N} nodes have the labels of "
            f"'{type(model).__name__}', followed by new nodes (got {what}). "
            'Build the model with from_data, and the graph with '
            "'kg.add_nodes'.")


def form_of(cls: type, name: str) -> Callable[..., Tensor]:
    r"""Returns the method that computes a form of the score: the method of the
    class, or the general method if a subclass overrides :meth:`score` but not
    this method.
    """
    def place(name: str) -> int:
        return next(i for i, base in enumerate(cls.__mro__)
                    if name in vars(base))

    owner = TripleModel if place('score') < place(name) else cls
    return getattr(owner, name)
