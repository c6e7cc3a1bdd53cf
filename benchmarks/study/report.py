"""Result files in JSON lines, and their tables in Markdown, CSV and LaTeX."""

from __future__ import annotations

import argparse
import csv
import io
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyg_mmkgc.evaluation.compare import spread
from pyg_mmkgc.io.atomic import write_atomic
from study.worker import machine

METRICS = ('mrr', 'hits@1', 'hits@3', 'hits@10')
LATEX = {'&': r'\&', '%': r'\%', '_': r'\_', '#': r'\#', '±': r'$\pm$',
         '*': '', '–': '--', 'λ': r'$\lambda$'}


def path_of(study: str, args: argparse.Namespace) -> Path:
    """Returns the path of the result files of a study, without an ending."""
    return args.results / f'{study}_{args.dataset}'


def command_of(args: argparse.Namespace) -> str:
    """Returns the running command, with names for the local folders."""
    names = {'data_root': 'DATA', 'runs': 'RUNS', 'results': 'RESULTS',
             'cache': 'CACHE'}
    local = {str(path): names[key] for key, path in vars(args).items()
             if key in names and path is not None}

    def word(x: str) -> str:
        if x in local:
            return local[x]
        if Path(x).is_dir():
            return f'RUNS/{Path(x).name}'
        return Path(x).name if Path(x).is_absolute() else x

    return shlex.join(['python', f'benchmarks/{Path(sys.argv[0]).name}',
                       *map(word, sys.argv[1:])])


