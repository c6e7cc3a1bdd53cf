"""Requests to the application, without a browser."""

import asyncio
import html
import json
import re
import subprocess
import sys
from functools import cache
from typing import Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.request import Request as URLRequest
from urllib.request import urlopen

import pytest

from pyg_mmkgc.errors import ConfigError
from pyg_mmkgc.explore import Explorer, Subject, make_app, serve
from pyg_mmkgc.explore.media import Media
from pyg_mmkgc.explore.pages import show
from pyg_mmkgc.explore.server import listen

pytest.importorskip('starlette', reason='needs the extra explore')

HOST = {'host': '127.0.0.1:8765'}


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def text(self) -> str:
        return self.content.decode('utf-8')


app_of = cache(make_app)


def get(explorer: Explorer, path: str, headers: Any = None,
        method: str = 'GET') -> Answer:
    """One request, as a server would pass it on."""
    path, _, query = path.partition('?')
    scope = {'type': 'http', 'method': method, 'path': path,
             'raw_path': path.encode(), 'query_string': query.encode(),
             'root_path': '', 'scheme': 'http', 'http_version': '1.1',
             'server': ('127.0.0.1', 8765), 'client': ('127.0.0.1', 1),
             'headers': [(key.encode(), value.encode()) for key, value in (
                 HOST if headers is None else headers).items()]}
    sent: list[Any] = []

    async def receive() -> Any:
        return {'type': 'http.request', 'body': b'', 'more_body': False}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app_of(explorer)(scope, receive, send))
    return Answer(sent[0]['status'], {
        key.decode(): value.decode() for key, value in sent[0]['headers']},
        b''.join(part.get('body', b'') for part in sent[1:]))


PAGES = ['/', '/search?q=node', '/entity?node=30', '/entity?node=3',
         '/triples?node=30&relation=0&side=tail', '/ask?head=30&relation=0',
         '/ask?relation=0&tail=1', '/ask?head=30&tail=1',
         '/why?head=30&relation=0&tail=1', '/similar?node=1',
         '/similar?node=1&bare=1', '/failures?compute=1',
         '/failures?group=relation&label=0', '/compare?compute=1',
         '/map?node=30', '/map?run=1']


@pytest.mark.parametrize('path', PAGES)
def test_every_page_shows_labels_as_text(explorer: Explorer, path: str,
                                         check_markup: Any) -> None:
    for i in range(2):
        explorer.rankings(i, compute=True)
    answer = get(explorer, path)
    assert answer.status == 200
    assert answer.headers['content-type'] == 'text/html; charset=utf-8'
    text = answer.text
    assert all(link.startswith(('/', '#')) for link in check_markup(text))
    assert '<img src=x' not in text
    assert '<h1>fake' not in text


def test_size_of_a_page_does_not_follow_labels(explorer: Explorer) -> None:
    """One label has 10,000 letters."""
    long = 'long' * 25
    for path in PAGES:
        assert 'long' * 200 not in get(explorer, path).text
    assert long[:50] in get(explorer, '/search?q=longlong').text
    assert '10,000' in get(explorer, '/entity?node=3').text


def test_marks_are_visible(explorer: Explorer) -> None:
    text = get(explorer, '/entity?node=2').text
    assert r'gpj\u202eexe.\u2066harm\x1b[31mless' in text
    assert show('a' * 100, 10) == 'a' * 9 + '…'
    assert show('a' * 10, 10) == 'a' * 10


@pytest.mark.parametrize('host', [
    '127.0.0.1', '127.0.0.1:1', 'localhost:8765', 'LOCALHOST', '[::1]:80'])
def test_local_hosts(explorer: Explorer, host: str) -> None:
    assert get(explorer, '/assets/icon.svg', {'host': host}).status == 200


@pytest.mark.parametrize('headers', [
    {}, {'host': 'evil.example'}, {'host': 'evil.example:8765'},
    {'host': '127.0.0.1.evil.example'}, {'host': 'localhost.evil.example'},
    {'host': '127.0.0.1:8765@evil.example'}, {'host': '0.0.0.0:8765'},
    {'host': '127.0.0.1\n'}, {'host': '192.168.1.2'}, {'host': '[::1]x'},
    {**HOST, 'sec-fetch-site': 'cross-site', 'sec-fetch-dest': 'iframe'},
    {**HOST, 'sec-fetch-site': 'cross-site', 'sec-fetch-dest': 'empty'},
    {**HOST, 'sec-fetch-site': 'cross-site'}])
