from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple, Optional

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.nn.kge import KGEModel

from pyg_mmkgc.data.index import TripleIndex
from pyg_mmkgc.evaluation.closed_form import closed_form
from pyg_mmkgc.nn.adversarial import Entities
from pyg_mmkgc.nn.fast_paths import FastPaths
from pyg_mmkgc.nn.kernel import candidate_distance, candidate_product
from pyg_mmkgc.nn.kge import MMKGEModel
from pyg_mmkgc.nn.loss import AllNodesLoss
from pyg_mmkgc.nn.straight_through import straight_through
from pyg_mmkgc.sampler import Negatives


class Encoded(NamedTuple):
    r"""The distinct nodes of a batch, embedded and fused once."""
    views: dict[str, Tensor]  # Each [U, C].
    table: Tensor  # [U, C]
    head: Tensor  # Rows of the table, [B].
    tail: Tensor  # [B]
    negative: Optional[Tensor]  # [B, K]
    candidates: Optional[Tensor] = None  # Those of a choice, [M].

    def ends(self, x: Tensor) -> tuple[Tensor, Tensor]:
        r"""The rows of heads and those of tails, :obj:`[B, C]`, of a table
        :obj:`[U, C]`.
        """
        # Its backward pass is faster than that of indexing, and makes only
        # one gradient of the table.
        both = F.embedding(torch.cat([self.head, self.tail]), x)
        head, tail = both.chunk(2)
        return head, tail

    def entities(self, without: Collection[str] = (),
                 ends: Optional[tuple[Tensor, Tensor]] = None
                 ) -> tuple[Entities, Entities]:
        r"""The views, but some, and the representations of heads and of
        tails; :obj:`ends` are the latter, where they have been looked up.
        """
        views = {name: self.ends(x) for name, x in self.views.items()
                 if name not in without}
        joint = ends or self.ends(self.table)
        head, tail = (Entities({name: x[i] for name, x in views.items()},
                               joint[i]) for i in (0, 1))
        return head, tail


@dataclass
class Batch:
    r"""The positives :obj:`[B]` of a step, with their negatives.

    Args:
        head_index (torch.Tensor): The heads :obj:`[B]`.
        rel_type (torch.Tensor): The relations :obj:`[B]`.
        tail_index (torch.Tensor): The tails :obj:`[B]`.
        generator (torch.Generator): Where the noise of an adversary is from.
        negatives (Negatives, optional): The negatives :obj:`[B, K]`.
        index (TripleIndex, optional): The training triples, where the loss
            needs labels.
        weight (torch.Tensor, optional): The weights of the positives in the
            loss, :obj:`[B]`.
        encoded (Encoded, optional): What :meth:`encode` keeps for the step.
        ends (tuple, optional): The representations :obj:`[B, C]` of heads and
            of tails, likewise.
        pos (torch.Tensor, optional): The scores of the positives, likewise.
        neg (torch.Tensor, optional): Those of the negatives, :obj:`[B, K]`.
    """
    head_index: Tensor
    rel_type: Tensor
    tail_index: Tensor
    generator: torch.Generator
    negatives: Optional[Negatives] = None
    index: Optional[TripleIndex] = None
    weight: Optional[Tensor] = None
    encoded: Optional[Encoded] = None
    ends: Optional[tuple[Tensor, Tensor]] = None
    pos: Optional[Tensor] = None
    neg: Optional[Tensor] = None

    def encode(self, model: MMKGEModel) -> Encoded:
        r"""Embeds and fuses the distinct nodes of the batch."""
        index = [self.head_index, self.tail_index]
        if self.negatives is not None:
            index.append(self.negatives.node)
            if self.negatives.choice is not None:
                index.append(self.negatives.choice.candidates)
        nodes, (head, tail, *more) = distinct(model.num_nodes, index)
        views = model.embed(nodes)
        return Encoded(views, model.fuse(views), head, tail,
                       more[0] if more else None, *more[1:])


