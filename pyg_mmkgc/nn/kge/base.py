from __future__ import annotations

from collections.abc import Callable
from typing import Any, Optional

import torch
from torch import Tensor
from torch.nn import Embedding, ModuleDict
from torch_geometric.nn.kge import KGEModel

from pyg_mmkgc.errors import ModelError, check_whole
from pyg_mmkgc.io.pretrained import Pretrained, arguments_of
from pyg_mmkgc.kernels.dense import blocks
from pyg_mmkgc.nn.encoded import Encoded, Scored, encode
from pyg_mmkgc.nn.encoder import check_modalities
from pyg_mmkgc.nn.loss import SelfAdversarialLoss
from pyg_mmkgc.typing import Side


class TripleModel:
    r"""The interface that losses, trainers and rankings use: three calls,
    :meth:`embed`, :meth:`fuse` and :meth:`score`, and all that follows from
    them. What a model may add to its training does nothing by default.
    """
    num_nodes: int
    num_relations: int
    #: Whether the heads of :math:`(?, r, t)` are ranked as the tails of
    #: :math:`(t, r + R, ?)`, as in `Canonical Tensor Decomposition for
    #: Knowledge Base Completion <https://arxiv.org/abs/1806.07297>`_.
    reciprocal: bool = False

    def embed(self, index: Tensor) -> dict[str, Tensor]:
        r"""Returns one view per modality, each :obj:`[*, C]`, of nodes
        :obj:`[*]`.
        """
        raise NotImplementedError

    def fuse(self, views: dict[str, Tensor]) -> Tensor:
        r"""Returns the representation :obj:`[*, C]` that is scored."""
        return views['structure']

    def score(self, head: Tensor, rel_type: Tensor, tail: Tensor) -> Tensor:
        r"""Returns the plausibility :obj:`[*]` (higher is better) of
        representations :obj:`[*, C]` and relations :obj:`[*]`, which
        broadcast.
        """
        raise NotImplementedError

    def encode(self, index: Optional[Tensor] = None) -> Tensor:
        r"""Returns the representations :obj:`[*, C]` of nodes :obj:`[*]`, by
        default the table :obj:`[N, C]` of all: the embeddings to export, see
        :func:`~pyg_mmkgc.evaluation.export_embeddings`.
        """
        raise NotImplementedError

    def experts(self, table: Tensor) -> list[tuple[TripleModel, Tensor]]:
        r"""Returns what the model's own loss, and one on the scores of all
        nodes, trains, each with its part of a table :obj:`[N, C]`; the losses
        of several are added up. By default, the model itself.
        """
        return [(self, table)]

    def inverse(self, rel_type: Tensor) -> Tensor:
        r"""Returns the reciprocal relations of relations :obj:`[*]`."""
        return (rel_type + self.num_relations) % (2 * self.num_relations)

    def score_candidates(self, table: Tensor, head: Tensor, rel_type: Tensor,
                         tail: Tensor, index: Tensor,
                         corrupt_head: Tensor) -> Tensor:
        r"""Returns the scores :obj:`[B, K]` of triples whose head (where
        :obj:`corrupt_head`) or tail is replaced by rows :obj:`index` of
        :obj:`table`; both are :obj:`[B, K]`.
        """
        return form_of(type(self), 'candidate_scores')(
            self, table, head, rel_type, tail, index, corrupt_head)

    def score_tails(self, head_index: Tensor, rel_type: Tensor,
                    table: Optional[Tensor] = None) -> Tensor:
        r"""Returns the scores :obj:`[Q, N]` of all nodes as tails of queries
        :obj:`[Q]`, given the table of :meth:`encode`.
        """
        return self._score_all(head_index, rel_type, 'tail', table)

    def score_heads(self, rel_type: Tensor, tail_index: Tensor,
                    table: Optional[Tensor] = None) -> Tensor:
        r"""Returns the scores :obj:`[Q, N]` of all nodes as heads."""
        if self.reciprocal:
            return self.score_tails(tail_index, self.inverse(rel_type), table)
        return self._score_all(tail_index, rel_type, 'head', table)

    def _score_all(self, index: Tensor, rel_type: Tensor, side: Side,
                   table: Optional[Tensor]) -> Tensor:
        table = self.encode() if table is None else table
        return form_of(type(self), 'node_scores')(
            self, table[index], rel_type, side, table)

    # Forms of the score that a model may write in a faster way. A subclass
    # that writes another `score` is served by these general ones, unless it
    # writes the form as well.

    def candidate_scores(self, table: Tensor, head: Tensor, rel_type: Tensor,
                         tail: Tensor, index: Tensor,
                         corrupt_head: Tensor) -> Tensor:
        r"""Computes :meth:`score_candidates`."""
        node, replaced = table[index], corrupt_head.unsqueeze(-1)
        return self.score(torch.where(replaced, node, head.unsqueeze(1)),
                          rel_type.unsqueeze(1),
                          torch.where(replaced, tail.unsqueeze(1), node))

    def node_scores(self, x: Tensor, rel_type: Tensor, side: Side,
                    table: Tensor) -> Tensor:
        r"""Returns the scores :obj:`[Q, N]` of all rows of a table on one
        side of queries, given the representations :obj:`[Q, C]` of the nodes
        on the other.
        """
        x, rel_type = x.unsqueeze(1), rel_type.unsqueeze(1)
        return torch.cat([
            self.score(x, rel_type, rows) if side == 'tail' else
            self.score(rows, rel_type, x)
            for rows in blocks(table, x.size(0))], dim=-1)

    def prepare(self, edge_index: Tensor, edge_type: Tensor) -> None:
        r"""Reads the training triples :obj:`[2, E]` and :obj:`[E]`, once,
        before the first step.
        """

    def before_step(self, head_index: Tensor, rel_type: Tensor,
                    tail_index: Tensor) -> None:
        r"""Called with the positives :obj:`[B]` of a step, before any node is
        embedded.
        """

    def after_step(self) -> None:
        r"""Called after the optimizer has stepped: constraints on norms."""

    def regularization(self, encoded: Encoded,
                       rel_type: Tensor) -> Optional[Tensor]:
        r"""Returns a scalar that is added to the loss of the scores.

        Args:
            encoded (Encoded): The distinct nodes of the step: their ids
                :obj:`node`, their :obj:`views`, their representations
                :obj:`table`, and the rows :obj:`head` and :obj:`tail` of the
                positives, :obj:`[B]`.
            rel_type (torch.Tensor): The relations, :obj:`[B]`.
        """
        return None

    def generator_modules(self) -> Optional[ModuleDict]:
        r"""Returns the generators of the model that an adversary is to train,
        by modality, if it has any.
        """
        return None

    def combiner(self) -> Optional[torch.nn.Module]:
        r"""Returns the module that combines the scores of :meth:`experts` and
        is fitted on validation triples, if the model has one.
        """
        return None

    def score_step(self, encoded: Encoded, rel_type: Tensor, index: Tensor,
                   corrupt_head: Tensor,
                   table: Optional[Tensor] = None) -> Scored:
        r"""Scores positives and their negatives, rows :obj:`index`
        :obj:`[B, K]` of the table of :obj:`encoded`, or of an expert's part
        of it.
        """
        table = encoded.table if table is None else table
        head, tail = encoded.ends(table)
        return Scored(head, tail, self.score(head, rel_type, tail),
                      self.score_candidates(table, head, rel_type, tail,
                                            index, corrupt_head))


