r"""Abstract base classes of models whose score is defined for tails only."""
from __future__ import annotations

import torch
from torch import Tensor

from pyg_mmkgc.kernels.host import on_host, to_device
from pyg_mmkgc.nn.encoded import Encoded, encode
from pyg_mmkgc.nn.functional import inner_products
from pyg_mmkgc.nn.kge.base import MMKGEModel, TripleModel
from pyg_mmkgc.typing import Side


class ReciprocalForms(TripleModel):
    r"""A score that compares the query of a head with the key of a tail.

    .. math::
        s(h, r, t) = \langle q(\mathbf{h}, r), k(\mathbf{t}) \rangle

    Unlike in :class:`~pyg_mmkgc.nn.kge.query.QueryForms`, the query is not
    linear in the head, so no query of a tail yields the same score. Heads are
    ranked as the tails of reciprocal relations.
    """
    reciprocal = True

    def query(self, x: Tensor, rel_type: Tensor) -> Tensor:
        r"""Returns the queries :obj:`[*, C_q]` of heads with representations
        :obj:`[*, C]` and relations :obj:`[*]`, which broadcast.
        """
        raise NotImplementedError

    def key(self, x: Tensor) -> Tensor:
        r"""Returns the keys :obj:`[*, C_q]` of tails with representations
        :obj:`[*, C]`.
        """
        return x

    def score(self, head: Tensor, rel_type: Tensor, tail: Tensor) -> Tensor:
        return (self.query(head, rel_type) * self.key(tail)).sum(dim=-1)

    def node_scores(self, x: Tensor, rel_type: Tensor, side: Side,
                    table: Tensor) -> Tensor:
        if side == 'head':
            return super().node_scores(x, rel_type, side, table)
        return inner_products(self.query(x, rel_type), self.key(table))


class ReciprocalModel(MMKGEModel):
    r"""An abstract base class of models with reciprocal relations whose
    :obj:`loss` corrupts tails only.
    """
    reciprocal = True

    def encode_and_loss(self, head_index: Tensor, rel_type: Tensor,
                        tail_index: Tensor) -> tuple[Encoded, Tensor]:
        device = head_index.device
        head, rel, tail = map(on_host, (head_index, rel_type, tail_index))
        pool = torch.randint(self.num_nodes, (self.num_negatives, ))
        head_index, rel_type, tail_index, pool = (
            to_device(x, device) for x in (
                torch.cat([head, tail]),
                torch.cat([rel, self.inverse(rel)]),
                torch.cat([tail, head]), pool))
        self.before_step(head_index, rel_type, tail_index)
        encoded = encode(self, head_index, tail_index, pool)
        losses = []
        for expert, table in self.experts(encoded.table):
            head, tail = encoded.ends(table)
            losses.append(self.criterion(
                expert.score(head, rel_type, tail),
                expert.node_scores(head, rel_type, 'tail',
                                   table[encoded.others[0]])))
        loss = torch.stack(losses).sum()
        extra = self.regularization(encoded, rel_type)
        return encoded, loss if extra is None else loss + extra
