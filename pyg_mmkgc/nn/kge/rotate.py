from __future__ import annotations

import math

import torch
from torch.nn import Embedding

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn.distance import RotationDistance
from pyg_mmkgc.nn.kge.base import MMKGEModel


class RotatE(RotationDistance, MMKGEModel):
    r"""The RotatE model from the `"RotatE: Knowledge Graph Embedding by
    Relational Rotation in Complex Space" <https://arxiv.org/abs/1902.10197>`_
    paper, which rotates the head in the complex plane.

    .. math::
        s(h, r, t) = \gamma - \| \mathbf{h} \circ \mathbf{r} - \mathbf{t} \|
        = \gamma - \sum_{i=1}^{D} \left| h_i \, e^{\mathrm{i} \theta_{r,i}}
        - t_i \right|

    :pyg:`PyG`'s :class:`~torch_geometric.nn.kge.RotatE` takes one Euclidean
    norm over all channels instead of the sum of complex moduli, one negative
    instead of self-adversarial ones, and starts elsewhere. Here phases start
    uniform on the circle; entities start in half of the range of the original
    code, as those of OpenKE and of :class:`~pyg_mmkgc.nn.AdaMF`, which
    without modalities is this model. The original code also weighs triples by
    the frequency of their queries.

    Args:
        num_nodes (int): The number of nodes/entities :obj:`N` in the graph.
        num_relations (int): The number of relations :obj:`R` in the graph.
        hidden_channels (int): The complex dimension :obj:`D`; entities are
            :obj:`2 * D` real channels wide, as :obj:`[re | im]`.
        margin (float, optional): :math:`\gamma`. (default: :obj:`1.0`)
        sparse (bool, optional): If set to :obj:`True`, gradients w.r.t. to
            the embedding matrices will be sparse. (default: :obj:`False`)
        num_negatives (int, optional): Negatives of :meth:`loss`.
            (default: :obj:`128`)
    """
    def __init__(
        self,
        num_nodes: int,
        num_relations: int,
        hidden_channels: int,
        margin: float = 1.0,
        sparse: bool = False,
        num_negatives: int = 128,
    ) -> None:
        super().__init__(num_nodes, num_relations, hidden_channels,
                         num_negatives=num_negatives, sparse=sparse)
        if not margin > 0:
            raise ModelError(f'expected margin > 0, got {margin}')
        self.margin = margin
        self.phase_scale = math.pi * hidden_channels / (margin + 2.0)
        self.node_emb = Embedding(num_nodes, 2 * hidden_channels,
                                  sparse=sparse)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        bound = (self.margin + 2.0) / self.hidden_channels
        torch.nn.init.uniform_(self.rel_emb.weight, -bound, bound)
        torch.nn.init.uniform_(self.node_emb.weight, -bound / 2, bound / 2)
