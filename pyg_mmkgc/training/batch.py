from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, Optional

import torch
from torch import Tensor
from torch_geometric.nn.kge import KGEModel

from pyg_mmkgc.data.index import TripleIndex
from pyg_mmkgc.kernels.host import on_host, to_device
from pyg_mmkgc.nn.encoded import Encoded, Scored, encode
from pyg_mmkgc.nn.kge.base import TripleModel
from pyg_mmkgc.nn.kge.pyg import triple_model
from pyg_mmkgc.nn.loss import AllNodesLoss
from pyg_mmkgc.sampler import Negatives
from pyg_mmkgc.sampler.straight_through import straight_through


@dataclass(frozen=True)
class Batch:
    r"""The positives :obj:`[B]` of a step, with their negatives.

    Args:
        head_index (torch.Tensor): The heads :obj:`[B]`.
        rel_type (torch.Tensor): The relations :obj:`[B]`.
        tail_index (torch.Tensor): The tails :obj:`[B]`.
        generator (torch.Generator): The generator of an adversary's noise.
        negatives (Negatives, optional): The negatives :obj:`[B, K]`.
            (default: :obj:`None`)
        index (TripleIndex, optional): The training triples, if the loss needs
            labels. (default: :obj:`None`)
        weight (torch.Tensor, optional): The weights of the positives in the
            loss, :obj:`[B]`. (default: :obj:`None`)
    """
    head_index: Tensor
    rel_type: Tensor
    tail_index: Tensor
    generator: torch.Generator
    negatives: Optional[Negatives] = None
    index: Optional[TripleIndex] = None
    weight: Optional[Tensor] = None


    def to(self, device: torch.device) -> Batch:
        r"""Returns the batch on a device, without waiting for the copy."""
        negatives = self.negatives
        return replace(
            self, head_index=to_device(self.head_index, device),
            rel_type=to_device(self.rel_type, device),
            tail_index=to_device(self.tail_index, device),
            negatives=None if negatives is None else negatives.to(device),
            weight=None if self.weight is None else to_device(self.weight,
                                                              device))


class Completion(NamedTuple):
    r"""The loss of a batch, and the results that it was computed from."""
    loss: Tensor
    #: The encoded nodes of the batch, unless the model computed its own loss.
    encoded: Optional[Encoded] = None
    #: The scores of positives and negatives, if the batch has negatives.
    scored: Optional[Scored] = None


def complete(model: KGEModel, loss: torch.nn.Module,
             batch: Batch) -> Completion:
    r"""Computes the loss :math:`\mathcal{L}_{kgc}` of a batch, including the
    regularization of the model.

    * An :class:`~pyg_mmkgc.nn.AllNodesLoss` takes the scores of all nodes, and
      is summed over the experts of the model.
    * Without negatives, any other :obj:`loss` is replaced by the model's own
      loss.
    * With negatives, :obj:`loss` takes the scores of positives :obj:`[B]` and
      negatives :obj:`[B, K]`.
    """
    head, rel, tail = batch.head_index, batch.rel_type, batch.tail_index
    if not isinstance(loss, AllNodesLoss) and batch.negatives is None:
        return Completion(model.loss(head, rel, tail))
    form, scored = triple_model(model), None
    if form is None:
        scored = _scores_by_forward(model, batch)
        return Completion(_loss(loss, batch, scored), None, scored)
    form.before_step(head, rel, tail)
    if isinstance(loss, AllNodesLoss):
        nodes = to_device(torch.arange(form.num_nodes), head.device)
        views = form.embed(nodes)
        encoded = Encoded(nodes, views, form.fuse(views), head, tail)
        out = torch.stack([_all_nodes_loss(expert, loss, batch, table)
                           for expert, table in form.experts(encoded.table)
                           ]).sum()
    else:
        encoded = encode_batch(form, batch)
        scored = _score(form, batch, encoded)
        out = _loss(loss, batch, scored)
    extra = form.regularization(encoded, rel)
    return Completion(out if extra is None else out + extra, encoded, scored)


