r"""The page of methods: the shipped configurations, with the formula and the
paper from the docstring of the model, and the results of the benchmarks.
"""
from __future__ import annotations

import csv
import inspect
import re
import sys
from typing import TYPE_CHECKING, Any

from pages import ROOT, generate, heading, indent

from pyg_mmkgc.config import catalogue, load_config, shipped_configs
from pyg_mmkgc.config.components import valid_names

sys.path.insert(0, str(ROOT / 'benchmarks'))
from study.methods import METHODS  # noqa: E402

if TYPE_CHECKING:  # The tests have no Sphinx.
    from sphinx.application import Sphinx

RESULTS = ROOT / 'benchmarks' / 'results'
GRAPHS = {'MKG-W': 'table2_mkg_w', 'MKG-Y': 'table2_mkg_y',
          'Countries': 'table2_countries'}
FORMULA = re.compile(r'^( *)\.\. math::\n(?:\1 +:.*\n)*\n?((?:\1 +.*\n?|\n)+)',
                     re.MULTILINE)


def formula_of(cls: Any) -> str:
    r"""Returns the first formula in the docstring of a class, or of the first
    base class that has one.
    """
    for base in inspect.getmro(cls):
        found = FORMULA.search(inspect.cleandoc(vars(base).get('__doc__')
                                                or '') + '\n')
        if found:
            return inspect.cleandoc(found[2])
    return ''


def results(name: str) -> dict[str, dict[str, str]]:
    r"""Returns the rows of a table of results by method."""
    with open(RESULTS / f'{name}.csv', encoding='utf-8', newline='') as file:
        return {row['model']: row for row in csv.DictReader(file)}


def methods() -> list[dict[str, str]]:
    r"""Returns the methods, with what is known about each."""
    tables = {graph: results(file) for graph, file in GRAPHS.items()}
    entries = {(entry.section, entry.name): entry for entry in catalogue()}
    rows = {method.config: method.row for method in METHODS.values()}
    recipes: dict[str, list[str]] = {}
    for name in shipped_configs():
        recipes.setdefault(name.partition('/')[0], []).append(name)
    out: list[dict[str, str]] = []
    for config, names in recipes.items():
        loaded = load_config(names[0])
        entry = entries['model', loaded.model.name]
        name = rows.get(config, loaded.model.name)
        if any(name == method['name'] for method in out):
            name += f', {config}'
        # KBGAN(TransE) and MANS are named after what trains a model.
        first = name.partition('(')[0].lower()
        papers = [entry, *(
            entries[section, part.name]
            for section, part in (('sampler', loaded.sampler),
                                  ('adversary', loaded.adversary))
            if part and part.name.lower().startswith(first))]
        found = {graph: table.get(rows.get(config, ''), {})
                 for graph, table in tables.items()}
        out.append({
            'name': name, 'config': config, 'model': loaded.model.name,
            'kind': entry.kind, 'needs': entry.needs,
            'paper': papers[-1].paper, 'link': papers[-1].link,
            'formula': formula_of(valid_names('model')[loaded.model.name]),
            'recipes': '\n\n'.join(f'``{name}``' for name in names),
            'minutes': found['MKG-W'].get('minutes', ''),
            'GB': found['MKG-W'].get('GB', ''),
            **{graph: found[graph].get('MRR', '') for graph in GRAPHS}})
    return out


def _cell(text: str) -> str:
    return indent(text, 7).lstrip() if text else ''


def _row(method: dict[str, str]) -> str:
    cls = valid_names('model')[method['model']]
    place = f'{cls.__module__}.{cls.__qualname__}'
    if method['model'].startswith('PyG.'):
        place = f'torch_geometric.nn.kge.{cls.__name__}'
    first = f':class:`{method["name"]} <{place}>`'
    if method['link']:
        first += f'\n\n`{method["paper"]} <{method["link"]}>`__'
    if method['formula']:
        first += '\n\n.. math::\n\n' + indent(method['formula'])
    cost = (f'{method["minutes"]} min, {method["GB"]} GB'
            if method['minutes'] else '')
    cells = [first, method['needs'], method['recipes'], cost,
             *(method[graph] for graph in GRAPHS)]
    lines = [f'     - {_cell(cell)}'.rstrip() for cell in cells]
    lines[0] = lines[0].replace('     - ', '   * - ', 1)
    return '\n'.join(lines) + '\n'


INTRO = """\
A row is a shipped configuration, and ``mmkgc train RECIPE`` trains it.
*Needs* is the number of modalities. *Cost* is the time of a training with one
seed on one core and its memory, on MKG-W with texts. The last columns are the
test MRR in percent, over both sides, filtered, with realistic ranks, and in
brackets what the paper of AdaMF-MAT publishes. :doc:`results/index` says how
they were searched and trained; a row without a number was not measured.
"""


def pages() -> dict[str, str]:
    r"""Returns the page."""
    groups: dict[str, list[dict[str, str]]] = {}
    for method in methods():
        groups.setdefault(method['kind'], []).append(method)
    parts = [':hide-toc:\n', heading('Methods'), INTRO]
    for kind, group in groups.items():
        parts += [
            heading(kind[0].upper() + kind[1:], '-'),
            '.. list-table::\n   :header-rows: 1\n   :class: methods\n'
            '   :widths: 42 11 15 9 9 9 9\n\n'
            + '   * - Method\n     - Needs\n     - Recipes\n     - Cost\n'
            + ''.join(f'     - {graph}\n' for graph in GRAPHS)
            + ''.join(map(_row, group))]
    return {'methods.rst': '\n'.join(parts)}


def setup(app: Sphinx) -> dict[str, bool]:
    r"""Writes the page before a build."""
    generate(app, pages)
    return {'parallel_read_safe': True}
