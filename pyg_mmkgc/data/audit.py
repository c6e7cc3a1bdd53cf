from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pyg_mmkgc.data.validation import NO_TRIPLES
from pyg_mmkgc.errors import DataError
from pyg_mmkgc.report import Report, Table

if TYPE_CHECKING:
    from pyg_mmkgc.data.knowledge_graph import KnowledgeGraph

# Above this share of reversed pairs, a simple rule that predicts the inverse
# of each triple beats a model.
INVERSE_LIMIT = 0.1
# The number of rows of a table that are read at once.
ROWS = 1 << 15


@dataclass(frozen=True)
class SplitAudit:
    r"""The counts of triples in one split.

    All counts except :obj:`triples` and :obj:`self_loops` are counts of
    distinct triples.
    """
    triples: int
    distinct: int
    self_loops: int
    #: Triples that are also in another split, by the name of the other split.
    overlaps: dict[str, int]
    #: Triples whose nodes a training triple connects in the other direction.
    reversed_in_train: int
    #: Triples whose nodes a training triple connects by another relation.
    other_relation_in_train: int
    #: Triples whose head or tail is in no training triple.
    unseen_node: int
    #: Triples whose relation is in no training triple.
    unseen_relation: int

    @property
    def duplicates(self) -> int:
        r"""The number of triples that repeat an earlier triple."""
        return self.triples - self.distinct


@dataclass(frozen=True)
class ModalityAudit:
    r"""The statistics of one modality over the rows that its mask marks as
    present.
    """
    channels: int
    rows: int
    nonfinite_rows: int
    zero_rows: int
    #: Rows that are equal to an earlier row.
    duplicate_rows: int
    #: Channels with the same value in all rows.
    dead_channels: int
    min_norm: float
    mean_norm: float
    max_norm: float


@dataclass(frozen=True, repr=False)
class AuditReport(Report):
    r"""The findings of :meth:`~pyg_mmkgc.data.KnowledgeGraph.audit`, which
    print as a table.

    .. code-block:: python

        >>> from pyg_mmkgc import Countries
        >>> report = Countries()[0].audit()
        >>> report.splits['train'].triples
        9901
        >>> print(report.to_latex('modalities').splitlines()[2])
        \begin{tabular}{lrrrrrrrrr}
    """
    num_nodes: int
    num_relations: int
    filter_triples: int
    #: Nodes and relations that are in no training triple.
    unseen_nodes: int
    unseen_relations: int
    splits: dict[str, SplitAudit]
    modalities: dict[str, ModalityAudit]

    table_names = ('splits', 'modalities')

    @property
    def warnings(self) -> list[str]:
        r"""The reasons why results on this graph may be misleading."""
        return list(_warnings(self))

    def to_dict(self) -> dict[str, Any]:
        r"""Returns the report as numbers in nested dictionaries."""
        out = asdict(self)
        for name, split in self.splits.items():
            out['splits'][name]['duplicates'] = split.duplicates
        return out | {'warnings': self.warnings}

    def summary(self) -> dict[str, Any]:
        return {'num_nodes': self.num_nodes,
                'num_relations': self.num_relations,
                **{name: split.triples
                   for name, split in self.splits.items()},
                'modalities': list(self.modalities),
                'warnings': len(self.warnings)}

    def make_table(self, name: str) -> Table:
        if name == 'modalities':
            keys = [field.name for field in fields(ModalityAudit)]
            return Table(['modality', *keys], [
                [modality, *(getattr(found, key) for key in keys)]
                for modality, found in self.modalities.items()],
                'Features')
        keys = ['triples', 'distinct', 'duplicates', 'self_loops',
                'reversed_in_train', 'other_relation_in_train',
                'unseen_node', 'unseen_relation']
        return Table(['split', *keys, *(f'also_in_{x}' for x in self.splits)],
                     [[split, *(getattr(found, key) for key in keys),
                       *(found.overlaps.get(x) for x in self.splits)]
                      for split, found in self.splits.items()], 'Triples')

    def __str__(self) -> str:
        names = list(self.splits)
        rest = [s for s in self.splits.values()]
        rows = [
            ['triples', *names],
            ['in all', *[_n(s.triples) for s in rest]],
            ['duplicates', *[_n(s.duplicates) for s in rest]],
            ['self-loops', *[_n(s.self_loops) for s in rest]],
        ]
        for other in names:
            rows.append([f'also in {other}', *[
                _share(s.overlaps.get(other), s.distinct) for s in rest]])
        for label, key in [
            ('pair reversed in train', 'reversed_in_train'),
            ('pair in train, other relation', 'other_relation_in_train'),
            ('node unseen in train', 'unseen_node'),
            ('relation unseen in train', 'unseen_relation'),
        ]:
            rows.append([label, *[
                _share(None if name == 'train' else getattr(s, key),
                       s.distinct) for name, s in self.splits.items()]])

        out = [
            f'{_n(self.num_nodes)} nodes '
            f'({_n(self.unseen_nodes)} unseen in train), '
            f'{_n(self.num_relations)} relations '
            f'({_n(self.unseen_relations)} unseen in train), '
            f'{_n(self.filter_triples)} triples in the filter only',
            '', *_table(rows)]
        if self.modalities:
            out += ['', *_table([
                ['modality', 'channels', 'nodes', 'zero', 'duplicate',
                 'non-finite', 'dead channels', 'norm min/mean/max'],
                *[[name, _n(m.channels), _share(m.rows, self.num_nodes),
                   _n(m.zero_rows), _n(m.duplicate_rows),
                   _n(m.nonfinite_rows), _n(m.dead_channels),
                   f'{m.min_norm:.3g} / {m.mean_norm:.3g} / {m.max_norm:.3g}']
                  for name, m in self.modalities.items()]])]
        return '\n'.join(out + [''] + [f'WARNING: {w}' for w in self.warnings])


