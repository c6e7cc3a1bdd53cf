r"""The intermediate results of a training step, which first encodes a batch
and then scores it.
"""
from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple, Optional

import torch
import torch.nn.functional as F
from torch import Tensor

from pyg_mmkgc.kernels.host import known_on_host, on_host, to_device

# The number of nodes per id of a step from which ids are sorted.
SORT = 16


class Entities(NamedTuple):
    r"""The views of entities and their representations, :obj:`[B, C]`."""
    views: dict[str, Tensor]
    joint: Tensor


class Encoded(NamedTuple):
    r"""The distinct nodes of a batch, embedded and fused once."""
    node: Tensor  # The ids of the nodes, see `distinct`, [U].
    views: dict[str, Tensor]  # Each [U, C].
    table: Tensor  # [U, C]
    head: Tensor  # Rows of the table, [B].
    tail: Tensor  # [B]
    others: tuple[Tensor, ...] = ()  # Rows of further ids, [*].

    def ends(self, x: Tensor) -> tuple[Tensor, Tensor]:
        r"""Looks up the rows of the heads and of the tails in a table
        :obj:`[U, C]`, each with shape :obj:`[B, C]`.
        """
        # An embedding lookup has a faster backward pass than indexing, and
        # one lookup allocates only one gradient of the table.
        head, tail = F.embedding(torch.cat([self.head, self.tail]),
                                 x).chunk(2)
        return head, tail

    def positives(self) -> Tensor:
        r"""Returns the distinct rows :obj:`[P]` of heads and tails in the
        table, in ascending order.
        """
        rows = torch.cat([on_host(self.head), on_host(self.tail)]).unique()
        return to_device(rows, self.head.device)

    def entities(self, scored: Optional[Scored] = None,
                 without: Collection[str] = ()) -> tuple[Entities, Entities]:
        r"""Returns the heads and the tails without the views in
        :obj:`without`. Their representations come from :obj:`scored` if it is
        given, and from the table otherwise.
        """
        views = {name: self.ends(x) for name, x in self.views.items()
                 if name not in without}
        joint = self.ends(self.table) if scored is None else scored[:2]
        head, tail = (Entities({name: x[i] for name, x in views.items()},
                               joint[i]) for i in (0, 1))
        return head, tail


class Scored(NamedTuple):
    r"""The scores of positives and of their negatives."""
    head: Tensor  # The representations of the heads, [B, C].
    tail: Tensor  # [B, C]
    pos: Tensor  # [B]
    neg: Tensor  # [B, K]


def encode(model: Any, *index: Tensor) -> Encoded:
    r"""Embeds and fuses the distinct nodes among heads :obj:`[B]`, tails
    :obj:`[B]` and further ids of any shape.
    """
    node, (head, tail, *others) = distinct(model.num_nodes, index)
    views = model.embed(node)
    return Encoded(node, views, model.fuse(views), head, tail, tuple(others))


def distinct(num_nodes: int, index: tuple[Tensor, ...]
             ) -> tuple[Tensor, list[Tensor]]:
    r"""Returns the sorted distinct nodes :obj:`[U]` among ids of any shape,
    and the position of each id among the distinct nodes.

    Ids that were chosen on a device, after the first two tensors, are not
    known on the host. They follow the distinct nodes as they are.
    """
    device, last = index[0].device, index[-1]
    if len(index) > 2 and not known_on_host(last) and all(
            map(known_on_host, index[:-1])):
        node, rows = distinct(num_nodes, index[:-1])
        row = torch.arange(node.numel(), node.numel() + last.numel(),
                           device=device)
        return torch.cat([node, last.flatten()]), [*rows, row.view_as(last)]
    index = tuple(map(on_host, index))
    # A table of flags is faster than sorting the ids, unless a graph has many
    # more nodes than a step has ids.
    sizes = [ids.numel() for ids in index]
    if num_nodes > SORT * sum(sizes):
        node, place = torch.cat([ids.reshape(-1) for ids in index]).unique(
            return_inverse=True)
        return to_device(node, device), [
            to_device(rows.view(ids.shape), device) for rows, ids in zip(
                place.split(sizes), index, strict=True)]
    used = torch.zeros(num_nodes, dtype=torch.bool)
    for ids in index:
        used[ids] = True
    place = used.cumsum(0) - 1
    return to_device(used.nonzero().view(-1), device), [
        to_device(place[ids], device) for ids in index]