def distinct(num_nodes: int,
             index: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    r"""The distinct nodes :obj:`[U]` among ids of any shapes, in order, and
    the ids as places in them.
    """
    # A table of flags finds them without sorting.
    used = torch.zeros(num_nodes, dtype=torch.bool, device=index[0].device)
    for ids in index:
        used[ids] = True
    place = used.cumsum(0) - 1
    return used.nonzero().view(-1), [place[ids] for ids in index]


def completion_loss(model: KGEModel, loss: torch.nn.Module,
                    batch: Batch) -> Tensor:
    r""":math:`\mathcal{L}_{kgc}` of a batch: :obj:`loss` of the scores of all
    nodes, summed over the model's experts, where it is an
    :class:`~pyg_mmkgc.nn.AllNodesLoss`; the model's own loss, where the batch
    has no negatives; else :obj:`loss` of the scores of positives :obj:`[B]`
    and negatives :obj:`[B, K]`. Of the last and the first, a model's
    regularization is part.
    """
    head, rel, tail = batch.head_index, batch.rel_type, batch.tail_index
    if not isinstance(loss, AllNodesLoss) and batch.negatives is None:
        return model.loss(head, rel, tail)
    if not isinstance(model, MMKGEModel):
        _score(model, batch)
        return _loss(loss, batch)
    model.before_step(head, rel, tail)
    if isinstance(loss, AllNodesLoss):
        nodes = torch.arange(model.num_nodes, device=head.device)
        views = model.embed(nodes)
        found = Encoded(views, model.fuse(views), head, tail, None)
        out = torch.stack([_all_nodes_loss(expert, loss, batch, table)
                           for expert, table in model.experts(found.table)
                           ]).sum()
    else:
        found = batch.encode(model)
        batch.ends = rows = found.ends(found.table)
        batch.pos = model.score(rows[0], rel, rows[1])
        batch.neg = _negative_scores(model, batch, found, *rows)
        out = _loss(loss, batch)
    batch.encoded = found
    extra = model.regularization(found.views, found.table, found.head, rel,
                                 found.tail)
    return out if extra is None else out + extra


def _score(model: KGEModel, batch: Batch) -> None:
    r"""Scores a batch by a model that is none of this library."""
    assert batch.negatives is not None
    head, rel, tail = batch.head_index, batch.rel_type, batch.tail_index
    node, side = batch.negatives[:2]
    form = closed_form(model)
    if form is None or form.p not in (None, 1, 2):
        corrupted = (torch.where(side, node, head.unsqueeze(-1)),
                     rel.unsqueeze(-1).expand_as(node),
                     torch.where(side, tail.unsqueeze(-1), node))
        batch.neg = model(*(x.reshape(-1) for x in corrupted)).view_as(node)
        batch.pos = model(head, rel, tail)
        return
    nodes, (head, tail, node) = distinct(model.num_nodes, [head, tail, node])
    table = form.rows(nodes)
    heads, tails = F.embedding(head, table), F.embedding(tail, table)
    query = form.query(heads, rel, 'tail')
    args = (query, form.query(tails, rel, 'head'), table, node, side)
    batch.pos = form.score(query, tails)
    if form.p is None:
        batch.neg = candidate_product(*args)
    else:
        group = 1 if form.p == 1 else table.size(1)
        batch.neg = form.margin - candidate_distance(*args, group)


def _loss(loss: torch.nn.Module, batch: Batch) -> Tensor:
    assert batch.negatives is not None and batch.neg is not None
    weight = [] if batch.weight is None else [batch.weight]
    out = loss(batch.pos, batch.neg, *weight)
    choice = batch.negatives.choice
    return out if choice is None else out + choice.penalty(batch.neg)


def _all_nodes_loss(model: FastPaths, loss: AllNodesLoss, batch: Batch,
                    table: Tensor) -> Tensor:
    head, rel, tail = batch.head_index, batch.rel_type, batch.tail_index
    labels: list[Optional[Tensor]] = [None, None]
    if loss.needs_labels:
        assert batch.index is not None
        labels = [_labels(table.size(0), *known) for known in (
            (head, batch.index.tails(head, rel)),
            (tail, batch.index.heads(rel, tail)))]
    # Half of each side, so that the loss of a triple counts once.
    return 0.5 * (
        loss(model.score_tails(head, rel, table=table), tail, labels[0]) +
        loss(model.score_heads(rel, tail, table=table), head, labels[1]))


def _labels(num_nodes: int, query: Tensor,
            known: tuple[Tensor, Tensor]) -> Tensor:
    out = torch.zeros(query.numel(), num_nodes, device=query.device)
    out[known] = 1.0
    return out


def _negative_scores(model: MMKGEModel, batch: Batch, found: Encoded,
                     head: Tensor, tail: Tensor) -> Tensor:
    assert batch.negatives is not None and found.negative is not None
    _, side, kept, choice = batch.negatives
    if not kept and choice is None:
        return model.score_candidates(found.table, head, batch.rel_type, tail,
                                      found.negative, side)
    if choice is not None:
        joint = straight_through(
            found.table[found.negative], choice.logits, choice.picks,
            found.table[found.candidates])
    elif kept:
        own = torch.where(side, found.head[:, None], found.tail[:, None])
        rows = {name: found.negative if name not in kept else
                torch.where(kept[name], own, found.negative)
                for name in found.views}
        joint = model.fuse({name: found.views[name][row]
                            for name, row in rows.items()})
    side = side.unsqueeze(-1)
    return model.score(torch.where(side, joint, head[:, None]),
                       batch.rel_type[:, None],
                       torch.where(side, tail[:, None], joint))