def audit(kg: KnowledgeGraph) -> AuditReport:
    r"""Counts the flaws of a graph that make results on it misleading.

    Args:
        kg (KnowledgeGraph): The graph. Its triples must be valid, while its
            features may be invalid.

    Raises:
        DataError: If there are no triples, or they do not fit into 64 bits.
    """
    if 'edge_index' not in kg or 'edge_type' not in kg:
        raise DataError(NO_TRIPLES)
    if kg.num_nodes**2 * kg.num_relations > 2**63 - 1:
        raise DataError(f'Expected triples that fit into 64 bits (got '
                        f'{kg.num_nodes} nodes and {kg.num_relations} '
                        f'relations)')
    splits = kg.splits()
    keys = {name: _triple_key(split) for name, split in splits.items()}
    unique = {name: key.unique() for name, key in keys.items()}
    train = unique.get('train', kg.edge_type[:0])
    head, rel, tail = _decode(kg, train)
    pairs, pair_count = (head * kg.num_nodes + tail).unique(return_counts=True)
    seen_nodes = torch.zeros(kg.num_nodes, dtype=torch.bool,
                             device=train.device)
    seen_nodes[head] = seen_nodes[tail] = True
    seen_relations = torch.zeros(kg.num_relations, dtype=torch.bool,
                                 device=train.device)
    seen_relations[rel] = True

    def audit_split(name: str) -> SplitAudit:
        head, rel, tail = _decode(kg, unique[name])
        reverse = _lookup(pairs, pair_count, tail * kg.num_nodes + head)
        same = _lookup(pairs, pair_count, head * kg.num_nodes + tail)
        other = same - _among(train, unique[name]).long()
        row, col = splits[name].edge_index
        return SplitAudit(
            triples=keys[name].numel(),
            distinct=unique[name].numel(),
            self_loops=int((row == col).sum()),
            overlaps={o: int(_among(u, unique[name]).sum())
                      for o, u in unique.items() if o != name},
            reversed_in_train=int((reverse > 0).sum()),
            other_relation_in_train=int((other > 0).sum()),
            unseen_node=int((~(seen_nodes[head] & seen_nodes[tail])).sum()),
            unseen_relation=int((~seen_relations[rel]).sum()),
        )

    masks = kg.masks()
    return AuditReport(
        num_nodes=kg.num_nodes,
        num_relations=kg.num_relations,
        filter_triples=kg.filter_edge_type.numel()
        if 'filter_edge_type' in kg else 0,
        unseen_nodes=int((~seen_nodes).sum()),
        unseen_relations=int((~seen_relations).sum()),
        splits={name: audit_split(name) for name in splits},
        modalities={name: _audit_modality(x, masks[name])
                    for name, x in kg.features().items()},
    )


def _triple_key(kg: KnowledgeGraph) -> Tensor:
    head, tail = kg.edge_index
    return (head * kg.num_relations + kg.edge_type) * kg.num_nodes + tail