def write_results(study: str, results: list[dict[str, Any]],
                  args: argparse.Namespace, **extra: Any) -> None:
    """Writes one line for the study, then one line per training."""
    head = {
        'study': study, 'dataset': args.dataset, 'budget': args.budget,
        'command': command_of(args), 'machine': machine(),
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
    """Reads the lines of :func:`write_results`."""
    path = path_of(study, args).with_suffix('.jsonl')
    if not path.is_file():
        raise SystemExit(f"Expected a result file (got '{path}', which does "
                         'not exist). Run without --report to create it.')
    head, *results = [json.loads(x) for x in path.read_text().splitlines()]
    return head, results


def by_row(results: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Returns the trainings with a result, by row."""
    out: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        if 'test' in result:
            out.setdefault(result['row'], []).append(result)
    return out


def metric_cells(found: list[dict[str, Any]],
                 published: Sequence[float] | None) -> list[str]:
    """Returns the number of seeds and the metrics in percent, with published
    values in italics.
    """
    out = [str(len(found))]
    for i, metric in enumerate(METRICS):
        text = spread([100 * x['test'][metric] for x in found])
        out.append(text if published is None
                   else f'{text} (*{published[i]:.2f}*)')
    return out


@dataclass
class Table:
    """A table of text cells with column names and a caption."""

    caption: str
    columns: Sequence[str]
    rows: list[Sequence[str]]

    def markdown(self) -> str:
        """Returns Markdown, with the caption as a paragraph below."""
        lines = [self.columns, ['---'] * len(self.columns), *self.rows]
        return '\n'.join('| ' + ' | '.join(x) + ' |' for x in lines) \
            + f'\n\n{self.caption}\n'

    def csv(self) -> str:
        """Returns CSV without the caption."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator='\n')
        writer.writerows([self.columns, *self.rows])
        return out.getvalue()

    def latex(self) -> str:
        """Returns a table environment with the rules of booktabs."""
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
    """Writes a table in three formats. The Markdown also has the notes and
    figures, and the commands of the result file if there are several.
    """
    path = path_of(study, args)
    head = json.loads(path.with_suffix('.jsonl').read_text().split('\n')[0])
    if head.get('earlier'):
        notes = [*notes, '', '## Commands', '', 'The last one first.', '',
                 *(f'- `{x}`' for x in _commands(head))]
    write_atomic(path.with_suffix('.csv'), table.csv())
    write_atomic(path.with_suffix('.tex'), table.latex())
    pictures = [f'![{x}]({x})\n' for x in figures]
    write_atomic(path.with_suffix('.md'), '\n'.join(
        [f'# {title}', '', table.markdown(), *pictures, *notes]) + '\n')
    print(table.markdown())


def protocol(head: dict[str, Any], results: list[dict[str, Any]]) -> str:
    """Returns the sentences that every caption of rankings needs."""
    done = [x for x in results if 'test' in x]
    if not done:
        return 'No training is done.'
    p = done[0]['protocol']
    seeds = sorted({x['seed'] for x in done})
    commits = sorted({short(str(x['commit'])) for x in done})
    commands = _commands(head)
    command = (f'Command: `{commands[0]}`' if len(commands) == 1 else
               f'Commands: {len(commands)}, listed in the Markdown file')
    machines = [_machine({'machine': head['machine'], **x}) for x in done]
    return (
        f"{head['dataset']}, {p['split']} triples ({p['num_triples']}), "
        f"sides: {' and '.join(p['sides'])}, filter: {p['filter']}, "
        f"{p['ties']} ranks, in percent. {_epochs(done)} "
        f"{_settings(head, done)} {_features(done)} {precision(done)} "
        f"{_seeds(seeds)} "
        f"{command}; commit {', '.join(commits)}; "
        f"machine: {'; '.join(dict.fromkeys(machines))}.")


def _machine(result: dict[str, Any]) -> str:
    out = (f"{result['machine']}, {result['threads']} thread(s) each of "
           f"{result['cores']} cores")
    return out if result['device'] == 'cpu' else f'{out} and a GPU'


def short(commit: str) -> str:
    """Returns seven digits of a commit and a mark for other changes."""
    name, dash, dirty = commit.partition('-')
    return name[:7] + dash + dirty


def _commands(head: dict[str, Any]) -> list[str]:
    return [head['command'], *reversed(head.get('earlier', []))]


def _epochs(done: list[dict[str, Any]]) -> str:
    # The last epoch is always validated, so a single validation selects
    # nothing.
    last = [x['row'] for x in done if len(x['curve']) < 2]
    if not last:
        return 'Epoch chosen by validation MRR.'
    if len(last) == len(done):
        return ('No epoch was selected: the last epoch of each training is '
                'evaluated.')
    return (f"Epoch chosen by validation MRR, except for "
            f"{', '.join(dict.fromkeys(last))}: the last epoch.")


def trials_of(head: dict[str, Any]) -> dict[str, int]:
    """Returns the number of settings tried for each row with several."""
    tried: dict[str, set[tuple[str, ...]]] = {}
    for x in head.get('tried', []):
        tried.setdefault(x['row'], set()).add(tuple(x['overrides']))
    return {row: len(x) for row, x in tried.items() if len(x) > 1}


def _settings(head: dict[str, Any], done: list[dict[str, Any]]) -> str:
    trials = trials_of(head)
    rows = list(dict.fromkeys(x['row'] for x in done))
    rest = [row for row in rows if row not in trials]
    numbers = sorted({trials[row] for row in rows if row in trials})
    out = []
    if numbers:
        out.append('Settings chosen by validation MRR among '
                   f"{' to '.join(map(str, numbers[::len(numbers) - 1 or 1]))}"
                   ' trials each.')
    if rest:
        names = f" of {', '.join(rest)}" if numbers else ''
        out.append(f'Settings{names} not searched: as in the shipped '
                   f'configurations{_changed(head, done, rest)}.')
    return ' '.join(out)


def _changed(head: dict[str, Any], done: list[dict[str, Any]],
             rows: list[str]) -> str:
    options = {o for x in done if x['row'] in rows for o in x['overrides']}
    words = [w for x in _commands(head) for w in shlex.split(x)]
    given = {o for o in options
             if any(w == o or w.endswith(f':{o}') for w in words)}
    budget = {o for o in options - given if head['budget'] != 'full'
              and o.startswith(('training.epochs=', 'training.valid_every='))}
    out = []
    if options - given - budget:
        out.append('the settings of the study')
    if given:
        out.append('the changes by `--set`')
    if budget:
        out.append(f"the epochs of `--budget {head['budget']}`")
    return ', except for ' * bool(out) + ' and '.join(out)


def _features(done: list[dict[str, Any]]) -> str:
    rows: dict[str, tuple[tuple[str, int], ...]] = {}
    for x in done:
        names = tuple(sorted(x['modalities'].items()))
        if rows.setdefault(x['row'], names) != names:
            raise SystemExit(
                f"Expected all seeds of {x['row']} to have the features "
                f"{rows[x['row']]} (got {names} for seed {x['seed']}). Train "
                'all seeds with the same data.')
    groups: dict[tuple[tuple[str, int], ...], list[str]] = {}
    for row, names in rows.items():
        groups.setdefault(names, []).append(row)
    groups.pop((), None)  # Structural methods.
    if not groups:
        return 'Features: structure.'
    main = max(groups, key=lambda names: (len(groups[names]), names))
    out = ['Features: ' + ' + '.join(['structure', *(x for x, _ in main)])]
    for names, others in groups.items():
        if names != main:
            words = ', '.join(f'{x} ({n} channels)' for x, n in names)
            out.append(f"of {', '.join(others)} only {words}"
                       if set(names) < set(main) else
                       f"not comparable: {', '.join(others)} with {words}")
    if 'visual' not in dict(main):
        out.append('no visual features were available, unlike for the '
                   'published rows')
    return '; '.join(out) + '.'


def precision(done: list[dict[str, Any]]) -> str:
    """Returns a sentence about the precision of projections. If trainings only
    record the requested precision, it names the requested precision.
    Everything else is in single precision.
    """
    asked = 'bfloat16 if the hardware supports it'
    words = {True: 'bfloat16', 'auto': asked, False: 'single precision'}
    groups: dict[str, list[str]] = {}
    for x in done:
        groups.setdefault(words[x['autocast']], []).append(x['row'])
    if len(groups) == 1:
        return f'Projections: in {next(iter(groups))}.'
    *others, main = sorted(groups, key=lambda word: len(groups[word]))
    return '; '.join([f'Projections: in {main}', *(
        f"of {', '.join(dict.fromkeys(groups[word]))} in {word}"
        for word in others)]) + '.'


def validation_mrr(found: list[dict[str, Any]]) -> str:
    """Returns the validation MRR over seeds, or an empty text if a training
    has none.
    """
    values = [100 * x['val']['mrr'] for x in found if x['val']]
    return spread(values) if values else ''


def _seeds(seeds: list[int]) -> str:
    if len(seeds) == 1:
        return f'Seed: {seeds[0]}.'
    return (f"Seeds: {', '.join(map(str, seeds))}; mean and sample standard "
            'deviation.')
