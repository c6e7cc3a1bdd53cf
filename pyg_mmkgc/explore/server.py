r"""The pages on this machine, which needs the extra ``explore``."""

from __future__ import annotations

import contextlib
import importlib.resources
import re
import socket
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from pyg_mmkgc.errors import ConfigError, MMKGCError
from pyg_mmkgc.explore.explorer import Explorer
from pyg_mmkgc.explore.links import Links
from pyg_mmkgc.explore.pages import NotFound, Pages, show

ADDRESS = '127.0.0.1'
PORT = 8765
#: The files that pages link to, and their types.
ASSETS = {'explore.css': 'text/css', 'explore.js': 'text/javascript',
          'icon.svg': 'image/svg+xml'}
# The names by which a browser on this machine reaches it.
_HOSTS = re.compile(r'(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?',
                    re.IGNORECASE)
_HEADERS = {
    'content-security-policy': (
        "default-src 'none'; img-src 'self'; style-src 'self'; script-src "
        "'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"),
    'x-content-type-options': 'nosniff',
    'x-frame-options': 'DENY',
    'referrer-policy': 'no-referrer',
    'cross-origin-opener-policy': 'same-origin',
    'cross-origin-resource-policy': 'same-origin',
    'cache-control': 'no-cache',
}
# The options of pages that are texts. All others are ids or numbers.
_TEXTS = {'q', 'side', 'method', 'group', 'label'}
_OPTIONS = {
    'home': set(), 'search': {'q'}, 'entity': {'node'},
    'triples': {'node', 'relation', 'side', 'start'},
    'ask': {'head', 'relation', 'tail', 'k', 'new'},
    'why': {'head', 'relation', 'tail', 'run'},
    'similar': {'node', 'run', 'bare'},
    'failures': {'run', 'group', 'label', 'compute'},
    'compare': {'compute'}, 'map': {'run', 'method', 'node'},
}
_MUST = {'entity': {'node'}, 'triples': {'node', 'relation', 'side'},
         'why': {'head', 'relation', 'tail'}, 'similar': {'node'}}

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]


class Guard:
    r"""Refuses requests that do not come from a page of this server, and
    adds the headers that keep a page from loading or running anything else.

    Otherwise, a foreign page could read the graph, either through its own host
    name that resolves to this machine (DNS rebinding), which is sent in the
    host header, or by embedding a page.

    Args:
        app (callable): The application.
    """
    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive,
                       send: Send) -> None:
        if scope['type'] != 'http':
            if scope['type'] == 'lifespan':
                await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Scope) -> None:
            if message['type'] == 'http.response.start':
                message['headers'] = [*message.get('headers', []), *(
                    (key.encode(), value.encode())
                    for key, value in _HEADERS.items())]
            await send(message)

        reason = _refusal(scope)
        if reason is None:
            await self.app(scope, receive, send_with_headers)
            return
        await send_with_headers({
            'type': 'http.response.start', 'status': 403,
            'headers': [(b'content-type', b'text/plain; charset=utf-8')]})
        await send({'type': 'http.response.body', 'body': reason.encode()})


def _refusal(scope: Scope) -> str | None:
    headers: dict[bytes, list[str]] = {}
    for key, value in scope['headers']:
        headers.setdefault(key.lower(), []).append(value.decode('latin-1'))
    hosts = headers.get(b'host', [])
    if len(hosts) != 1 or _HOSTS.fullmatch(hosts[0]) is None:
        return ('Expected 127.0.0.1 or localhost as the host. Reach another '
                'machine by an SSH tunnel.')
    # A link from another page is followed, but no page embeds this one.
    if (headers.get(b'sec-fetch-site') == ['cross-site']
            and headers.get(b'sec-fetch-dest') != ['document']):
        return 'Expected a request of this page.'
    return None