def _decode(kg: KnowledgeGraph, key: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    rest = key // kg.num_nodes
    return rest // kg.num_relations, rest % kg.num_relations, \
        key % kg.num_nodes


def _lookup(keys: Tensor, values: Tensor, query: Tensor) -> Tensor:
    # The value of each query among sorted keys, or 0.
    if keys.numel() == 0:
        return torch.zeros_like(query)
    pos = torch.searchsorted(keys, query).clamp_(max=keys.numel() - 1)
    return values[pos] * (keys[pos] == query)


def _among(keys: Tensor, query: Tensor) -> Tensor:
    # `torch.isin` would sort both again.
    return _lookup(keys, torch.ones_like(keys), query) > 0


def _audit_modality(x: Tensor, mask: Tensor) -> ModalityAudit:
    rows = int(mask.reshape(mask.size(0), -1).any(dim=1).sum())
    norms, hashes = [x.new_empty(0, dtype=torch.float)], [_row_hash(
        x.new_empty(0, x.size(-1)))]
    nonfinite = zero = 0
    first: Tensor | None = None
    dead = torch.ones(x.size(-1), dtype=torch.bool, device=x.device)
    # A table may be larger than memory.
    for some, there in zip(x.split(ROWS), mask.split(ROWS), strict=True):
        part = some[there].flatten(end_dim=-2)  # All rows of a node.
        if part.size(0) == 0:
            continue
        first = part[:1] if first is None else first
        finite = part.isfinite().all(dim=1)
        norms.append(torch.linalg.vector_norm(part[finite].float(), dim=1))
        hashes.append(_row_hash(part))
        nonfinite += int((~finite).sum())
        zero += int((part == 0).all(dim=1).sum())
        dead &= (part == first).all(dim=0)
    norm, key = torch.cat(norms), torch.cat(hashes)
    return ModalityAudit(
        channels=x.size(-1),
        rows=rows,
        nonfinite_rows=nonfinite,
        zero_rows=zero,
        duplicate_rows=key.numel() - key.unique().numel(),
        dead_channels=0 if first is None else int(dead.sum()),
        min_norm=float(norm.min()) if norm.numel() > 0 else 0.0,
        mean_norm=float(norm.mean()) if norm.numel() > 0 else 0.0,
        max_norm=float(norm.max()) if norm.numel() > 0 else 0.0,
    )


def _row_hash(x: Tensor) -> Tensor:
    # Hashes are compared, since sorting rows of thousands of channels would
    # take minutes. They are sums of integers, since a sum of floats may depend
    # on the position of the row.
    generator = torch.Generator().manual_seed(12345)
    weight = torch.randint(-2**62, 2**62, (x.size(1), ), generator=generator)
    weight = weight.to(x.device)
    out = [
        ((chunk.float() + 0.0).view(torch.int).long() * weight).sum(dim=1)
        for chunk in x.split(1024)
    ]
    return torch.cat(out) if out else weight[:0]


def _warnings(report: AuditReport) -> Iterator[str]:
    for name, split in report.splits.items():
        if split.duplicates > 0:
            yield (f'{name}: {_n(split.duplicates)} triples repeat another '
                   f'triple of {name}')
        for other, count in split.overlaps.items():
            # Each pair is reported once, for the split that is evaluated.
            if count > 0 and (name, other) in {
                    ('val', 'train'), ('test', 'train'), ('val', 'test')}:
                yield (f'{name}: {_share(count, split.distinct)} of the '
                       f'distinct triples are also in {other}')
        if name == 'train':
            continue
        if split.reversed_in_train > INVERSE_LIMIT * split.distinct:
            yield (f'{name}: {_share(split.reversed_in_train, split.distinct)}'
                   f' of the distinct triples are reversed in train')
        if split.unseen_relation > 0:
            yield (f'{name}: {_share(split.unseen_relation, split.distinct)} '
                   f'of the distinct triples have a relation that is in no '
                   f'training triple')
    for name, modality in report.modalities.items():
        for count, what in [
            (modality.nonfinite_rows, 'rows hold NaN or infinite values'),
            (modality.zero_rows, 'rows are marked as present, but zero'),
            (modality.dead_channels, 'channels are the same in all rows'),
        ]:
            if count > 0:
                yield f'modality {name}: {_n(count)} {what}'


def _n(count: int) -> str:
    return f'{count:,}'


def _share(count: int | None, total: int) -> str:
    if count is None:
        return '-'
    if count == 0:
        return '0'
    return f'{count:,} ({100 * count / total:.1f} %)'


def _table(rows: list[list[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.rjust(w) for cell, w in zip(row, widths, strict=True)]
        yield '  '.join([row[0].ljust(widths[0]), *cells[1:]])
