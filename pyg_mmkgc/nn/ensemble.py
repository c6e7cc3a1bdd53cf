from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Optional

import torch
from torch import Tensor
from torch.nn import Module, ModuleList

from pyg_mmkgc.errors import ModelError, check_whole
from pyg_mmkgc.io.pretrained import Pretrained


class Ensemble(Pretrained):
    r"""A weighted sum of the log-probabilities of several models, which is the
    logarithmic opinion pool of the `"Combining Probability Distributions: A
    Critique and an Annotated Bibliography"
    <https://doi.org/10.1214/ss/1177013825>`_ paper. The models may have
    embeddings of nodes, pass messages along paths, or be models of :pyg:`PyG`.

    .. math::
        s(h, r, t) = \sum_m w_{r,m} \log \frac{\exp s_m(h, r, t)}
        {\sum_v \exp s_m(h, r, v)}

    Heads are scored in the same way, among all heads. The weights are
    non-negative and initially equal. :func:`~pyg_mmkgc.training.fit_weights`
    learns them on validation triples.

    .. code-block:: python

        model = Ensemble([adamf, ULTRA.from_pretrained('ultra_3g')],
                         kg.num_relations)
        fit_weights(model, kg)
        print(evaluate(model, kg))

    Args:
        members (list[torch.nn.Module]): The models, at least one, none of
            which is an ensemble.
        num_relations (int): The number of relations :obj:`R`.
        names (list[str], optional): The name of each member.
            (default: :obj:`None`, the names of their classes)

    Raises:
        ModelError: If there are no members, a member is an ensemble, or the
            names do not fit the members.
    """
    weight: Tensor  # [R, M]

    def __init__(self, members: Sequence[Module], num_relations: int,
                 names: Optional[list[str]] = None) -> None:
        check_whole(num_relations=num_relations)
        super().__init__()
        members = list(members)
        if not members or not all(
                isinstance(x, Module) and not isinstance(x, Ensemble)
                for x in members):
            raise ModelError("Expected 'members' to be one or more models, "
                             'none of which is an ensemble (got '
                             f'{[type(x).__name__ for x in members]})')
        self.names = _distinct(members) if names is None else list(names)
        if len(set(self.names)) < len(self.names) or (
                len(self.names) != len(members)):
            raise ModelError(f"Expected 'names' to hold {len(members)} "
                             f'different names (got {self.names})')
        self.members = ModuleList(members)
        self.num_relations = num_relations
        self.register_buffer('weight', torch.empty(num_relations,
                                                   len(members)))
        self.reset_parameters()
        for kind in ('node_names', 'relation_names', 'node_ids'):
            setattr(self, kind, next((
                names for names in (getattr(x, kind, None) for x in members)
                if names is not None), None))

    def reset_parameters(self) -> None:
        r"""Makes all weights equal. The members are not modified."""
        self.weight.fill_(1 / len(self.members))

    @property
    def num_nodes(self) -> Optional[int]:
        r"""The number of nodes, or :obj:`None` if all members apply to any
        graph and are not attached to one.
        """
        sizes = (getattr(x, 'num_nodes', None) for x in self.members)
        return next((size for size in sizes if size is not None), None)

    def config(self) -> dict[str, Any]:
        return {'num_relations': self.num_relations, 'names': self.names}

    def attach(self, data: Any) -> Ensemble:
        r"""Attaches all members that apply to any graph to a
        :class:`~pyg_mmkgc.data.KnowledgeGraph`.
        """
        self.attached(data)  # If a member cannot be, none is.
        for member in self.members:
            attach: Any = getattr(member, 'attach', None)
            if attach is not None:
                attach(data)
        return self

    def attached(self, data: Any) -> Ensemble:
        r"""Returns an ensemble with the same weights whose members are
        attached to a graph.
        """
        members: list[Any] = list(self.members)
        out = copy.copy(self)
        out._modules = dict(self._modules)
        out.members = ModuleList(x.attached(data) if hasattr(x, 'attached')
                                 else x for x in members)
        return out

    def combine(self, scores: Sequence[Tensor], rel_type: Tensor) -> Tensor:
        r"""Returns the scores :obj:`[Q, N]` of the ensemble.

        Args:
            scores (list[torch.Tensor]): The scores :obj:`[Q, N]` of each
                member for all nodes on one side of the queries.
            rel_type (torch.Tensor): The relations of the queries, :obj:`[Q]`.
        """
        out = None
        for score, weight in zip(scores, self.weight[rel_type].t(),
                                 strict=True):
            part = score.log_softmax(dim=-1) * weight.view(-1, 1)
            out = part if out is None else out.add_(part)
        assert out is not None
        return out

    def extra_repr(self) -> str:
        return f"{', '.join(self.names)}, num_relations={self.num_relations}"


def _distinct(members: Sequence[Module]) -> list[str]:
    out: list[str] = []
    for member in members:
        name = stem = type(member).__name__
        number = 1
        while name in out:
            number += 1
            name = f'{stem} {number}'
        out.append(name)
    return out