def encode_batch(model: TripleModel, batch: Batch) -> Encoded:
    r"""Embeds and fuses the distinct nodes of a batch. The :obj:`others` of
    the result hold the negatives, and the candidates of a learned sampler.
    """
    index, negatives = [batch.head_index, batch.tail_index], batch.negatives
    if negatives is None:
        return encode(model, *index)
    if negatives.choice is None:
        return encode(model, *index, negatives.node)
    # The negatives are among the candidates, and chosen on the device.
    encoded = encode(model, *index, negatives.choice.candidates)
    row = encoded.others[0]
    return encoded._replace(others=(row[negatives.choice.picks], row))


def _loss(loss: torch.nn.Module, batch: Batch, scored: Scored) -> Tensor:
    assert batch.negatives is not None
    weight = [] if batch.weight is None else [batch.weight]
    out = loss(scored.pos, scored.neg, *weight)
    choice = batch.negatives.choice
    return out if choice is None else out + choice.penalty(scored.neg)


def _scores_by_forward(model: KGEModel, batch: Batch) -> Scored:
    r"""Scores a batch with a model that only provides :meth:`forward`."""
    assert batch.negatives is not None
    head, rel, tail = batch.head_index, batch.rel_type, batch.tail_index
    node, side = batch.negatives[:2]
    corrupted = (torch.where(side, node, head.unsqueeze(-1)),
                 rel.unsqueeze(-1).expand_as(node),
                 torch.where(side, tail.unsqueeze(-1), node))
    neg = model(*(x.reshape(-1) for x in corrupted)).view_as(node)
    return Scored(head, tail, model(head, rel, tail), neg)


def _all_nodes_loss(model: TripleModel, loss: AllNodesLoss, batch: Batch,
                    table: Tensor) -> Tensor:
    head, rel, tail = batch.head_index, batch.rel_type, batch.tail_index
    labels: list[Optional[Tensor]] = [None, None]
    if loss.needs_labels:
        assert batch.index is not None
        ids = [on_host(x) for x in (head, rel, tail)]
        labels = [_labels(table, *known) for known in (
            (head, batch.index.tails(*ids[:2])),
            (tail, batch.index.heads(*ids[1:])))]
    # Each side counts half, so every triple counts once.
    return 0.5 * (
        loss(model.score_tails(head, rel, table=table), tail, labels[0]) +
        loss(model.score_heads(rel, tail, table=table), head, labels[1]))


def _labels(table: Tensor, query: Tensor,
            known: tuple[Tensor, Tensor]) -> Tensor:
    out = torch.zeros(query.numel(), table.size(0), device=query.device)
    out[tuple(to_device(ids, query.device) for ids in known)] = 1.0
    return out


def _score(model: TripleModel, batch: Batch, encoded: Encoded) -> Scored:
    assert batch.negatives is not None
    _, side, kept, choice = batch.negatives
    rel, row = batch.rel_type, encoded.others[0]
    if not kept and choice is None:
        return model.score_step(encoded, rel, row, side)
    head, tail = encoded.ends(encoded.table)
    if choice is not None:
        joint = straight_through(
            encoded.table[row], choice.logits, choice.picks,
            encoded.table[encoded.others[1]])
    elif kept:
        own = torch.where(side, encoded.head[:, None], encoded.tail[:, None])
        rows = {name: row if name not in kept else
                torch.where(kept[name], own, row) for name in encoded.views}
        joint = model.fuse({name: encoded.views[name][place]
                            for name, place in rows.items()})
    side = side.unsqueeze(-1)
    return Scored(head, tail, model.score(head, rel, tail), model.score(
        torch.where(side, joint, head[:, None]), rel[:, None],
        torch.where(side, tail[:, None], joint)))
