"""The site of files."""

import json
import re
import urllib.parse
from pathlib import Path
from typing import Any

import pytest

from pyg_mmkgc.errors import ConfigError, DataError
from pyg_mmkgc.explore import Explorer, export_site

QUERIES = [(30, 0, None), (None, 1, 'node_12'), ('node_12', None, 13)]


@pytest.fixture(scope='module')
def site(explorer: Explorer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    for i in range(2):
        explorer.rankings(i, compute=True)
    folder = tmp_path_factory.mktemp('export') / 'site'
    count = export_site(explorer, str(folder), QUERIES, k=4)
    assert count == len(list(folder.glob('*.html')))
    return folder


def test_every_link_leads_to_a_file(site: Path, check_markup: Any) -> None:
    names = {path.name for path in site.iterdir()}
    linked = {'index.html'}
    for path in site.glob('*.html'):
        for link in check_markup(path.read_text('utf-8')):
            name = urllib.parse.urlsplit(link).path
            assert name in names or link.startswith('#'), (path.name, link)
            linked.add(name or path.name)
    assert linked - {''} == names  # And every file is linked to.


def test_pages_of_the_questions(explorer: Explorer, site: Path) -> None:
    names = {path.name for path in site.iterdir()}
    assert {'ask-head-30-relation-0.html', 'ask-head-12-tail-13.html',
            'ask-relation-1-tail-12.html', 'failures.html', 'compare.html',
            'map.html', 'map-run-1.html'} <= names
    for which in range(2):
        for node in explorer.predict(which, 30, 0, None, 4).answer[0].tolist():
            assert f'entity-{node}.html' in names
            more = '-run-1' * which
            assert f'why-head-30-relation-0{more}-tail-{node}.html' in names


def test_nothing_asks_a_server(site: Path, check_markup: Any) -> None:
    for path in site.glob('*.html'):
        text = path.read_text('utf-8')
        assert "default-src 'none'" in text
        assert '<form class="ask' not in text
        assert 'data-load' not in text
        assert not any(link.startswith('/') for link in check_markup(text))


def test_search_lists_the_entities(explorer: Explorer, site: Path) -> None:
    rows = json.loads((site / 'search.json').read_text('utf-8'))
    assert {row['href'] for row in rows} == {
        path.name for path in site.glob('entity-*.html')}
    text = (site / 'search.html').read_text('utf-8')
    assert text.count('<li>') >= len(rows)


def test_questions_without_a_choice(countries: Explorer,
                                    tmp_path: Path) -> None:
    """One for each of the most frequent relations, about a test triple."""
    export_site(countries, str(tmp_path / 'site'), k=1)
    asked = [re.findall(r'\d+', path.name)
             for path in (tmp_path / 'site').glob('ask-*.html')]
    count = countries.adjacency.relation_count
    test = countries.graph.split('test')
    triples = {(h, r) for h, r in zip(
        test.edge_index[0].tolist(), test.edge_type.tolist(), strict=True)}
    assert len(asked) > 8
    for head, relation in asked:
        assert (int(head), int(relation)) in triples
        assert int((count > count[int(relation)]).sum()) < 12


def test_bad_input_leaves_nothing(explorer: Explorer, tmp_path: Path,
                                  monkeypatch: pytest.MonkeyPatch) -> None:
    for query, text in [(('no such node', 0, None), 'no such node'),
                        ((1, 99, None), '99'), ((1000, 0, None), '1000')]:
        with pytest.raises(DataError, match=text):
            export_site(explorer, str(tmp_path / 'a'), [query])
    with pytest.raises(ConfigError, match='two of a head'):
        export_site(explorer, str(tmp_path / 'a'), [(1, 0, 2)])
    with pytest.raises(ConfigError, match='at least one question'):
        export_site(explorer, str(tmp_path / 'a'), [])
    assert list(tmp_path.iterdir()) == []

    (tmp_path / 'full').mkdir()
    (tmp_path / 'full' / 'mine').write_text('mine')
    with pytest.raises(ConfigError, match='new or empty folder'):
        export_site(explorer, str(tmp_path / 'full'), QUERIES)
    assert [path.name for path in tmp_path.rglob('*')] == ['full', 'mine']

    def fail(*args: object) -> None:
        raise OSError('no space left')

    monkeypatch.setattr(json, 'dumps', fail)
    with pytest.raises(OSError, match='no space left'):
        export_site(explorer, str(tmp_path / 'b'), QUERIES[:1], k=1)
    assert not (tmp_path / 'b').exists()
    assert len(list(tmp_path.iterdir())) == 1
