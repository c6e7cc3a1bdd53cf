from __future__ import annotations

from typing import Any, Optional

import torch
import torch.nn.functional as F
from torch import Tensor

from pyg_mmkgc.errors import ModelError, check_positive
from pyg_mmkgc.io.pretrained import Pretrained
from pyg_mmkgc.kernels.dense import blocks
from pyg_mmkgc.kernels.host import on_host, to_device, true_places


class NeighborBaseline(Pretrained):
    r"""A baseline that needs no training and answers a query with the answers
    of similar nodes. It also scores nodes without training triples. Models for
    such nodes should outperform it.

    .. math::
        s(h, r, t) = \sum_{(h', r, t') \in \mathcal{T}_{train}}
        \kappa(h, h') \, \kappa(t, t'), \qquad \kappa(x, y) = \exp \left(
        \frac{\cos(\mathbf{f}_x, \mathbf{f}_y) - 1}{\tau} \right)

    The features :math:`\mathbf{f}` of a node concatenate its modalities, each
    divided by its norm. The cosine is therefore the mean over the modalities
    if both nodes have all of them. A missing modality is a row of zeros, and
    nodes without any modality are only similar to themselves.

    .. code-block:: python

        print(evaluate(NeighborBaseline.from_data(kg), kg))

    Args:
        temperature (float, optional): The temperature :math:`\tau`. The
            nearest nodes outweigh all others as it approaches zero.
            (default: :obj:`0.05`)

    Raises:
        ModelError: If :obj:`temperature` is not positive.
    """
    def __init__(self, temperature: float = 0.05) -> None:
        super().__init__()
        check_positive(temperature=temperature)
        self.temperature = temperature
        self.num_nodes: Optional[int] = None
        self.num_relations: Optional[int] = None
        self.register_buffer('x', torch.empty(0, 0), persistent=False)
        self._triples: dict[int, tuple[Tensor, Tensor]] = {}

    x: Tensor  # [N, F], one row of features per node.

    @classmethod
    def from_data(cls, data: Any, **kwargs: Any) -> NeighborBaseline:
        r"""Builds a baseline for a :class:`~pyg_mmkgc.data.KnowledgeGraph`.

        Raises:
            ModelError: If the graph has no modalities.
        """
        return cls(**kwargs).attach(data)

    def attach(self, data: Any) -> NeighborBaseline:
        r"""Sets the features and the training triples to compare with from a
        graph, and returns the baseline.

        Raises:
            ModelError: If the graph has no modalities.
        """
        features, masks = data.features(), data.masks()
        if not features:
            raise ModelError('Expected a graph with at least one modality to '
                             'compare nodes by (got none)')
        rows, there = [], []
        for name, x in features.items():
            mask = masks[name]
            x = x.float() * mask.view(mask.shape + (1, ) * (
                x.dim() - mask.dim()))
            x = x.sum(dim=1) if x.dim() == 3 else x
            rows.append(F.normalize(x, dim=-1))
            there.append(mask.reshape(mask.size(0), -1).any(dim=1))
        count = torch.stack(there).sum(dim=0).clamp(min=1)
        self.x = (torch.cat(rows, dim=-1) / count.sqrt().unsqueeze(-1)).to(
            self.x.device)
        train = data.split('train')
        # The host selects the triples of a query.
        rel, order = train.edge_type.cpu().sort(stable=True)
        edges = train.edge_index.cpu()[:, order]
        kind, size = rel.unique_consecutive(return_counts=True)
        self._triples = {
            int(r): (part[0], part[1]) for r, part in zip(
                kind, edges.split(size.tolist(), dim=1), strict=True)}
        self.num_nodes, self.num_relations = (data.num_nodes,
                                              data.num_relations)
        return self

    def attached(self, data: Any) -> NeighborBaseline:
        r"""Returns a baseline that is attached to a graph."""
        return NeighborBaseline(self.temperature).to(self.x.device).attach(
            data)

    def set_labels(self, nodes: Optional[list[str]],
                   relations: Optional[list[str]],
                   node_ids: Optional[list[str]] = None) -> None:
        r"""Ignores all labels, since the baseline applies to any graph."""

    def similarity(self, x: Tensor, y: Tensor) -> Tensor:
        r"""Returns :math:`\kappa`, :obj:`[Q, M]`, of nodes :obj:`[Q]` and
        :obj:`[M]`.
        """
        cosine = self.x[x] @ self.x[y].t()
        out = ((cosine - 1) / self.temperature).exp()
        return out.masked_fill(x.unsqueeze(1) == y, 1.0)

    def score_all(self, node: Tensor, rel_type: Tensor, side: str) -> Tensor:
        r"""Returns the scores :obj:`[Q, N]` of all nodes on one side of
        queries :obj:`[Q]`.

        Args:
            node (torch.Tensor): The nodes on the other side, :obj:`[Q]`.
            rel_type (torch.Tensor): The relations, :obj:`[Q]`.
            side (str): The side to predict, :obj:`"head"` or :obj:`"tail"`.
        """
        every = torch.arange(self.x.size(0), device=self.x.device)
        out = self.x.new_zeros(node.numel(), every.numel())
        asked = on_host(rel_type)
        for rel in asked.unique().tolist():
            if rel not in self._triples:
                continue
            known, answer = self._triples[rel]
            if side == 'head':
                known, answer = answer, known
            # Triples with the same answer are summed first.
            answer, place = answer.unique(return_inverse=True)
            known, answer, place, rows = (
                to_device(x, node.device) for x in (
                    known, answer, place, true_places(asked == rel)))
            near = self.similarity(node[rows], known)
            weight = near.new_zeros(near.size(0), answer.numel()).index_add_(
                1, place, near)
            out[rows] = torch.cat([
                weight @ self.similarity(answer, part)
                for part in blocks(every, answer.numel())], dim=1)
        return out

    def forward(self, head_index: Tensor, rel_type: Tensor,
                tail_index: Tensor) -> Tensor:
        r"""Returns the scores :obj:`[*]` of triples."""
        shape = head_index.shape
        scores = self.score_all(head_index.flatten(), rel_type.flatten(),
                                'tail')
        return scores.gather(1, tail_index.view(-1, 1)).view(shape)

    def extra_repr(self) -> str:
        return f'temperature={self.temperature}'
