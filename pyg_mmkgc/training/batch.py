from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, Optional

import torch
from torch import Tensor
from torch_geometric.nn.kge import KGEModel

from pyg_mmkgc.data.index import TripleIndex
from pyg_mmkgc.distributed.group import stack_ranks
from pyg_mmkgc.distributed.table import positions
from pyg_mmkgc.kernels.host import known_on_host, on_host, to_device
from pyg_mmkgc.nn.encoded import Encoded, Scored, encode
from pyg_mmkgc.nn.kge.base import TripleModel
from pyg_mmkgc.nn.kge.pyg import triple_model
from pyg_mmkgc.nn.loss import AllNodesLoss
from pyg_mmkgc.nn.share import Share
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
        share (Share, optional): The share of these positives in the batch of
            several processes. (default: :obj:`None`)
        whole (Batch, optional): The batch of all processes.
            (default: :obj:`None`)
        nodes (torch.Tensor, optional): The sorted nodes that this process
            scores for an :class:`~pyg_mmkgc.nn.AllNodesLoss`, if other
            processes score the other nodes. (default: :obj:`None`)
    """
    head_index: Tensor
    rel_type: Tensor
    tail_index: Tensor
    generator: torch.Generator
    negatives: Optional[Negatives] = None
    index: Optional[TripleIndex] = None
    weight: Optional[Tensor] = None
    share: Optional[Share] = None
    whole: Optional[Batch] = None
    nodes: Optional[Tensor] = None

    def part(self, share: Share) -> Batch:
        r"""Returns a share of the batch."""
        def rows(x: Tensor) -> Tensor:
            some = slice(share.first, share.first + share.size)
            # Ids that are known on the host remain known.
            return (to_device(on_host(x)[some], x.device) if known_on_host(x)
                    else x[some])

        negatives = self.negatives
        if negatives is not None:
            node, side, kept, choice = negatives
            negatives = Negatives(rows(node), rows(side), kept and {
                name: rows(mask) for name, mask in kept.items()}, choice)
        return replace(
            self, head_index=rows(self.head_index),
            rel_type=rows(self.rel_type), tail_index=rows(self.tail_index),
            negatives=negatives, share=share, whole=self,
            weight=None if self.weight is None else rows(self.weight))

    def scaled(self, loss: Tensor) -> Tensor:
        r"""Returns the contribution of a mean over these positives to the mean
        over the batch of all processes.
        """
        return loss if self.share is None else loss * self.share.factor

    def scaled_by_weight(self, loss: Tensor) -> Tensor:
        r"""Returns the contribution of a mean over these positives that is
        weighted by :obj:`weight`.
        """
        if self.weight is None or self.whole is None or self.share is None or (
                self.share.size == self.share.total):
            return self.scaled(loss)
        assert self.whole.weight is not None
        if self.share.factor == 0:
            return self.scaled(loss)
        # Weights are in single precision, but the loss may be in double.
        share = self.weight.sum().double() / self.whole.weight.sum().double()
        return loss * share.to(loss.dtype)

    def to(self, device: torch.device) -> Batch:
        r"""Returns the batch on a device, without waiting for the copy."""
        negatives = self.negatives
        return replace(
            self, head_index=to_device(self.head_index, device),
            rel_type=to_device(self.rel_type, device),
            tail_index=to_device(self.tail_index, device),
            negatives=None if negatives is None else negatives.to(device),
            weight=None if self.weight is None else to_device(self.weight,
                                                              device),
            whole=None if self.whole is None else self.whole.to(device),
            nodes=None if self.nodes is None else to_device(self.nodes,
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
    whole = batch if batch.whole is None else batch.whole
    positives = whole.head_index, whole.rel_type, whole.tail_index
    if not isinstance(loss, AllNodesLoss) and batch.negatives is None:
        return Completion(batch.scaled(model.loss(*positives)))
    form, scored = triple_model(model), None
    if form is None:
        scored = _scores_by_forward(model, batch)
        return Completion(_loss(loss, batch, scored), None, scored)
    form.before_step(*positives)
    if isinstance(loss, AllNodesLoss):
        nodes = torch.arange(form.num_nodes)
        if batch.nodes is not None:
            node, place = torch.cat([on_host(head), on_host(tail)]).unique(
                return_inverse=True)
            nodes = torch.cat([on_host(batch.nodes), node])
            head, tail = to_device(place + batch.nodes.numel(),
                                   head.device).chunk(2)
        nodes = to_device(nodes, rel.device)
        views = form.embed(nodes)
        encoded = Encoded(nodes, views, form.fuse(views), head, tail)
        out = torch.stack([
            _all_nodes_loss(expert, loss, batch, table)
            if batch.nodes is None else
            _part_of_nodes_loss(expert, loss, batch, batch.nodes, table, head,
                                tail, form.num_nodes)
            for expert, table in form.experts(encoded.table)]).sum()
    else:
        encoded = encode_batch(form, batch)
        scored = _score(form, batch, encoded)
        out = _loss(loss, batch, scored)
    extra = form.regularization(encoded, rel)
    return Completion(out if extra is None else out + batch.scaled(extra),
                      encoded, scored)


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
    out = batch.scaled_by_weight(out)
    choice = batch.negatives.choice
    return out if choice is None else out + batch.scaled(
        choice.penalty(scored.neg))


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
        labels = [_labels(table.size(0), *known) for known in (
            (head, batch.index.tails(*ids[:2])),
            (tail, batch.index.heads(*ids[1:])))]
    # Each side counts half, so every triple counts once.
    return batch.scaled(0.5 * (
        loss(model.score_tails(head, rel, table=table), tail, labels[0]) +
        loss(model.score_heads(rel, tail, table=table), head, labels[1])))


def _part_of_nodes_loss(model: TripleModel, loss: AllNodesLoss, batch: Batch,
                        nodes: Tensor, table: Tensor, head_row: Tensor,
                        tail_row: Tensor, num_nodes: int) -> Tensor:
    r"""The contribution of some nodes, which are the first rows of a table,
    to the loss on all nodes. The heads and tails are further rows.
    """
    rel, device = batch.rel_type, table.device
    nodes, head, kind, tail = (on_host(x) for x in (
        nodes, batch.head_index, rel, batch.tail_index))
    out = []
    for scores, target, ask in (
            (model.score_tails(head_row, rel, table=table), tail,
             lambda index: index.tails(head, kind)),
            (model.score_heads(rel, tail_row, table=table), head,
             lambda index: index.heads(kind, tail))):
        labels = None
        if loss.needs_labels:
            query, answer = ask(batch.index)
            answer = positions(nodes, answer)
            labels = _labels(nodes.numel(), rel, (
                query[answer >= 0], answer[answer >= 0]))
        out.append(loss.part(scores[:, :nodes.numel()],
                             to_device(positions(nodes, target), device),
                             labels, num_nodes, stack_ranks))
    return 0.5 * (out[0] + out[1])


def _labels(num_nodes: int, query: Tensor,
            known: tuple[Tensor, Tensor]) -> Tensor:
    out = torch.zeros(query.numel(), num_nodes, device=query.device)
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
