"""The pages in a headless Chromium, from the server and as files.

Needs Playwright (``pip install playwright``) and Chromium; the check of
accessibility needs axe-core (``npm install --no-save axe-core``).
"""

import http.server
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pyg_mmkgc.explore import Explorer, export_site, make_app
from pyg_mmkgc.explore.server import Door, running

api = pytest.importorskip('playwright.sync_api', reason='needs playwright')
pytest.importorskip('uvicorn', reason='needs the extra explore')

# A click returns before the next page is there, so what a test reads
# afterwards is expected, which tries again, or follows a `wait_for_url`.
expect = api.expect
expect.set_options(timeout=30_000)

pytestmark = pytest.mark.browser

AXE = Path(__file__).parents[2] / 'node_modules/axe-core/axe.min.js'
WIDE, NARROW = {'width': 1280, 'height': 900}, {'width': 360, 'height': 740}


@pytest.fixture(scope='module')
def browser() -> Iterator[Any]:
    path = next(filter(None, map(shutil.which, (
        'chromium', 'chromium-browser', 'google-chrome'))), None)
    with api.sync_playwright() as playwright:
        if path is None and not Path(
                playwright.chromium.executable_path).exists():
            pytest.skip('needs Chromium')
        browser = playwright.chromium.launch(executable_path=path)
        yield browser
        browser.close()


def serve(explorer: Explorer) -> Iterator[str]:
    with running(make_app(explorer), 0) as (address, _):
        yield address


def serve_files(folder: Path) -> Iterator[str]:
    """A server of files, like `python -m http.server`."""
    handler = partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_address[1]}'
    server.shutdown()
    server.server_close()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope='module')
def hostile(explorer: Explorer) -> Iterator[str]:
    for i in range(2):
        explorer.rankings(i, compute=True)
    yield from serve(explorer)


@pytest.fixture(scope='module')
def live(countries: Explorer) -> Iterator[str]:
    countries.rankings(0, compute=True)
    yield from serve(countries)


