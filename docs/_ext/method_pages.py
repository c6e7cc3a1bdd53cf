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
from pyg_mmkgc.config.listing import paper_of

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


def _recipe(config: str, datasets: list[str]) -> str:
    parts = [f'``{config}/{dataset}``' for dataset in datasets]
    return ', '.join(parts)


def methods() -> list[dict[str, str]]:
    r"""Returns the methods, with what is known about each."""
    tables = {graph: results(file) for graph, file in GRAPHS.items()}
    entries = {(x.section, x.name): x for x in catalogue()}
    models = valid_names('model')
    rows = {method.config: method.row for method in METHODS.values()}
    recipes: dict[str, list[str]] = {}
    for name in shipped_configs():
        config, _, dataset = name.partition('/')
        recipes.setdefault(config, []).append(dataset)
    out = []
    for config, datasets in recipes.items():
        loaded = load_config(f'{config}/{datasets[0]}')
        entry = entries['model', loaded.model.name]
        row = rows.get(config, '')
        found = {graph: table.get(row, {}) for graph, table in tables.items()}
        cost = found['MKG-W'] or {}
        title, link = entry.paper, entry.link
        parts = [f'{kind} {part.name}' for kind, part in (
            ('negatives of', loaded.sampler), ('adversary',
                                               loaded.adversary))
            if part and row != loaded.model.name and '(' in row + '(']
        for section in ('sampler', 'adversary'):
            part = getattr(loaded, section)
            if part and config not in (
                    'adamf_mat', 'native', 'momok') and paper_of(
                        valid_names(section)[part.name])[1]:
                other = entries[section, part.name]
                if other.link != link and other.link:
                    title, link = other.paper, other.link
        out.append({
            'name': row or loaded.model.name, 'config': config,
            'model': loaded.model.name, 'kind': entry.kind,
            'paper': title, 'link': link, 'needs': entry.needs,
            'formula': formula_of(models[loaded.model.name]),
            'recipes': _recipe(config, datasets), 'with': ', '.join(parts),
            'minutes': cost.get('minutes', ''), 'GB': cost.get('GB', ''),
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
            '.. list-table::\n   :header-rows: 1\n   :class: methods\n\n'
            + '   * - Method\n     - Needs\n     - Recipes\n     - Cost\n'
            + ''.join(f'     - {graph}\n' for graph in GRAPHS)
            + ''.join(map(_row, group))]
    return {'methods.rst': '\n'.join(parts)}


def setup(app: Sphinx) -> dict[str, bool]:
    r"""Writes the page before a build."""
    generate(app, pages)
    return {'parallel_read_safe': True}