class MMKGEModel(TripleModel, Pretrained, KGEModel):
    r"""An abstract base class of multi-modal knowledge graph embedding
    models, written as three calls: :meth:`embed` gives one view per modality,
    :meth:`fuse` makes of them the representation that is scored, and
    :meth:`score` scores representations. It is a
    :class:`torch_geometric.nn.kge.KGEModel`: :meth:`forward`, :meth:`loss`,
    :meth:`loader` and :meth:`test` have PyG's signatures.

    Args:
        num_nodes (int): The number of nodes/entities :obj:`N` in the graph.
        num_relations (int): The number of relations in the graph.
        hidden_channels (int): The hidden embedding size.
        modalities (dict[str, torch.Tensor], optional): The features
            :obj:`[N, F_m]` of each modality. (default: :obj:`None`)
        num_negatives (int, optional): The number of nodes that each call of
            :meth:`loss` draws, shared by its triples. (default: :obj:`128`)
        sparse (bool, optional): If set to :obj:`True`, gradients w.r.t. to
            the embedding matrices will be sparse. (default: :obj:`False`)
    """
    num_nodes: int
    num_relations: int
    hidden_channels: int
    node_emb: Embedding
    rel_emb: Embedding
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
                  **kwargs: Any) -> MMKGEModel:
        r"""Builds a model for a :class:`~pyg_mmkgc.data.KnowledgeGraph`, with
        its number of nodes and relations, and with the features and masks of
        the graph where the model takes them.

        Raises:
            ModelError: If :obj:`data` is not a knowledge graph.
        """
        if not hasattr(data, 'features'):
            raise ModelError('expected a KnowledgeGraph, got '
                             f'{type(data).__name__}; KnowledgeGraph.from_pyg '
                             'makes one of data of PyG')
        names = arguments_of(cls)
        for name, values in (('modalities', data.features()),
                             ('masks', data.masks())):
            if name in names:
                kwargs.setdefault(name, values)
        out = cls(data.num_nodes, data.num_relations, hidden_channels,
                  **kwargs)
        out.node_names = data.get('node_names')
        out.relation_names = data.get('relation_names')
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
        if type(self).embed is MMKGEModel.embed:  # No copy of the table.
            return self.fuse({'structure': self.node_emb.weight})
        return self.fuse(self.embed(torch.arange(
            self.num_nodes, device=self.rel_emb.weight.device)))

    def modality_weights(self, index: Tensor,
                         rel_type: Tensor) -> Optional[dict[str, Tensor]]:
        r"""Returns the weight :obj:`[*]` that each modality has in the
        representations of nodes :obj:`[*]` that meet relations :obj:`[*]`;
        :obj:`None` where a model has no such weights.
        """
        return None

    def loss(self, head_index: Tensor, rel_type: Tensor,
             tail_index: Tensor) -> Tensor:
        r"""Returns the loss of triples :obj:`[B]` against
        :obj:`num_negatives` random nodes, which replace the head or the tail
        of each; self-adversarial, unless a model has a loss of its own.
        """
        return self.encode_and_loss(head_index, rel_type, tail_index)[1]

    def encode_and_loss(self, head_index: Tensor, rel_type: Tensor,
                        tail_index: Tensor) -> tuple[Encoded, Tensor]:
        r"""Returns :meth:`loss`, and the nodes that it encoded."""
        pool = torch.randint(self.num_nodes, (self.num_negatives, ),
                             device=head_index.device)
        self.before_step(head_index, rel_type, tail_index)
        encoded = encode(self, head_index, tail_index, pool)
        index = encoded.others[0].expand(head_index.numel(), -1)
        corrupt_head = torch.rand(index.shape, device=index.device) < 0.5
        scored = [expert.score_step(encoded, rel_type, index, corrupt_head,
                                    table)
                  for expert, table in self.experts(encoded.table)]
        loss = torch.stack([self.criterion(x.pos, x.neg)
                            for x in scored]).sum()
        extra = self.regularization(encoded, rel_type)
        return encoded, loss if extra is None else loss + extra


def form_of(cls: type, name: str) -> Callable[..., Tensor]:
    r"""Returns the form of a score that serves a class: its own, unless
    :meth:`score` is written nearer to the class than this form; then the
    general one.
    """
    def place(name: str) -> int:
        return next(i for i, base in enumerate(cls.__mro__)
                    if name in vars(base))

    owner = TripleModel if place('score') < place(name) else cls
    return getattr(owner, name)
