r"""The result of an evaluation, with the protocol it was made under."""

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
    r"""Many candidates share the score of the target."""


@dataclass(frozen=True, eq=False, repr=False)
class RankingResult(Report):
    r"""What :func:`~pyg_mmkgc.evaluation.evaluate` returns.

    There is one entry per ranking, that is, per triple and side.

    Args:
        ranks (Ranks): The optimistic, realistic and pessimistic ranks, and
            the number of candidates.
        head_index (torch.Tensor): The head of each ranking.
        rel_type (torch.Tensor): The relation of each ranking.
        tail_index (torch.Tensor): The tail of each ranking.
        groups (dict): What the rankings are sliced by: for each name the
            labels of its slices, and which of them each ranking is in.
        protocol (dict): How the ranks were made.
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
        r"""The mean rank, from :obj:`1`."""
        return mean_rank(self._headline)

    @property
    def amri(self) -> float:
        r"""The adjusted mean rank index, :obj:`0` for random scores."""
        return adjusted_mean_rank_index(self._headline,
                                        self.ranks.num_candidates)

    def hits_at(self, k: int) -> float:
        r"""The share of rankings whose target is among the first :obj:`k`."""
        return hits_at_k(self._headline, k)

    @property
    def _headline(self) -> Tensor:
        return self.ranks.by_ties(self.protocol['ties'])

    def metrics(self) -> dict[str, float]:
        r"""All metrics under the ties of the protocol.

        The optimistic and pessimistic values follow, with these words at the
        end of the name, such as :obj:`"mrr_optimistic"`.
        """
        out = _metrics(self.ranks, self.protocol['ties'])
        for ties in ('optimistic', 'pessimistic'):
            values = _metrics(self.ranks, ties)
            out |= {f'{name}_{ties}': value for name, value in values.items()}
        return out

    @cached_property
    def slices(self) -> dict[str, dict[str, dict[str, float]]]:
        r"""The metrics of parts of the rankings.

        The keys are :obj:`"side"`, :obj:`"entities"` (seen in the training
        triples or not), :obj:`"category"` (of the relation),
        :obj:`"category_side"` and :obj:`"relation"`, then the label of the
        slice, then the metric. Slices without a ranking are left out.
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
        r"""Protocol, metrics and slices as plain Python, ready for JSON."""
        return {
            'protocol': self.protocol,
            'metrics': self.metrics(),
            'slices': self.slices,
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        r"""Writes the rankings and their protocol into one
        :obj:`.safetensors` file, from which :meth:`load` makes the same
        result.
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
            FormatError: If the file is another.
        """
        tensors, metadata = load_tensors(path)
        if metadata.get('format') != FORMAT or metadata.get('version') != 1:
            raise FormatError(
                f"'{os.fspath(path)}': Expected a file written by "
                f'RankingResult.save, version 1 (got format '
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
            f"Candidates: all {p['num_nodes']} nodes, less the known triples "
            f"of {p['filter']} (on average {p['mean_candidates']:.1f} left)"
            if p['filter'] != 'none' else
            f"Candidates: all {p['num_nodes']} nodes, known triples too "
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
