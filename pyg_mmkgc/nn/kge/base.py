from __future__ import annotations

from typing import Any, Optional

import torch
from torch import Tensor
from torch.nn import Embedding
from torch_geometric.nn.kge import KGEModel

from pyg_mmkgc.errors import ModelError, check_whole
from pyg_mmkgc.nn.encoder import check_modalities
from pyg_mmkgc.nn.fast_paths import FastPaths
from pyg_mmkgc.nn.hooks import TrainingHooks
from pyg_mmkgc.nn.loss import SelfAdversarialLoss
from pyg_mmkgc.nn.pretrained import Pretrained, arguments_of


class MMKGEModel(FastPaths, TrainingHooks, Pretrained, KGEModel):
    r"""An abstract base class of multi-modal knowledge graph embedding
    models, written as three calls: :meth:`embed` gives one view per modality,
    :meth:`fuse` makes of them the representation that is scored, and
    :meth:`score` scores representations. It is a
    :class:`torch_geometric.nn.kge.KGEModel`: :meth:`forward`, :meth:`loss`,
    :meth:`loader` and :meth:`test` have PyG's signatures. A subclass that
    writes :meth:`score` inherits no fast form of another score.

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

    def __init__(
        self,
        num_nodes: int,
        num_relations: int,
        hidden_channels: int,
        modalities: Optional[dict[str, Tensor]] = None,
        num_negatives: int = 128,
        sparse: bool = False,
    ) -> None:
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
        its counts, and those of its features and masks that it takes.

        Raises:
            ModelError: If it is none.
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
        r"""One view per modality, each :obj:`[*, C]`, of nodes :obj:`[*]`."""
        return {'structure': self.node_emb(index)}

    def fuse(self, views: dict[str, Tensor]) -> Tensor:
        r"""The representation :obj:`[*, C]` that is scored."""
        return views['structure']

    def score(self, head: Tensor, rel_type: Tensor, tail: Tensor) -> Tensor:
        r"""The plausibility :obj:`[*]` (higher is better) of representations
        :obj:`[*, C]` and relations :obj:`[*]`, which broadcast.
        """
        raise NotImplementedError

    def forward(self, head_index: Tensor, rel_type: Tensor,
                tail_index: Tensor) -> Tensor:
        return self.score(self.encode(head_index), rel_type,
                          self.encode(tail_index))

    def encode(self, index: Optional[Tensor] = None) -> Tensor:
        r"""The representations :obj:`[*, C]` of nodes :obj:`[*]`, by default
        the table :obj:`[N, C]` of all. They are the embeddings to export, see
        :func:`~pyg_mmkgc.evaluation.export_embeddings`.
        """
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
        r"""The self-adversarial loss against :obj:`num_negatives` random
        nodes, which replace the head or the tail of each triple.
        """
        pool = torch.randint(self.num_nodes, (self.num_negatives, ),
                             device=head_index.device)
        self.before_step(head_index, rel_type, tail_index)
        views, (head, tail, nodes) = self._lookup(head_index, tail_index, pool)
        table = self.fuse(views)
        index = nodes.expand(head.numel(), -1)
        side = torch.rand(index.shape, device=index.device) < 0.5
        loss = torch.stack([self.criterion(
            expert.score(rows[head], rel_type, rows[tail]),
            expert.score_candidates(rows, rows[head], rel_type, rows[tail],
                                    index, side))
            for expert, rows in self.experts(table)]).sum()
        extra = self.regularization(views, table, head, rel_type, tail)
        return loss if extra is None else loss + extra

    def _lookup(self, *index: Tensor) -> tuple[dict[str, Tensor],
                                               tuple[Tensor, ...]]:
        node, inverse = torch.cat([x.view(-1) for x in index]).unique(
            return_inverse=True)
        return self.embed(node), inverse.split([x.numel() for x in index])
