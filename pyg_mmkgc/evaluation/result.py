r"""The result of an evaluation and its protocol."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from pyg_mmkgc.errors import FormatError
from pyg_mmkgc.io.tensors import load_tensors, save_tensors
from pyg_mmkgc.metrics import (
    Ranks,
    adjusted_mean_rank_index,
    hits_at_k,
    mean_rank,
    mean_reciprocal_rank,
)
from pyg_mmkgc.report import Report, Table

HITS = (1, 3, 10)
FORMAT = 'pyg_mmkgc.RankingResult'


class TieWarning(UserWarning):
    r"""Warns that many candidates share the score of their target."""


@dataclass(frozen=True, eq=False, repr=False)
class RankingResult(Report):
    r"""The result of :func:`~pyg_mmkgc.evaluation.evaluate`, with one entry
    per ranking, that is, per triple and side.

    Args:
        ranks (Ranks): The optimistic, realistic and pessimistic ranks, and
            the number of candidates.
        head_index (torch.Tensor): The head of each ranking.
        rel_type (torch.Tensor): The relation of each ranking.
        tail_index (torch.Tensor): The tail of each ranking.
        groups (dict): The groups by which the rankings are sliced: for each
            name, the labels of its slices and the slice of each ranking.
        protocol (dict): The protocol under which the ranks were computed.
    """
    ranks: Ranks
    head_index: Tensor
    rel_type: Tensor
    tail_index: Tensor
    groups: dict[str, tuple[list[str], Tensor]]
    protocol: dict[str, Any]

    table_names = ('metrics', 'relations', 'rankings')
    html_tables = ('metrics', )

    @property
    def mrr(self) -> float:
        r"""The mean reciprocal rank."""
        return mean_reciprocal_rank(self._headline)

    @property
    def mr(self) -> float:
        r"""The mean rank. The best rank is :obj:`1`."""
        return mean_rank(self._headline)

    @property
    def amri(self) -> float:
        r"""The adjusted mean rank index, about :obj:`0` for random scores, see
        :func:`~pyg_mmkgc.metrics.adjusted_mean_rank_index`.
        """
        return adjusted_mean_rank_index(self._headline,
                                        self.ranks.num_candidates)

    def hits_at(self, k: int) -> float:
        r"""Returns the share of rankings whose target has a rank of at most
        :obj:`k`.
        """
        return hits_at_k(self._headline, k)

    @property
    def _headline(self) -> Tensor:
        return self.ranks.by_ties(self.protocol['ties'])

    def metrics(self) -> dict[str, float]:
        r"""Returns all metrics, with the treatment of ties in the protocol.

        The optimistic and pessimistic values have these words as suffixes of
        their names, as in :obj:`"mrr_optimistic"`.
        """
        out = _metrics(self.ranks, self.protocol['ties'])
        for ties in ('optimistic', 'pessimistic'):
            values = _metrics(self.ranks, ties)
            out |= {f'{name}_{ties}': value for name, value in values.items()}
        return out

    @cached_property
    def slices(self) -> dict[str, dict[str, dict[str, float]]]:
        r"""The metrics of slices of the rankings.

        The first key is :obj:`"side"`, :obj:`"entities"` (by whether the
        training triples contain both nodes), :obj:`"category"` (of the
        relation), :obj:`"category_side"` or :obj:`"relation"`. The second key
        is the label of the slice, and the third key the metric. Empty slices
        are left out.
        """
        out: dict[str, dict[str, dict[str, float]]] = {}
        for name, (labels, group) in self.groups.items():
            order = group.argsort(stable=True)
            sizes = torch.bincount(group, minlength=len(labels)).tolist()
            parts = zip(labels, sizes, order.split(sizes), strict=True)
            out[name] = {
                label:
                {'count': size, **_metrics(self.ranks.select(index),
                                           self.protocol['ties'])}
                for label, size, index in parts if size > 0
            }
        return out

    def to_dict(self) -> dict[str, Any]:
        r"""Returns the protocol, metrics and slices as plain values, ready for
        JSON.
        """
        return {
            'protocol': self.protocol,
            'metrics': self.metrics(),
            'slices': self.slices,
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        r"""Writes the rankings and their protocol to a :obj:`.safetensors`
        file, which :meth:`load` reads.
        """
        save_tensors(path, {
            **self.ranks._asdict(), 'head_index': self.head_index,
            'rel_type': self.rel_type, 'tail_index': self.tail_index,
            **{f'group {name}': group
               for name, (_, group) in self.groups.items()}}, {
            'format': FORMAT, 'version': 1, 'protocol': self.protocol,
            'labels': {name: labels
                       for name, (labels, _) in self.groups.items()}})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> RankingResult:
        r"""Reads a result that :meth:`save` wrote.

        Raises:
            FormatError: If :meth:`save` did not write the file.
        """
        tensors, metadata = load_tensors(path)
        if metadata.get('format') != FORMAT or metadata.get('version') != 1:
            raise FormatError(
                f'Expected a result of RankingResult.save, version 1, in '
                f"'{os.fspath(path)}' (got format "
                f"{metadata.get('format')!r}, version "
                f"{metadata.get('version')!r})")
        return cls(
            Ranks(*(tensors[name] for name in Ranks._fields)),
            tensors['head_index'], tensors['rel_type'], tensors['tail_index'],
            {name: (labels, tensors[f'group {name}'])
             for name, labels in metadata['labels'].items()},
            metadata['protocol'])

    def summary(self) -> dict[str, Any]:
        return {'split': self.protocol['split'],
                'num_triples': self.protocol['num_triples'],
                'filter': self.protocol['filter'],
                'ties': self.protocol['ties'],
                **_metrics(self.ranks, self.protocol['ties'])}

    def make_table(self, name: str) -> Table:
        p = self.protocol
        if name == 'rankings':
            labels, side = self.groups['side']
            return Table(
                ['head_index', 'rel_type', 'tail_index', 'side', 'rank',
                 'optimistic', 'pessimistic', 'num_candidates'],
                list(zip(self.head_index.tolist(), self.rel_type.tolist(),
                         self.tail_index.tolist(),
                         [labels[i] for i in side.tolist()],
                         self._headline.tolist(),
                         *(x.tolist() for x in self.ranks), strict=True)))
        columns = ['', 'count', *_metrics(self.ranks, p['ties'])]
        caption = (f"{p['split']} triples ({p['num_triples']}), sides: "
                   f"{' and '.join(p['sides'])}, filter: {p['filter']}, "
                   f"{p['ties']} ranks")
        if name == 'relations':
            return Table(['relation', *columns[1:]], [
                [label, *values.values()]
                for label, values in self.slices['relation'].items()], caption)
        return Table(columns, self._metric_rows(), caption)

    def _metric_rows(self) -> list[list[Any]]:
        rows = [[ties, self.protocol['num_rankings'],
                 *_metrics(self.ranks, ties).values()]
                for ties in ('optimistic', 'realistic', 'pessimistic')]
        for name in ('side', 'entities', 'category', 'category_side'):
            rows += [[label, *values.values()]
                     for label, values in self.slices[name].items()]
        return rows

    def __str__(self) -> str:
        p = self.protocol
        lines = [
            f"Ranking of '{p['split']}': {p['num_triples']} triples, sides: "
            f"{' and '.join(p['sides'])}, {p['num_rankings']} rankings by "
            f"{p['num_queries']} distinct queries",
            f"Candidates: all {p['num_nodes']} nodes without known triples of "
            f"{p['filter']} (on average {p['mean_candidates']:.1f} left)"
            if p['filter'] != 'none' else
            f"Candidates: all {p['num_nodes']} nodes, including known triples "
            f'(no filter)',
            f"Ties: {p['ties']} ranks",
            '',
        ]
        head = ['', 'count', *_metrics(self.ranks, p['ties'])]
        rows = self._metric_rows()
        width = max(len(str(row[0])) for row in rows)
        lines.append(_line(head, width))
        lines += [_line(row, width) for row in rows]
        return '\n'.join(lines)


def _metrics(ranks: Ranks, ties: str) -> dict[str, float]:
    values = ranks.by_ties(ties)
    return {
        'mrr': mean_reciprocal_rank(values),
        'mr': mean_rank(values),
        'amri': adjusted_mean_rank_index(values, ranks.num_candidates),
        **{f'hits@{k}': hits_at_k(values, k) for k in HITS},
    }


def _line(row: list[Any], width: int) -> str:
    cells = [f'{row[0]:<{width}}']
    for cell in row[1:]:
        text = f'{cell:.4f}' if isinstance(cell, float) else str(cell)
        cells.append(f'{text:>10}')
    return ''.join(cells).rstrip()
