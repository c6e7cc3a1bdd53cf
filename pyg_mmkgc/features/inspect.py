r"""Inspection of a folder of features for common problems."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch_geometric.utils import segment

from pyg_mmkgc.errors import DataError, printable
from pyg_mmkgc.features.folder import load_feature_folder
from pyg_mmkgc.io.atomic import PathLike

#: Rows with at least this similarity are near duplicates.
NEAR = 0.999
SHOWN = 5  # The number of entries of each list to print.
_BLOCK = 1024


@dataclass(frozen=True)
class Coverage:
    r"""The number of nodes with features, and the items that could not be
    used. It prints as a table.

    Args:
        kind (str): The kind of inputs, :obj:`"image"` or :obj:`"text"`.
        num_nodes (int): The number of nodes.
        num_covered (int): The number of nodes with a row.
        num_items (int): The number of images or texts.
        num_used (int): The number of usable images or texts.
        reasons (dict): The number of unusable images or texts for each reason.
        unknown (list[str]): The entities that are not in the graph.
    """
    kind: str
    num_nodes: int
    num_covered: int
    num_items: int
    num_used: int
    reasons: dict[str, int]
    unknown: list[str]

    @classmethod
    def from_manifest(cls, manifest: Mapping[str, Any]) -> Coverage:
        r"""Creates the counts from the manifest of features."""
        reasons = Counter(
            item['reason'] for entity in manifest['entities'].values()
            for item in entity['unusable'])
        return cls(
            kind=manifest['encoder']['kind'],
            num_nodes=manifest['num_rows'] + len(manifest['without']),
            num_covered=manifest['num_rows'],
            num_items=manifest['num_items'],
            num_used=manifest['num_used'],
            reasons=dict(reasons.most_common()),
            unknown=manifest['unknown'],
        )

    def summary(self) -> list[tuple[str, str]]:
        r"""Returns the names and values to print."""
        return [
            ('nodes', f'{_share(self.num_covered, self.num_nodes)} covered; '
             f'{len(self.unknown):,} entities are not in the graph'),
            (f'{self.kind}s', f'{_share(self.num_used, self.num_items)} '
             f'usable'),
        ]

    def details(self) -> Iterator[str]:
        r"""Yields the lines that show the first entries of each list."""
        for reason, count in list(self.reasons.items())[:SHOWN]:
            yield f'unusable: {count:,} x {reason}'
        if self.unknown:
            yield f'not in the graph: {_list(self.unknown)}'

    def __str__(self) -> str:
        return _table(self.summary(), self.details())


@dataclass(frozen=True)
class FeatureReport:
    r"""The result of :func:`inspect_features`. Printing it shows a table.

    The table has one row per node, or one row per image or text if the
    folder stores all vectors. *Similarity* is the cosine of the (mean) rows
    of two nodes, after subtracting the mean of all nodes.

    Args:
        coverage (Coverage): The coverage of the nodes.
        encoder (str): The name of the encoder.
        shape (tuple): The numbers of rows and channels.
        dtype (torch.dtype): The data type of the features.
        norms (torch.Tensor): The Euclidean norm of each row.
        num_bad (int): The number of rows with a NaN or infinite value.
        dead_channels (list[int]): The channels that have the same value in all
            rows.
        duplicates (list[list[str]]): Groups of nodes with equal rows,
            the largest group first.
        near (list[tuple]): Pairs of nodes with nearly equal rows, and
            their similarity, in descending order.
        closest (torch.Tensor): The similarity of each node to the most
            similar node whose row differs.
        neighbours (dict): For each selected node, its most similar nodes.
    """
    coverage: Coverage
    encoder: str
    shape: tuple[int, int]
    dtype: torch.dtype
    norms: Tensor
    num_bad: int
    dead_channels: list[int]
    duplicates: list[list[str]]
    near: list[tuple[str, str, float]]
    closest: Tensor
    neighbours: dict[str, list[tuple[str, float]]]

    def summary(self) -> list[tuple[str, str]]:
        r"""Returns the names and values to print."""
        norms = self.norms[self.norms.isfinite()]
        low, first, median, last, high = norms.quantile(
            norms.new_tensor([0, 0.05, 0.5, 0.95, 1])).tolist()
        rows, channels = self.shape
        return [
            ('features', f'{rows:,} rows, {channels:,} channels, '
             f'{str(self.dtype).removeprefix("torch.")}, by {self.encoder}'),
            *self.coverage.summary(),
            ('norms', f'{low:.4g} to {high:.4g}, median {median:.4g}, 90 % '
             f'in {first:.4g} to {last:.4g}; '
             f'{int((self.norms == 0).sum()):,} rows are zero, '
             f'{self.num_bad:,} not finite'),
            ('duplicates', f'{sum(map(len, self.duplicates)):,} rows equal '
             f'another, in {len(self.duplicates):,} groups; '
             f'{len(self.near):,} pairs of nodes are nearly equal '
             f'(similarity {NEAR} or more)'),
            ('dead channels', _share(len(self.dead_channels), channels)),
        ]

    def details(self) -> Iterator[str]:
        r"""Yields the lines that show the first entries of each list."""
        yield from self.coverage.details()
        for group in self.duplicates[:SHOWN]:
            yield f'equal: {_list(group)}'
        for label, other, similarity in self.near[:SHOWN]:
            yield f'nearly equal: {label}, {other} ({similarity:.4f})'
        if self.dead_channels:
            yield f'dead: {_list(self.dead_channels)}'
        for label, others in self.neighbours.items():
            shown = ', '.join(f'{other} ({similarity:.2f})'
                              for other, similarity in others)
            yield f'neighbours of {label}: {shown}'

    def __str__(self) -> str:
        return _table(self.summary(), self.details())


@torch.no_grad()
def inspect_features(
    path: PathLike,
    entities: Sequence[str] | None = None,
    k: int = 5,
) -> FeatureReport:
    r"""Inspects features for duplicates, dead channels, non-finite values
    and missing nodes.

    Args:
        path (str or os.PathLike): The folder of the features.
        entities (list[str], optional): The nodes whose neighbours are shown.
            (default: :obj:`None`, six evenly spaced nodes)
        k (int, optional): The number of neighbours. (default: :obj:`5`)

    Raises:
        DataError: If the folder is incomplete, or a node in :obj:`entities`
            has no features.
    """
    folder = load_feature_folder(path)
    labels, manifest = folder.labels, folder.manifest
    if entities is None:
        last = len(labels) - 1
        index = torch.linspace(0, last, min(6, last + 1)).round().long()
    else:
        ids = {label: i for i, label in enumerate(labels)}
        for label in entities:
            if label not in ids:
                raise DataError(f'Expected a node with features in '
                                f"'{os.fspath(path)}' (got {label!r}). The "
                                f'first labels are {labels[:3]}.')
        index = torch.tensor([ids[label] for label in entities])

    x, ptr = folder.x, folder.ptr
    low, high = x[0].float(), x[0].float()
    norms, finite = [], []
    for block in x.split(_BLOCK):
        block = block.float()
        low = torch.minimum(low, block.amin(dim=0))
        high = torch.maximum(high, block.amax(dim=0))
        finite.append(block.isfinite().all(dim=1))
        norms.append(torch.linalg.vector_norm(block, dim=1))
    node = torch.arange(len(labels))
    if ptr is not None:
        node = node.repeat_interleave(ptr.diff())
    table = x.float() if ptr is None else segment(x.float(), ptr, 'mean')
    unit = torch.nn.functional.normalize(
        (table - table.mean(dim=0)).nan_to_num(), dim=1)
    equal = _groups(x)
    closest, other = _closest(unit, equal if ptr is None else _groups(table))
    # Two nodes that are closest to each other form one pair.
    pairs = {(min(i, j), max(i, j)): float(closest[i])
             for i, j in enumerate(other.tolist()) if closest[i] >= NEAR}
    near = [(labels[i], labels[j], similarity) for (i, j), similarity
            in sorted(pairs.items(), key=lambda pair: (-pair[1], pair[0]))]
    return FeatureReport(
        coverage=Coverage.from_manifest(manifest),
        encoder=str(manifest['encoder'].get('name', 'a function')),
        shape=(x.size(0), x.size(1)),
        dtype=x.dtype,
        norms=torch.cat(norms),
        num_bad=int((~torch.cat(finite)).sum()),
        dead_channels=(low == high).nonzero().view(-1).tolist(),
        duplicates=[[labels[int(node[i])] for i in rows]
                    for rows in _members(equal)],
        near=near,
        closest=closest,
        neighbours={labels[i]: [(labels[j], s) for j, s in found]
                    for i, found in _neighbours(unit, index, k)},
    )


def _groups(x: Tensor) -> Tensor:
    # Rows of the same bytes get the same number.
    ids: dict[bytes, int] = {}
    out = []
    for row in x:
        content = row.contiguous().view(torch.uint8).numpy().tobytes()
        key = hashlib.blake2b(content, digest_size=16).digest()
        out.append(ids.setdefault(key, len(ids)))
    return torch.tensor(out)


def _members(group: Tensor) -> list[list[int]]:
    rows: dict[int, list[int]] = {}
    for i, number in enumerate(group.tolist()):
        rows.setdefault(number, []).append(i)
    out = [members for members in rows.values() if len(members) > 1]
    return sorted(out, key=len, reverse=True)


def _closest(unit: Tensor, group: Tensor) -> tuple[Tensor, Tensor]:
    similarity, other = [], []
    for rows, same in zip(unit.split(_BLOCK), group.split(_BLOCK),
                          strict=True):
        block = (rows @ unit.t()).masked_fill_(
            same.view(-1, 1) == group.view(1, -1), -1.0)
        value, index = block.max(dim=1)
        similarity.append(value)
        other.append(index)
    return torch.cat(similarity).clamp_(-1.0, 1.0), torch.cat(other)


def _neighbours(unit: Tensor, index: Tensor,
                k: int) -> Iterator[tuple[int, list[tuple[int, float]]]]:
    k = min(k, unit.size(0) - 1)
    similarity = unit[index] @ unit.t()
    similarity[torch.arange(index.numel()), index] = -torch.inf
    # Among equal rows, keep the first in the graph.
    order = similarity.sort(dim=1, descending=True, stable=True)
    for i, other, value in zip(index.tolist(), order.indices[:, :k].tolist(),
                               order.values[:, :k].tolist(), strict=True):
        yield i, list(zip(other, value, strict=True))


def _table(summary: Iterable[tuple[str, str]],
           details: Iterable[str]) -> str:
    lines = [f'{key:<14} {value}' for key, value in summary]
    lines += [f'{"":<14} {line}' for line in details]
    return '\n'.join(map(printable, lines))  # Labels are untrusted.


def _list(values: Sequence[Any]) -> str:
    shown = ', '.join(map(str, values[:SHOWN]))
    return shown + (', ...' if len(values) > SHOWN else '')


def _share(count: int, total: int) -> str:
    return f'{count:,} of {total:,} ({100 * count / max(total, 1):.1f} %)'
