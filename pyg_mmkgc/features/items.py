r"""Images and texts of entities, and their nodes in a graph."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pyg_mmkgc.errors import DataError


def is_image(content: Any) -> bool:
    r"""Returns :obj:`True` if a content is an image in memory, either of
    Pillow or an array.
    """
    # The type is inspected, since accessing the attribute of a Pillow image
    # would decode it.
    return not isinstance(content, (str, Path)) and (
        hasattr(type(content), '__array_interface__')
        or hasattr(type(content), '__array__'))


class Item(NamedTuple):
    r"""One image or text of an entity.

    Args:
        entity (str): The label of a node, or its id as text.
        content (pathlib.Path or str or PIL.Image.Image or numpy.ndarray): The
            path of a file, a text, a Pillow image, or an array of bytes
            :obj:`[height, width, channels]`.
        key (str): The name of the item in the manifest.
        problem (str, optional): The reason why the item is unusable, if that
            is known without opening it. (default: :obj:`""`)
    """
    entity: str
    content: Any
    key: str
    problem: str = ''


def as_items(contents: Mapping[str, Any]) -> list[Item]:
    r"""Lists images or texts that are keyed by entity.

    Args:
        contents (dict): For each entity, the content of an :class:`Item`, or
            a list of contents.

    Raises:
        DataError: If a content has another type.
    """
    out = []
    for entity, value in contents.items():
        values = list(value) if isinstance(value, (list, tuple)) else [value]
        for i, content in enumerate(values):
            if not isinstance(content, (str, Path)) and not is_image(content):
                raise DataError('Expected a text, a path or an image for '
                                f'{entity!r} (got {type(content).__name__})')
            out.append(Item(str(entity), content, f'{entity}: {i}'))
    return out


class Matched(NamedTuple):
    r"""Items of the nodes of a graph.

    Args:
        labels (list[str]): The label of each node.
        items (list[Item]): The items, sorted by their nodes and contents.
        nodes (list[int]): The node of each item, ascending.
        unknown (list[str]): Entities that are not in the graph.
    """
    labels: list[str]
    items: list[Item]
    nodes: list[int]
    unknown: list[str]

    def digest(self) -> str:
        r"""Returns a SHA-256 of everything except the content of files."""
        out = hashlib.sha256()
        for part in (self.labels, self.unknown):
            out.update(json.dumps(part).encode() + b'\n')
        for node, item in zip(self.nodes, self.items, strict=True):
            row = json.dumps([node, item.key, item.problem])
            out.update(row.encode() + b'\n')
        return out.hexdigest()


def match_items(
    items: Iterable[Item],
    labels: Sequence[str] | None = None,
    match: str = 'label',
) -> Matched:
    r"""Finds the node of each item.

    The result does not depend on the order of the items.

    Args:
        items (iterable[Item]): The items.
        labels (list[str], optional): The label of each node of the graph.
            (default: :obj:`None`, all entities in sorted order)
        match (str, optional): If set to :obj:`"label"`, entities are labels of
            nodes. If set to :obj:`"id"`, they are ids of nodes.
            (default: :obj:`"label"`)

    Raises:
        DataError: If labels are repeated or do not fit on a line of a file,
            or if no entity is in the graph.
    """
    items = list(items)
    if len(items) == 0:
        raise DataError('Expected images or texts (got none)')
    if match not in ('label', 'id') or (match == 'id' and labels is None):
        raise DataError(f"Expected 'match' to be 'label', or 'id' if 'labels' "
                        f'are given (got {match!r})')
    if labels is None:
        labels = sorted({item.entity for item in items})
    labels = list(labels)
    ids = {label: i for i, label in enumerate(labels)}
    if len(ids) < len(labels):
        repeated = next(x for i, x in enumerate(labels) if ids[x] != i)
        raise DataError(f'Expected the labels of nodes to be different (got '
                        f'{repeated!r} more than once)')
    for label in labels:
        if not _is_line(label):
            raise DataError(f'Expected labels that fit on a line of a text '
                            f'file in UTF-8 (got {label!r})')
    if match == 'id':
        ids = {str(i): i for i in range(len(labels))}

    known = [(ids[item.entity], item) for item in items if item.entity in ids]
    unknown = {item.entity for item in items if item.entity not in ids}
    if len(known) == 0:
        raise DataError(
            f'Expected at least one of {len(unknown)} entities to match a '
            f'node by its {match} (got entities that begin with '
            f'{sorted(unknown)[:3]} for nodes that begin with '
            f'{list(ids)[:3]})')
    # Images in memory have no text to sort them by.
    known.sort(key=lambda pair: (
        pair[0], str(pair[1].content) if isinstance(
            pair[1].content, (str, Path)) else '', pair[1].key))
    return Matched(labels, [item for _, item in known],
                   [node for node, _ in known], sorted(unknown))


def _is_line(label: str) -> bool:
    # A label has to survive writing to and reading from `labels.txt`.
    try:
        label.encode('utf-8')
    except UnicodeEncodeError:
        return False
    return (label.strip() != '' and not label.startswith('\ufeff')
            and not any(char in label for char in '\r\n\0'))
