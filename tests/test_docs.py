"""The sources of the documentation, without a build of it."""

import importlib
import pkgutil
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import pyg_mmkgc
from pyg_mmkgc.config import shipped_configs

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / 'docs'
# Pages that docs/_ext writes before a build.
GENERATED = {'api/index', 'methods', 'reference/command_line',
             'reference/configuration', 'results/index'}
# Pages that lead nowhere in particular.
ENDS = {'changelog', 'citation', 'guides/index', 'inventories/README'}


def sources() -> dict[str, str]:
    folders = {'_build', 'api', 'reference', 'results'}
    return {path.relative_to(DOCS).with_suffix('').as_posix():
            path.read_text('utf-8') for path in DOCS.rglob('*.md')
            if path.relative_to(DOCS).parts[0] not in folders}


@pytest.fixture(scope='module')
def ext() -> Iterator[dict[str, ModuleType]]:
    """The generators of pages, which run without Sphinx."""
    names = ('api_pages', 'method_pages', 'reference_pages', 'result_pages')
    sys.path.insert(0, str(DOCS / '_ext'))
    try:
        yield {name: importlib.import_module(name) for name in names}
    finally:
        sys.path.remove(str(DOCS / '_ext'))


def test_every_public_name_is_documented(ext: dict[str, ModuleType]) -> None:
    pages = ext['api_pages'].pages()
    packages = [pyg_mmkgc, *(
        importlib.import_module(item.name) for item in pkgutil.walk_packages(
            pyg_mmkgc.__path__, 'pyg_mmkgc.') if item.ispkg)]
    names = {(package.__name__, name) for package in packages
             for name in getattr(package, '__all__', ())}
    assert len(names) > 150
    missing = [(package, name) for package, name in names if not re.search(
        rf'^ +(~pyg_mmkgc[\w.]*\.)?{name}$|py:data:: {package}.{name}$',
        pages[f'api/{package}.rst'], re.MULTILINE)]
    assert not missing
    # One place for each name: the others link to it.
    places: dict[object, set[str]] = {}
    for package, name in names:
        item = getattr(sys.modules[package], name)
        if hasattr(item, '__qualname__') and re.search(
                rf'^ +{name}$', pages[f'api/{package}.rst'], re.MULTILINE):
            places.setdefault(item, set()).add(package)
    assert all(len(found) == 1 for found in places.values())
    assert all(f'\n   {package.__name__}\n' in pages['api/index.rst']
               for package in packages if hasattr(package, '__all__'))


def test_every_page_is_in_a_contents() -> None:
    texts = sources()
    listed, to_read = {'index'}, ['index']
    while to_read:
        page = to_read.pop()
        for block in re.findall(r'^```\{toctree\}\n(.*?)^```', texts[page],
                                re.MULTILINE | re.DOTALL):
            for entry in re.findall(r'^[\w/]+$', block, re.MULTILINE):
                name = (Path(page).parent / entry).as_posix()
                assert name in texts or name in GENERATED, (page, entry)
                listed.add(name)
                if name in texts:
                    to_read.append(name)
    assert set(texts) - listed == {'inventories/README'}


def anchors(text: str) -> set[str]:
    text = re.sub(r'^```.*?^```', '', text, flags=re.MULTILINE | re.DOTALL)
    return {re.sub(r'[^\w -]', '', line).strip().lower().replace(' ', '-')
            for line in re.findall(r'^#+ (.*)$', text, re.MULTILINE)}


@pytest.mark.parametrize('page', sorted(sources()))
def test_local_links_lead_to_what_exists(
        page: str, ext: dict[str, ModuleType]) -> None:
    text = sources()[page]
    made = {name.rpartition('.')[0] for name in ext['result_pages'].pages()}
    links = re.findall(r'\]\((?!https?:|mailto:)([^)]+)\)', text)
    links += re.findall(r'^```\{(?:image|figure|include)\} (\S+)$', text,
                        re.MULTILINE)
    links += [f'{link}.md' for link in re.findall(r'^:link: (\S+)$', text,
                                                  re.MULTILINE)]
    for link in links:
        file, _, anchor = link.replace('.html', '.md').partition('#')
        target = (DOCS / page).parent / file if file else DOCS / f'{page}.md'
        target = target.resolve()
        if not target.exists():
            name = target.relative_to(DOCS).with_suffix('').as_posix()
            assert name in made | GENERATED, link
        elif anchor:
            assert anchor in anchors(target.read_text('utf-8')), link