def test_foreign_requests_are_refused(explorer: Explorer,
                                      headers: dict[str, str]) -> None:
    for path in ('/', '/suggest?q=node', '/picture/1.png', '/nowhere'):
        answer = get(explorer, path, headers)
        assert answer.status == 403
        assert b'node' not in answer.content
        assert "default-src 'none'" in answer.headers[
            'content-security-policy']


def test_a_link_from_elsewhere_is_followed(explorer: Explorer) -> None:
    assert get(explorer, '/', {**HOST, 'sec-fetch-site': 'cross-site',
                               'sec-fetch-dest': 'document'}).status == 200


@pytest.mark.parametrize('path', ['/', '/nowhere', '/suggest?q=a',
                                  '/picture/1.png', '/assets/explore.js'])
def test_headers(explorer: Explorer, path: str) -> None:
    headers = get(explorer, path).headers
    policy = headers['content-security-policy']
    assert policy.startswith("default-src 'none'; ")
    assert 'unsafe' not in policy and '*' not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers['x-content-type-options'] == 'nosniff'
    assert headers['referrer-policy'] == 'no-referrer'


@pytest.mark.parametrize('path, status', [
    ('/nowhere', 404), ('/entity', 404), ('/entity?node=60', 404),
    ('/entity?node=-1', 404), ('/entity?node=x', 404),
    ('/entity?node=' + '9' * 30, 404), ('/ask?head=1', 400),
    ('/ask?head=1&relation=0&tail=2', 400), ('/ask?head=1&relation=77', 404),
    ('/triples?node=1&relation=0&side=up', 404), ('/map?method=magic', 400),
    ('/why?head=1&relation=0', 404), ('/map?run=2', 404),
    ('/failures?group=no&label=0', 400), ('/picture/59.png', 404),
    ('/picture/99999999.png', 404), ('/assets/no.css', 404),
    ('/assets/..%2f__init__.py', 404), ('/assets/../pages.py', 404)])
def test_bad_addresses(explorer: Explorer, path: str, status: int) -> None:
    explorer.rankings(0, compute=True)
    answer = get(explorer, path)
    assert answer.status == status
    assert 'Traceback' not in answer.text


def test_problem_is_text(explorer: Explorer) -> None:
    answer = get(explorer, '/<script>x')
    assert answer.status == 404
    assert '&lt;script&gt;x' in answer.text


def test_only_reading(explorer: Explorer) -> None:
    assert get(explorer, '/', method='POST').status == 405


def test_pages_without_ranks_offer_to_compute_them(
        explorer: Explorer) -> None:
    for path, name, link in (
            ('/compare', 'Compare', '/compare?compute=1'),
            ('/failures?run=1', 'Failures', '/failures?compute=1&amp;run=1')):
        fresh = Explorer([Subject(subject.name, subject.answers)
                          for subject in explorer.subjects], Media({}, {}))
        text = get(fresh, path).text
        assert 'not ranked yet' in text
        assert re.findall(r'aria-current="page">([^<]*)<', text) == [name]
        assert f'href="{link}">Rank them now' in text
        text = get(fresh, html.unescape(link)).text
        assert 'not ranked yet' not in text
        assert re.findall(r'<a href="[^"]*" aria-current="page">([^<]*)<',
                          text)[0] == name


def test_question_of_the_form(explorer: Explorer) -> None:
    for side, path in (('tail', '/ask?head=3&new=1&relation=2'),
                       ('head', '/ask?new=1&relation=2&tail=3')):
        answer = get(explorer, f'/ask?relation=2&side={side}&node=3&new=1')
        assert (answer.status, answer.headers['location']) == (303, path)


def test_answers_of_a_page(explorer: Explorer) -> None:
    """The page lists the answers of `predict`, with their triples."""
    found = explorer.predict(0, 30, 1, None, 5)
    text = get(explorer, '/ask?head=30&relation=1&k=5').text
    first = text[text.index('<ol class="answers">'):text.index('</ol>')]
    assert [int(i) for i in re.findall(r'<b><bdi><a href="/entity\?node=(\d+)',
                                       first)] == found.answer[0].tolist()
    known = [not tag == 'new' for tag in re.findall(
        r'class="tag (\w+)"', first)]
    assert known == found.known[0].tolist()
    assert [float(x.replace('\u2212', '-')) for x in re.findall(
        r'title="Score">([^<]*)<', first)] == pytest.approx(
            found.score[0].tolist(), abs=5e-4)