def make_app(explorer: Explorer) -> Any:
    r"""Returns the ASGI application of an explorer.

    Raises:
        MMKGCError: If the extra :obj:`explore` is not installed.
    """
    try:
        from starlette.applications import Starlette
        from starlette.requests import Request
        from starlette.responses import (
            HTMLResponse,
            JSONResponse,
            RedirectResponse,
            Response,
        )
        from starlette.routing import Route
    except ImportError as error:
        raise MMKGCError(
            "Expected 'starlette' and 'uvicorn' to be installed for the "
            'page. Run: pip install "pyg_mmkgc[explore]"') from error

    pages = Pages(explorer, Links())
    folder = importlib.resources.files('pyg_mmkgc.explore') / 'static'
    assets = {name: (folder / name).read_bytes() for name in ASSETS}

    # Plain functions run in threads, so that questions do not block pictures.

    def show_page(request: Request) -> Response:
        name = request.url.path.strip('/') or 'home'
        try:
            options = _options(name, dict(request.query_params))
            if 'node' in options and name == 'ask':
                return RedirectResponse(str(_question(pages.links, options)),
                                        303)
            return HTMLResponse(pages.render(name, **options))
        except NotFound as error:
            return HTMLResponse(pages.problem(404, str(error)), 404)
        except MMKGCError as error:
            return HTMLResponse(pages.problem(400, str(error)), 400)

    def suggest(request: Request) -> Response:
        found = explorer.search(request.query_params.get('q', ''), 8)
        return JSONResponse([suggestion(explorer, pages.links, node)
                             for node in found])

    def picture(request: Request) -> Response:
        content = explorer.media.thumbnail(request.path_params['node'])
        if content is None:
            return Response('There is no such picture.', 404,
                            media_type='text/plain')
        return Response(content, media_type='image/png')

    def asset(request: Request) -> Response:
        name = request.path_params['name']
        if name not in assets:
            return Response('There is no such file.', 404,
                            media_type='text/plain')
        return Response(assets[name], media_type=ASSETS[name])

    def missing(request: Request, error: Exception) -> Response:
        return HTMLResponse(pages.problem(404, request.url.path), 404)

    app = Starlette(
        routes=[*(Route('/' if name == 'home' else f'/{name}', show_page)
                  for name in _OPTIONS),
                Route('/suggest', suggest),
                Route('/picture/{node:int}.png', picture),
                Route('/assets/{name}', asset)],
        exception_handlers={404: missing})
    return Guard(app)


def suggestion(explorer: Explorer, links: Links, node: int) -> dict[str, Any]:
    r"""Returns the entry of a node in the search results, ready for JSON."""
    return {'label': show(explorer.label(node), 80),
            'href': links('entity', node=node),
            'picture': links.picture(node)
            if explorer.media.has_picture(node) else None}


def serve(explorer: Explorer, port: int = PORT) -> None:
    r"""Shows the pages on this machine until the process is interrupted.

    Args:
        explorer (Explorer): The contents of the pages.
        port (int, optional): The port on 127.0.0.1, or :obj:`0` for any free
            port. (default: :obj:`8765`)

    Raises:
        ConfigError: If the port is not free.
        MMKGCError: If the extra :obj:`explore` is not installed.
    """
    app = make_app(explorer)
    import uvicorn

    def prepare() -> None:
        # The first question would show the same error on its page.
        with contextlib.suppress(MMKGCError):
            explorer.prepare()

    with listen(port) as place:
        threading.Thread(target=prepare, daemon=True).start()
        print(f'http://{ADDRESS}:{place.getsockname()[1]} (end with Ctrl-C)',
              flush=True)
        uvicorn.Server(uvicorn.Config(
            app, log_level='warning', access_log=False, server_header=False,
            lifespan='off', ws='none')).run(sockets=[place])


def listen(port: int) -> socket.socket:
    r"""Returns a socket that listens on a port of this machine only.

    Raises:
        ConfigError: If the port is not free.
    """
    if not 0 <= port < 1 << 16:
        raise ConfigError(f"Expected 'port' from 0 to 65535 (got {port})")
    place = socket.socket()
    try:
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        place.bind((ADDRESS, port))
        place.listen(128)
    except OSError as error:
        place.close()
        raise ConfigError(f"Expected 'port' to be free (got {port}: "
                          f'{error.strerror}). Pass --port 0 for any free '
                          'port.') from None
    return place


def _options(name: str, values: dict[str, str]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    known = _OPTIONS[name] | ({'node', 'side'} if name == 'ask' else set())
    for key, value in values.items():
        if key not in known:
            continue
        if key in _TEXTS:
            out[key] = value
        elif re.fullmatch(r'[0-9]{1,12}', value):
            out[key] = int(value)
        else:
            raise NotFound(f"Expected '{key}' to be a number (got "
                           f'{value!r:.80})')
    lacking = _MUST.get(name, set()) - set(out)
    if lacking:
        raise NotFound(f"Expected '{sorted(lacking)[0]}' in the address")
    return out


def _question(links: Links, form: dict[str, Any]) -> str | None:
    # The form sends a node and a side, while the address has a head or a tail.
    side = form.pop('side', 'tail')
    form['tail' if side == 'head' else 'head'] = form.pop('node')
    return links('ask', **form)
