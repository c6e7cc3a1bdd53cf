from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Optional

import torch
from torch import Tensor
from torch_geometric.nn.kge import KGEModel

from pyg_mmkgc.nn.adversarial import Entities
from pyg_mmkgc.nn.kge import MMKGEModel
from pyg_mmkgc.sampler import Negatives


class Encoded(NamedTuple):
    r"""The distinct nodes of a batch, embedded and fused once."""
    views: dict[str, Tensor]  # Each [U, C].
    table: Tensor  # [U, C]
    head: Tensor  # Rows of the table, [B].
    tail: Tensor  # [B]
    negative: Optional[Tensor]  # [B, K]

    def entities(self, index: Tensor) -> Entities:
        r"""The views and the representation of rows of the table."""
        return Entities({name: x[index] for name, x in self.views.items()},
                        self.table[index])


@dataclass
class Batch:
    r"""The positives :obj:`[B]` of a step, with their negatives.

    Args:
        head_index (torch.Tensor): The heads :obj:`[B]`.
        rel_type (torch.Tensor): The relations :obj:`[B]`.
        tail_index (torch.Tensor): The tails :obj:`[B]`.
        generator (torch.Generator): Where the noise of an adversary is from.
        negatives (Negatives, optional): The negatives :obj:`[B, K]`.
        encoded (Encoded, optional): What :meth:`encode` keeps for the step.
        pos (torch.Tensor, optional): The scores of the positives, likewise.
    """
    head_index: Tensor
    rel_type: Tensor
    tail_index: Tensor
    generator: torch.Generator
    negatives: Optional[Negatives] = None
    encoded: Optional[Encoded] = None
    pos: Optional[Tensor] = None

    def encode(self, model: MMKGEModel) -> Encoded:
        r"""Embeds and fuses the distinct nodes of the batch."""
        index = [self.head_index, self.tail_index]
        if self.negatives is not None:
            index.append(self.negatives.node)
        # A table of flags finds the distinct ids without sorting them.
        used = torch.zeros(model.num_nodes, dtype=torch.bool,
                           device=self.head_index.device)
        for ids in index:
            used[ids] = True
        place = used.cumsum(0) - 1
        views = model.embed(used.nonzero().view(-1))
        rows = [place[ids] for ids in index]
        return Encoded(views, model.fuse(views), rows[0], rows[1],
                       rows[2] if self.negatives is not None else None)


def completion_loss(model: KGEModel, loss: torch.nn.Module,
                    batch: Batch) -> Tensor:
    r""":math:`\mathcal{L}_{kgc}` of a batch: the model's own loss where the
    batch has no negatives, else :obj:`loss` of the scores of positives
    :obj:`[B]` and negatives :obj:`[B, K]`.
    """
    head, rel, tail = batch.head_index, batch.rel_type, batch.tail_index
    if batch.negatives is None:
        return model.loss(head, rel, tail)
    if not isinstance(model, MMKGEModel):
        node, side = batch.negatives
        corrupted = (torch.where(side, node, head.unsqueeze(-1)),
                     rel.unsqueeze(-1).expand_as(node),
                     torch.where(side, tail.unsqueeze(-1), node))
        neg = model(*(x.reshape(-1) for x in corrupted)).view_as(node)
        return loss(model(head, rel, tail), neg)
    batch.encoded = found = batch.encode(model)
    assert found.negative is not None
    heads, tails = found.table[found.head], found.table[found.tail]
    batch.pos = model.score(heads, rel, tails)
    neg = model.score_candidates(found.table, heads, rel, tails,
                                 found.negative,
                                 batch.negatives.corrupt_head)
    return loss(batch.pos, neg)
