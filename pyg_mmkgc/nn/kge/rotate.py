from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import Embedding

from pyg_mmkgc.errors import check_positive
from pyg_mmkgc.kernels.rows import rotate_by
from pyg_mmkgc.nn.kge.query import QueryModel
from pyg_mmkgc.nn.similarity import Distance, Similarity
from pyg_mmkgc.typing import Side


class Rotation:
    r"""The query and the similarity of `RotatE
    <https://arxiv.org/abs/1902.10197>`_, shared with other models.

    .. math::
        s(h, r, t) = \gamma - \sum_{i=1}^{D} \left| h_i \,
        e^{\mathrm{i} \theta_{r,i}} - t_i \right|

    A subclass defines :obj:`rel_emb` with :obj:`D` channels, and
    :obj:`phase_scale`, which converts them to radians.
    """
    rel_emb: Embedding
    phase_scale: float
    similarity: Similarity = Distance(group=2)  # Complex moduli.

    def phase(self, rel_type: Tensor) -> Tensor:
        r"""Returns the angles :math:`\theta_r` in radians, :obj:`[*, D]`."""
        return self.rel_emb(rel_type) * self.phase_scale

    def query(self, x: Tensor, rel_type: Tensor, side: Side) -> Tensor:
        # Sines and cosines are computed once per relation instead of once per
        # row. Since rotations preserve moduli, |h r - t| = |h - t conj(r)|.
        every = torch.arange(self.rel_emb.num_embeddings,
                             device=self.rel_emb.weight.device)
        return rotate_by(x, self.phase(every), rel_type,
                         inverse=side == 'head')


class RotatE(Rotation, QueryModel):
    r"""The RotatE model from the `"RotatE: Knowledge Graph Embedding by
    Relational Rotation in Complex Space" <https://arxiv.org/abs/1902.10197>`_
    paper, which rotates the head in the complex plane.

    .. math::
        s(h, r, t) = \gamma - \| \mathbf{h} \circ \mathbf{r} - \mathbf{t} \|
        = \gamma - \sum_{i=1}^{D} \left| h_i \, e^{\mathrm{i} \theta_{r,i}}
        - t_i \right|

    :pyg:`PyG`'s :class:`~torch_geometric.nn.kge.RotatE` takes one Euclidean
    norm over all channels instead of the sum of complex moduli, uses one
    negative instead of several self-adversarial negatives, and is initialized
    differently. Here, phases are initialized uniformly on the circle. Entities
    are initialized in half the range of the original code, as in OpenKE and in
    :class:`~pyg_mmkgc.nn.AdaMF`, which equals this model without modalities.
    The original code also weights triples by the frequency of their queries.

    Args:
        num_nodes (int): The number of nodes/entities :obj:`N` in the graph.
        num_relations (int): The number of relations :obj:`R` in the graph.
        hidden_channels (int): The complex dimension :obj:`D`. Entities are
            :obj:`2 * D` real channels wide, as :obj:`[re | im]`.
        margin (float, optional): The margin :math:`\gamma`.
            (default: :obj:`1.0`)
        sparse (bool, optional): If set to :obj:`True`, gradients w.r.t.
            the embedding matrices will be sparse. (default: :obj:`False`)
        num_negatives (int, optional): The number of negatives in
            :meth:`loss`. (default: :obj:`128`)

    Raises:
        ModelError: If :obj:`margin` is not positive.
    """
    def __init__(self, num_nodes: int, num_relations: int,
                 hidden_channels: int, margin: float = 1.0,
                 sparse: bool = False, num_negatives: int = 128) -> None:
        super().__init__(num_nodes, num_relations, hidden_channels,
                         num_negatives=num_negatives, sparse=sparse)
        check_positive(margin=margin)
        self.margin = margin
        self.phase_scale = math.pi * hidden_channels / (margin + 2.0)
        self.node_emb = Embedding(num_nodes, 2 * hidden_channels,
                                  sparse=sparse)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        bound = (self.margin + 2.0) / self.hidden_channels
        torch.nn.init.uniform_(self.rel_emb.weight, -bound, bound)
        torch.nn.init.uniform_(self.node_emb.weight, -bound / 2, bound / 2)
