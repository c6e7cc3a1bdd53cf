r"""Conversion between ids and labels of nodes and relations."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.data.names import places
from pyg_mmkgc.errors import DataError, ModelError
from pyg_mmkgc.report import cut

F = TypeVar('F', bound=Callable[..., Any])

# An id, a label or an identifier, or several of them.
Ids = int | str | Sequence[int | str] | Tensor


def relation_is_rel_type(function: F) -> F:
    r"""Decorator that lets a function explain that its argument is called
    :obj:`rel_type`, as in :pyg:`PyG`, if it is called with :obj:`relation`, as
    on the command line.
    """
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if 'relation' in kwargs:
            raise ModelError("Expected the argument 'rel_type' (got "
                             f"'relation'). Call {function.__name__}(..., "
                             f"rel_type={kwargs['relation']!r:.60}).")
        return function(*args, **kwargs)

    return cast(F, call)


def node_ids(kg: KnowledgeGraph, ids: Ids) -> Tensor:
    r"""Returns the ids :obj:`[Q]` of nodes.

    Raises:
        DataError: If an id or label is not in the graph. The message lists
            the nearest labels.
    """
    return _resolve(ids, kg.get('node_names'), kg.num_nodes, 'node',
                    kg.get('node_ids'))


def relation_ids(kg: KnowledgeGraph, ids: Ids) -> Tensor:
    r"""Returns the ids :obj:`[Q]` of relations.

    Raises:
        DataError: If an id or label is not in the graph. The message lists
            the nearest labels.
    """
    return _resolve(ids, kg.get('relation_names'), kg.num_relations,
                    'relation')


def label_of(names: Sequence[str] | None, index: int) -> str:
    r"""Returns the label of an id, or the id as text without labels."""
    return str(index) if names is None else names[index]


def align(first: Tensor, second: Tensor, what: str) -> tuple[Tensor, Tensor]:
    r"""Repeats a single id to match the number of other ids.

    Args:
        first (torch.Tensor): Ids, :obj:`[Q]` or :obj:`[1]`.
        second (torch.Tensor): Ids, :obj:`[Q]` or :obj:`[1]`.
        what (str): A description of both for the error, such as
            :obj:`"heads as tails"`.
    """
    sizes = first.numel(), second.numel()
    if sizes[0] != sizes[1] and 1 not in sizes:
        raise DataError(f'Expected as many {what}, or a single one of either '
                        f'(got {sizes[0]} and {sizes[1]})')
    if 0 in sizes:
        raise DataError('Expected at least one query (got none)')
    first, second = torch.broadcast_tensors(first, second)
    return first.contiguous(), second.contiguous()


def _resolve(ids: Any, names: list[str] | None, size: int, kind: str,
             identifiers: list[str] | None = None) -> Tensor:
    if isinstance(ids, (Tensor, np.ndarray, np.generic)):
        ids = ids.tolist()
    ids = list(ids) if isinstance(ids, Iterable) and not isinstance(
        ids, str) else [ids]
    place: dict[str, int] = {}
    if any(isinstance(value, str) for value in ids):
        place = places(names, identifiers)
    out = []
    for value in ids:
        if isinstance(value, str):
            out.append(_find(value, place, names, kind))
        elif (isinstance(value, (int, np.integer))
              and not isinstance(value, bool) and 0 <= value < size):
            out.append(int(value))
        else:
            raise DataError(f'Expected a {kind} id in 0..{size - 1} or a '
                            f'label (got {value!r})')
    return torch.tensor(out, dtype=torch.long)


def _find(label: str, place: dict[str, int], names: list[str] | None,
          kind: str) -> int:
    if label in place:
        return place[label]
    if names is None and not place:
        raise DataError(f'Expected a {kind} id, since the graph has no {kind} '
                        f'labels (got the label {label!r})')
    if names is None or label not in names:
        near = difflib.get_close_matches(label, place, n=3, cutoff=0.0)
        hint = (' It was read as a label rather than an id, since it is text '
                'or some labels are numbers.' if label.isdigit() else '')
        raise DataError(f'Expected a {kind} of the graph (got '
                        f"'{cut(label)}'). The nearest labels are "
                        + ', '.join(f"'{cut(name)}'" for name in near) + '.'
                        + hint)
    raise DataError(f'Expected a label of a single {kind} (got {label!r}, '
                    f'which {names.count(label)} share). Use the id.')
