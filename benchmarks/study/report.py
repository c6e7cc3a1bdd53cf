"""Result files: JSON lines, and from them Markdown, CSV and LaTeX."""

from __future__ import annotations

import argparse
import csv
import io
import json
import platform
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyg_mmkgc.io.atomic import write_atomic
from study.stats import spread

METRICS = ('mrr', 'hits@1', 'hits@3', 'hits@10')
LATEX = {'&': r'\&', '%': r'\%', '_': r'\_', '#': r'\#', '±': r'$\pm$',
         '*': '', '–': '--', 'λ': r'$\lambda$'}


def path_of(study: str, args: argparse.Namespace) -> Path:
    """The result files of a study, without an ending."""
    return args.results / f'{study}_{args.dataset}'


def write_results(study: str, results: list[dict[str, Any]],
                  args: argparse.Namespace, **extra: Any) -> None:
    """One line for the study, then one per training."""
    local = {str(args.data_root): 'DATA', str(args.runs): 'RUNS',
             str(args.results): 'RESULTS'}
    words = [local.get(x, x) for x in sys.argv[1:]]
    head = {
        'study': study, 'dataset': args.dataset, 'budget': args.budget,
        'command': shlex.join(
            ['python', f'benchmarks/{Path(sys.argv[0]).name}', *words]),
        'machine': f'{platform.machine()}, {platform.system()}',
        **extra}
    path = path_of(study, args).with_suffix('.jsonl')
    if args.add and path.is_file():
        results = _add_earlier(head, results, *read_results(study, args))
    write_atomic(path, ''.join(
        json.dumps(line) + '\n' for line in [head, *results]))


def _add_earlier(head: dict[str, Any], results: list[dict[str, Any]],
                 old_head: dict[str, Any], old: list[dict[str, Any]]
                 ) -> list[dict[str, Any]]:
    new = {x['row'] for x in results}
    head['earlier'] = [*old_head.get('earlier', []), old_head['command']]
    if 'tried' in head:
        head['tried'] = [*(x for x in old_head['tried']
                           if x['row'] not in new), *head['tried']]
    return [*(x for x in old if x['row'] not in new), *results]


def read_results(study: str, args: argparse.Namespace
                 ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What :func:`write_results` wrote."""
    path = path_of(study, args).with_suffix('.jsonl')
    if not path.is_file():
        raise SystemExit(f'{path}: no such result file; run without --report '
                         'to make it')
    head, *results = [json.loads(x) for x in path.read_text().splitlines()]
    return head, results


def by_row(results: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The trainings of each row that have a result."""
    out: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        if 'test' in result:
            out.setdefault(result['row'], []).append(result)
    return out


def metric_cells(found: list[dict[str, Any]],
                 published: Sequence[float] | None) -> list[str]:
    """The number of seeds and the metrics in percent, with the published
    ones in italics.
    """
    out = [str(len(found))]
    for i, metric in enumerate(METRICS):
        text = spread([100 * x['test'][metric] for x in found])
        out.append(text if published is None
                   else f'{text} (*{published[i]:.2f}*)')
    return out


@dataclass
class Table:
    """Text cells under column names, with a caption."""

    caption: str
    columns: Sequence[str]
    rows: list[Sequence[str]]

    def markdown(self) -> str:
        """With the caption below, as a paragraph."""
        lines = [self.columns, ['---'] * len(self.columns), *self.rows]
        return '\n'.join('| ' + ' | '.join(x) + ' |' for x in lines) \
            + f'\n\n{self.caption}\n'

    def csv(self) -> str:
        """Without the caption."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator='\n')
        writer.writerows([self.columns, *self.rows])
        return out.getvalue()

    def latex(self) -> str:
        """A table environment with booktabs' rules."""
        def line(cells: Sequence[str]) -> str:
            return ' & '.join(_latex(cell) for cell in cells) + r' \\'

        return '\n'.join([
            r'\begin{table}', r'\centering',
            rf'\begin{{tabular}}{{l{"r" * (len(self.columns) - 1)}}}',
            r'\toprule', line(self.columns), r'\midrule',
            *map(line, self.rows), r'\bottomrule', r'\end{tabular}',
            rf'\caption{{{_latex(self.caption)}}}', r'\end{table}', ''])


def _latex(text: str) -> str:
    return ''.join(LATEX.get(x, x) for x in text)


def write_table(study: str, title: str, table: Table,
                args: argparse.Namespace, notes: Sequence[str] = (),
                figures: Sequence[str] = ()) -> None:
    """Writes a table in three forms; in Markdown with notes and figures."""
    path = path_of(study, args)
    path.with_suffix('.csv').write_text(table.csv())
    path.with_suffix('.tex').write_text(table.latex())
    pictures = [f'![{x}]({x})\n' for x in figures]
    path.with_suffix('.md').write_text('\n'.join(
        [f'# {title}', '', table.markdown(), *pictures, *notes]) + '\n')
    print(table.markdown())


def protocol(head: dict[str, Any], results: list[dict[str, Any]]) -> str:
    """The sentences of a caption that every table of rankings needs."""
    done = [x for x in results if 'test' in x]
    if not done:
        return 'No training is done.'
    p = done[0]['protocol']
    modalities = sorted({name for x in done for name in x['modalities']})
    seeds = sorted({x['seed'] for x in done})
    commits = sorted({str(x['commit'])[:7] for x in done})
    commands = ', before it '.join(f'`{x}`' for x in (
        head['command'], *reversed(head.get('earlier', []))))
    features = ' + '.join(['structure', *modalities])
    lacks = [] if 'visual' in modalities else [
        'no visual features were at hand, published rows have them']
    chosen = ('Epoch and settings chosen by validation MRR.'
              if any(x['val'] for x in done) else
              'Nothing chosen in these trainings: the last epoch of each.')
    setting = '; '.join([f'Features: {features}', *lacks])
    return (
        f"{head['dataset']}, {p['split']} triples ({p['num_triples']}), "
        f"sides: {' and '.join(p['sides'])}, filter: {p['filter']}, "
        f"{p['ties']} ranks, in percent. {chosen} {setting}. {_seeds(seeds)} "
        f"Command: {commands}; commit {', '.join(commits)}; "
        f"machine: {head['machine']}, {done[0]['threads']} thread(s) each of "
        f"{done[0]['cores']} cores.")


def validation_mrr(found: list[dict[str, Any]]) -> str:
    """Over seeds; nothing where a training has not looked at it."""
    values = [100 * x['val']['mrr'] for x in found if x['val']]
    return spread(values) if values else ''


def _seeds(seeds: list[int]) -> str:
    if len(seeds) == 1:
        return f'Seed: {seeds[0]}.'
    return (f"Seeds: {', '.join(map(str, seeds))}; mean and sample standard "
            'deviation.')