def test_every_page_says_where_to_go_next() -> None:
    assert [page for page, text in sources().items()
            if '\n## Where to go next\n' not in text
            and page not in ENDS] == []


def test_tutorials_are_notebooks() -> None:
    pages = {page: text for page, text in sources().items()
             if page.startswith('tutorials/') and page != 'tutorials/index'}
    assert len(pages) == 10
    for page, text in pages.items():
        cells = re.findall(r'^```\{code-cell\} python\n(.*?)^```$', text,
                           re.MULTILINE | re.DOTALL)
        assert text.startswith('---\nfile_format: mystnb\n'), page
        assert cells, page
        for cell in cells:
            compile(re.sub(r'^:tags:.*$', '', cell, flags=re.MULTILINE),
                    page, 'exec')


def test_methods_have_a_row_each(ext: dict[str, ModuleType]) -> None:
    rows = ext['method_pages'].methods()
    named = {name.partition('/')[0] for name in shipped_configs()}
    assert sorted(row['config'] for row in rows) == sorted(named)
    by_config = {row['config']: row for row in rows}
    assert 'L}_{adv}' in by_config['adamf_mat']['formula']
    assert by_config['pairre']['formula'].startswith('s(h, r, t)')
    # From the file of results.
    text = (ROOT / 'benchmarks/results/table2_mkg_w.csv').read_text('utf-8')
    mrr = re.search(r'^AdaMF-MAT,\d+,([^,]+),', text, re.MULTILINE)[1]
    assert by_config['adamf_mat']['MKG-W'] == mrr
    assert by_config['kbgan_transe']['link'].endswith('1711.04071')


def test_references_have_every_key_and_command(
        ext: dict[str, ModuleType]) -> None:
    pages = ext['reference_pages'].pages()
    text = pages['reference/command_line.rst']
    commands = {path.stem for path in (ROOT / 'pyg_mmkgc/cli').glob('*.py')
                if 'def add(' in path.read_text('utf-8')}
    assert commands <= set(re.findall(r'^\.\. _mmkgc-(\w+):$', text,
                                      re.MULTILINE))
    assert '``--resume RUN``' in text
    model = pages['reference/configuration/model.rst']
    part = model[model.index('\nAdaMFMAT\n'):model.index('\nIKRL\n')]
    assert '``margin`` : float; default ``12.0``' in part
    assert 'num_nodes``' not in part and 'num_negatives``' not in part
    # Numbers are no truth values.
    part = model[model.index('\nTransE\n'):model.index('\nTransH\n')]
    assert '``margin`` : float; default ``1.0``' in part
    assert '``sparse`` : bool; default ``false``' in part
    keys = re.findall(r'^``(\w+)`` : ', pages[
        'reference/configuration/training.rst'], re.MULTILINE)
    assert {'lr', 'epochs', 'track'} <= set(keys)


def test_results_have_a_page_each(ext: dict[str, ModuleType]) -> None:
    pages = ext['result_pages'].pages()
    files = list((ROOT / 'benchmarks').rglob('*.md'))
    assert len(pages) == len(files) > 25
    table = pages['results/table2_mkg_w.md']
    assert '| AdaMF-MAT | 3 |' in table and '{admonition} Protocol' in table
    index = pages['results/index.md']
    assert '(table2_mkg_y.md)' in index and 'results/table2' not in index


def test_inventories_are_in_their_form() -> None:
    files = sorted((DOCS / 'inventories').glob('*.txt'))
    conf = (DOCS / 'conf.py').read_text('utf-8')
    for path in files:
        head, *rows = path.read_text('utf-8').splitlines()
        assert head == '# Sphinx inventory version 1'
        assert rows[0].startswith('# Project: ')
        assert rows[1].startswith('# Version: ')
        assert all(re.fullmatch(r'[\w.]+ \w+ \S+', row) for row in rows[2:])
        assert f"'inventories/{path.name}'" in conf