def test_number_of_answers_is_bounded(explorer: Explorer) -> None:
    text = get(explorer, '/ask?head=30&relation=1&k=999999').text
    assert text.count('class="score"') <= 2 * 100


def test_suggestions(explorer: Explorer) -> None:
    answer = get(explorer, '/suggest?q=node')
    assert answer.headers['content-type'] == 'application/json'
    found = json.loads(answer.content)
    assert len(found) == 8
    assert found[0].keys() == {'label', 'href', 'picture'}
    row, = json.loads(get(explorer, '/suggest?q=gpj').content)
    assert row == {'label': r'gpj\u202eexe.\u2066harm\x1b[31mless',
                   'href': '/entity?node=2', 'picture': '/picture/2.png'}
    assert len(get(explorer, '/suggest?q=longlong').content) < 500


def test_picture_is_a_png(explorer: Explorer) -> None:
    answer = get(explorer, '/picture/1.png')
    assert answer.headers['content-type'] == 'image/png'
    assert answer.content.startswith(b'\x89PNG')


def test_triples_are_shown_in_parts(countries: Explorer) -> None:
    hub = int(countries.adjacency.degree.argmax())
    group = countries.adjacency.groups(hub)[0]
    assert group.num_triples > 100
    seen: list[int] = []
    path = (f'/triples?node={hub}&relation={group.rel_type}'
            f'&side={group.side}')
    pages = 0
    while path:
        text = get(countries, path).text
        seen += map(int, re.findall(r'<b><bdi><a href="/entity\?node=(\d+)',
                                    text))
        more = re.search(r'href="([^"]*)">Next<', text)
        path = more[1].replace('&amp;', '&') if more else ''
        pages += 1
    assert seen == countries.adjacency.members(group)[0]
    assert pages == -(-group.num_triples // 50)


def test_sockets_are_local() -> None:
    with listen(0) as place:
        address, port = place.getsockname()
        assert address == '127.0.0.1'
        with pytest.raises(ConfigError, match=f'{port}.*Pass --port 0'):
            listen(port)
    for bad in (-1, 1 << 16):
        with pytest.raises(ConfigError, match=f'from 0 to 65535 .got {bad}'):
            listen(bad)


def test_address_answers_while_the_model_is_loaded(
        capsys: pytest.CaptureFixture[str]) -> None:
    """A function that fails to open the model ends the server."""
    pytest.importorskip('uvicorn', reason='needs the extra explore')
    asked: list[str] = []

    def fail() -> Explorer:
        address = capsys.readouterr().out.split()[0]
        asked.append(address)
        for path in ('/', '/entity?node=3', '/suggest?q=a'):
            with pytest.raises(HTTPError, match='503') as info:
                urlopen(f'{address}{path}', timeout=60)
            text = info.value.read().decode()
            assert '<h1>Loading &lt;b&gt;a run</h1>' in text
            assert info.value.headers['refresh'] == '1'
            assert "default-src 'none'" in info.value.headers[
                'content-security-policy']
        with urlopen(f'{address}/assets/explore.css', timeout=60) as answer:
            assert answer.headers['content-type'] == 'text/css'
        with pytest.raises(HTTPError, match='403'):
            urlopen(URLRequest(address, headers={'Host': 'evil.example'}),
                    timeout=60)
        raise ConfigError('broken')

    with pytest.raises(ConfigError, match='broken'):
        serve(fail, 0, '<b>a run')
    with pytest.raises(URLError):
        urlopen(asked[0], timeout=60)


def test_server_does_not_import_torch() -> None:
    code = ('import sys, pyg_mmkgc.cli, pyg_mmkgc.explore.server; '
            "assert 'torch' not in sys.modules")
    subprocess.run([sys.executable, '-c', code], check=True)


def test_every_hostile_label_was_shown(explorer: Explorer) -> None:
    text = get(explorer, '/triples?node=30&relation=0&side=tail').text
    assert text.count('class="pic') >= 10