@pytest.fixture(scope='module')
def files(countries: Explorer,
          tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp('export') / 'site'
    export_site(countries, str(folder), [('Austria', 'neighbour', None)], k=3)
    yield from serve_files(folder)


@pytest.fixture(scope='module')
def hostile_files(explorer: Explorer, tmp_path_factory: pytest.TempPathFactory
                  ) -> Iterator[str]:
    for i in range(2):
        explorer.rankings(i, compute=True)
    folder = tmp_path_factory.mktemp('export') / 'site'
    export_site(explorer, str(folder), [(30, 0, None), (1, None, 2)], k=10)
    yield from serve_files(folder)


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens a page; the test fails if it asks anybody else for anything, or
    if a script or the policy of the page complains.
    """
    contexts: list[Any] = []
    faults: list[str] = []

    def open_page(address: str, viewport: Any = WIDE, **options: Any) -> Any:
        context = browser.new_context(viewport=viewport, **options)
        contexts.append(context)
        page = context.new_page()
        base = re.match(r'http://[^/]*', address)[0]
        page.on('request', lambda request: request.url.startswith(
            (base + '/', base + '?')) or faults.append(request.url))
        page.on('console', lambda message: message.type in (
            'error', 'warning') and faults.append(message.text))
        page.on('pageerror', lambda error: faults.append(str(error)))
        page.on('dialog', lambda dialog: faults.append(dialog.message))
        page.goto(address, wait_until='networkidle')
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []


@pytest.mark.parametrize('place', ['live', 'files'])
def test_search_ask_and_click_through(place: str, visit: Any,
                                      request: Any) -> None:
    page = visit(request.getfixturevalue(place))
    page.get_by_role('searchbox').or_(page.get_by_role('combobox',
        name='Search for an entity')).fill('austr')
    page.keyboard.press('Enter')
    page.wait_for_url('**/search*')
    page.locator('.list').get_by_role('link', name='Austria',
                                      exact=True).click()
    expect(page.locator('h1')).to_have_text('Austria')
    expect(page.locator('.facts')).to_be_visible()
    expect(page.locator('svg.wide a, svg.wide g').nth(5)).to_be_attached()

    page.locator('.chips a', has_text='neighbour').first.click()
    expect(page.locator('.answers li')).to_have_count(
        10 if place == 'live' else 3)
    first = page.locator('.answers li').first
    label = first.locator('b').inner_text()
    score = first.locator('.score').inner_text()

    first.locator('.why').click()
    expect(page.locator('h2').first).to_contain_text('Ranks')
    expect(page.locator('.verdict b')).to_have_text(score)
    expect(page.locator('table.effects tbody tr')).to_have_count(4)

    page.locator('h1').get_by_role('link', name=label, exact=True).click()
    expect(page.locator('h1')).to_have_text(label)
    page.locator('.brand').click()
    expect(page.locator('h1')).to_have_text('Countries')


@pytest.mark.parametrize('place', ['live', 'files'])
def test_keyboard(place: str, visit: Any, request: Any) -> None:
    page = visit(request.getfixturevalue(place))
    suggestions = page.locator('#suggestions li')
    page.keyboard.press('/')
    # All letters at once, so that there is one list of suggestions.
    page.keyboard.insert_text('austria')
    expect(suggestions.first).to_have_text('Austria')
    page.keyboard.press('ArrowDown')
    expect(page.locator('#q')).to_have_attribute(
        'aria-activedescendant', suggestions.first.get_attribute('id'))
    page.keyboard.press('Enter')
    page.wait_for_url('**/entity*')
    expect(page.locator('h1')).to_have_text('Austria')

    # The first stop leads past the bar, and each stop shows where it is.
    page.keyboard.press('Tab')
    expect(page.locator(':focus')).to_have_text('Skip to the content')
    page.keyboard.press('Enter')
    expect(page.locator('main')).to_be_focused()
    page.keyboard.press('Tab')
    expect(page.locator('main :focus')).to_have_count(1)
    assert page.evaluate('getComputedStyle(document.activeElement)'
                         ".outlineStyle !== 'none' || "
                         "document.activeElement.closest('svg') !== null")

    page.locator('.brand').focus()
    page.keyboard.press('/')
    page.keyboard.insert_text('austria')
    expect(suggestions.first).to_be_visible()
    page.keyboard.press('Escape')
    expect(page.locator('#suggestions')).to_be_hidden()


def test_asking_by_the_form(visit: Any, live: str,
                            countries: Explorer) -> None:
    node = countries.find('Vienna')
    page = visit(f'{live}/entity?node={node}')
    page.get_by_label('Relation', exact=True).select_option(label='capital')
    page.get_by_label('Side to predict').select_option('head')
    page.get_by_role('button', name='Ask').click()
    page.wait_for_url('**/ask*')
    expect(page.locator('h1')).to_have_text(re.compile(r'^\s*\?'))
    question = None, countries.relation_names.index('capital'), node
    found = countries.predict(0, *question)
    expect(page.locator('.answers b')).to_have_text(found.labels[0])
    page.get_by_label('only new').check()
    page.get_by_role('button', name='Ask again').click()
    page.wait_for_url('**/ask*new=1*')
    found = countries.predict(0, *question, new=True)
    expect(page.locator('.answers b')).to_have_text(found.labels[0])
    expect(page.locator('.answers .tag')).to_have_text(
        ['new'] * len(found.labels[0]))


def test_page_opens_when_it_is_loaded(browser: Any,
                                      countries: Explorer) -> None:
    door = Door('<b>a run')
    with running(door, 0) as (address, _):
        page = browser.new_page()
        page.goto(f"{address}/entity?node={countries.find('Austria')}")
        expect(page.locator('h1')).to_have_text('Loading <b>a run')
        door.app = make_app(countries)
        expect(page.locator('h1')).to_have_text('Austria')
        page.close()


def test_similar_entities_are_loaded_later(visit: Any, live: str,
                                           countries: Explorer) -> None:
    node = countries.find('Austria')
    page = visit(f'{live}/entity?node={node}')
    expect(page.locator('.similar bdi')).to_have_text(
        countries.similar(0, node).labels[0])


def test_points_of_the_map(visit: Any, live: str,
                           countries: Explorer) -> None:
    node = countries.find('Austria')
    page = visit(f'{live}/map?node={node}')
    expect(page.locator('.points circle')).to_have_count(countries.num_nodes)
    box = page.locator('circle.here').bounding_box()
    page.mouse.move(box['x'] + box['width'] / 2, box['y'] + box['height'] / 2)
    expect(page.locator('.tip')).to_be_visible()
    named = page.locator('.tip').inner_text()
    assert countries.find(named) is not None
    page.mouse.down()
    page.mouse.up()
    page.wait_for_url('**/entity*')
    expect(page.locator('h1')).to_have_text(named)


def test_without_scripts(visit: Any, live: str) -> None:
    page = visit(live, java_script_enabled=False)
    page.locator('#q').fill('austria')
    page.locator('#q').press('Enter')
    page.locator('.list').get_by_role('link', name='Austria',
                                      exact=True).click()
    page.get_by_role('link', name='most similar embeddings').click()
    expect(page.locator('.similar li')).to_have_count(8)


PATHS = ['', 'search?q=o', 'entity?node=30', 'entity?node=2',
         'entity?node=3', 'triples?node=30&relation=0&side=tail',
         'ask?head=30&relation=0', 'ask?head=1&tail=2',
         'why?head=30&relation=0&tail=1', 'similar?node=1', 'failures',
         'compare', 'map?node=30']


@pytest.mark.parametrize('path', PATHS)
def test_hostile_labels(path: str, visit: Any, hostile: str) -> None:
    page = visit(f'{hostile}/{path}', NARROW)
    assert page.evaluate('window.hit') is None
    assert page.evaluate('document.documentElement.scrollWidth') <= 360
    page.locator('#q').fill('<script')
    expect(page.locator('#suggestions li').first).to_have_text(
        '<script>window.hit = 1</script>')
    assert page.evaluate('window.hit') is None


def test_hostile_labels_in_files(visit: Any, hostile_files: str) -> None:
    page = visit(hostile_files, NARROW)
    addresses = {''}
    while addresses:
        page.goto(f'{hostile_files}/{addresses.pop()}',
                  wait_until='networkidle')
        assert page.evaluate('window.hit') is None
        assert page.evaluate('document.documentElement.scrollWidth') <= 360
        if page.url.endswith('/'):
            addresses = {link.get_attribute('href') for link in
                         page.locator('main a, nav a').all()}
            assert len(addresses) > 8
    page.goto(f'{hostile_files}/search.html?q=%3Cscript')
    expect(page.locator('.list li:visible b')).to_have_text([
        '<script>window.hit = 1</script>'])


@pytest.mark.parametrize('scheme', ['light', 'dark'])
@pytest.mark.parametrize('viewport', [WIDE, NARROW], ids=['wide', 'narrow'])
def test_accessibility(scheme: str, viewport: Any, visit: Any,
                       hostile: str) -> None:
    if not AXE.is_file():
        pytest.skip('needs axe-core: npm install --no-save axe-core')
    script = AXE.read_text('utf-8')
    page = visit(hostile, viewport, color_scheme=scheme)
    found = []
    for path in PATHS:
        page.goto(f'{hostile}/{path}', wait_until='networkidle')
        page.evaluate(script)
        result = page.evaluate("axe.run({resultTypes: ['violations']})")
        found += [(path, fault['id'], fault['nodes'][0]['html'],
                   fault['nodes'][0]['failureSummary'])
                  for fault in result['violations']
                  if fault['impact'] in ('serious', 'critical')]
    assert found == []
