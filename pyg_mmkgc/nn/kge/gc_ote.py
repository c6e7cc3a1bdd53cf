from __future__ import annotations

import math
from typing import Any, Optional

import torch
from torch import Tensor
from torch.nn import Parameter
from torch_geometric.utils import scatter, softmax

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.kernels.host import distinct_values, on_host, to_device
from pyg_mmkgc.nn.functional import side_by_side
from pyg_mmkgc.nn.kge.ote import OTE


class GCOTE(OTE):
    r"""The GC-OTE model from the `"Orthogonal Relation Transforms with Graph
    Context Modeling for Knowledge Graph Embedding"
    <https://arxiv.org/abs/1911.04910>`_ paper, which extends
    :class:`~pyg_mmkgc.nn.OTE` by contexts aggregated from the neighbours of a
    node.

    .. math::
        s(h, r, t) = \gamma - \tfrac{1}{4} \left[ D(T_r(h) - t) +
        D(T_r(h) - c_t) + D(T'_r(t) - h) + D(T'_r(t) - c_h) \right]

    The context :math:`c_t` aggregates the messages :math:`T_{r'}(h')` of the
    training edges :math:`(h', r', t)` into the tail. The context :math:`c_h`
    aggregates the messages :math:`T'_{r'}(t')` of the training edges
    :math:`(h, r', t')` out of the head. The weights are the softmax of
    :math:`\langle e_v, m \rangle / \sqrt{D}` over the messages :math:`m` of a
    node :math:`v`.

    :meth:`prepare`, which a :class:`~pyg_mmkgc.training.Trainer` calls,
    receives the training edges. Training leaves out the edges of the current
    batch, while evaluation uses all training edges. Each node also receives
    the message of a dummy edge, so that nodes without edges have a context. In
    the original code, the dummy edge has a dummy entity and a dummy relation.
    Here, its message is one learned vector per direction. The original code
    starts from a trained OTE. To do so here, call
    :obj:`load_state_dict(state, strict=False)` with the state of an OTE.

    Args:
        *args: Arguments of :class:`~pyg_mmkgc.nn.OTE`.
        **kwargs (optional): Additional arguments of
            :class:`~pyg_mmkgc.nn.OTE`.

    Raises:
        ModelError: If the model is trained before :meth:`prepare` was called.
    """
    edge_index: Tensor  # The training graph, [2, E].
    edge_type: Tensor  # [E]

    def __init__(self, num_nodes: int, num_relations: int,
                 hidden_channels: int, **kwargs: Any) -> None:
        super().__init__(num_nodes, num_relations, hidden_channels, **kwargs)
        self.dummy = Parameter(torch.empty(2, hidden_channels))
        self.register_buffer('edge_index', torch.empty(2, 0).long())
        self.register_buffer('edge_type', torch.empty(0).long())
        self._own: Optional[Tensor] = None  # Edges of the batch, [E].
        self.reset_parameters()

    def reset_parameters(self) -> None:
        super().reset_parameters()
        if hasattr(self, 'dummy'):  # Not yet set in OTE.
            torch.nn.init.uniform_(self.dummy, -0.01, 0.01)

    def prepare(self, edge_index: Tensor, edge_type: Tensor) -> None:
        device = self.dummy.device
        self.edge_index = edge_index.to(device)
        self.edge_type = edge_type.to(device)
        self._own = None

    def before_step(self, head_index: Tensor, rel_type: Tensor,
                    tail_index: Tensor) -> None:
        if self.edge_type.numel() == 0:
            raise ModelError('Expected GCOTE to receive the training triples '
                             'before training (got none). Pass them to '
                             "'prepare(edge_index, edge_type)' first.")
        # The edge of a positive would reveal its answer to the context.
        head, tail = on_host(self.edge_index)
        self._own = torch.isin(
            self._triple(head, on_host(self.edge_type), tail),
            self._triple(*map(on_host, (head_index, rel_type, tail_index))))

    def after_step(self) -> None:
        self._own = None  # Samplers may encode before the next step.

    def _triple(self, head: Tensor, rel: Tensor, tail: Tensor) -> Tensor:
        return (head * self.num_relations + rel) * self.num_nodes + tail

    def embed(self, index: Tensor) -> dict[str, Tensor]:
        node, inverse = distinct_values(index)
        rel, (head, tail) = on_host(self.edge_type), on_host(self.edge_index)
        if self.training and self._own is not None:
            keep = ~self._own
            head, rel, tail = head[keep], rel[keep], tail[keep]
        return {'structure': self.node_emb(index),
                'outgoing': self.context(node, head, rel, tail, 0)[inverse],
                'incoming': self.context(node, tail, rel, head, 1)[inverse]}

    def fuse(self, views: dict[str, Tensor]) -> Tensor:
        return side_by_side(*(views[name] for name in (
            'structure', 'outgoing', 'incoming')))

    def sides(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        entity, outgoing, incoming = x.chunk(3, dim=-1)
        return [(entity, entity), (outgoing, incoming)]

    def context(self, node: Tensor, center: Tensor, rel: Tensor,
                other: Tensor, direction: int) -> Tensor:
        r"""Returns the contexts :obj:`[U, D]` of distinct nodes :obj:`[U]`
        from edges :obj:`[E]` on the host that leave (0) or enter (1) their
        centers.
        """
        ids, every = on_host(node), torch.arange(node.numel())
        place = torch.full((self.num_nodes, ), -1)
        place[ids] = every
        near = (place[center] >= 0).nonzero().view(-1)
        # A node sends the same message along all of its edges of a relation.
        pair, which = (rel[near] * self.num_nodes + other[near]).unique(
            return_inverse=True)
        source, kind, which, group = (
            to_device(x, node.device) for x in (
                pair % self.num_nodes, pair // self.num_nodes, which,
                torch.cat([place[center[near]], every])))
        message = torch.cat([
            self.messages(source, kind, direction)[which],
            self.dummy[direction].expand(node.numel(), -1)])
        logit = (self.node_emb(node)[group] * message).sum(dim=-1)
        weight = softmax(logit / math.sqrt(self.hidden_channels), group,
                         num_nodes=node.numel())
        return scatter(weight.unsqueeze(-1) * message, group, dim=0,
                       dim_size=node.numel(), reduce='sum')

    def messages(self, node: Tensor, rel_type: Tensor,
                 direction: int) -> Tensor:
        r"""Returns the messages :math:`T_r(x)` (1) or :math:`T'_r(x)` (0),
        :obj:`[P, D]`, of nodes :obj:`[P]` along relations :obj:`[P]`.
        """
        turn, scale = self.relation(rel_type)
        x = self.node_emb(node)
        return self.turn(x * scale if direction else x / scale, turn,
                         back=not direction)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str,
                              *args: Any) -> None:
        # The state contains a graph, whose size may differ from the current
        # one.
        for name in ('edge_index', 'edge_type'):
            if prefix + name in state_dict:
                setattr(self, name, torch.empty_like(
                    state_dict[prefix + name], device=self.dummy.device))
        self._own = None
        super()._load_from_state_dict(state_dict, prefix, *args)
