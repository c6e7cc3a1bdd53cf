r"""The server of the pages on this machine, which needs the extra
``explore``.

Nothing here imports PyTorch, so that the address answers while it is loaded.
"""

from __future__ import annotations

import contextlib
import html
import re
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import TYPE_CHECKING, Any

from pyg_mmkgc.errors import ConfigError, MMKGCError, printable
from pyg_mmkgc.explore.assets import ASSETS, read_asset

if TYPE_CHECKING:
    from pyg_mmkgc.explore.explorer import Explorer

ADDRESS = '127.0.0.1'
PORT = 8765
NEEDED = ("Expected 'starlette' and 'uvicorn' to be installed for the page. "
          'Run: pip install "pyg_mmkgc[explore]"')
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
_LOADING = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Loading – {name}</title>
<link rel="icon" href="/assets/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/assets/explore.css">
</head>
<body>
<main class="loading">
<h1>Loading {name}</h1>
<p>PyTorch, the graph and the model are being loaded, for {seconds:.0f} s so
far.</p>
<p class="note">The page opens by itself. If it does not, the terminal shows
the error.</p>
</main>
</body>
</html>
"""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Guard:
    r"""Refuses requests that do not come from a page of this server, and
    adds the headers that keep a page from loading or running anything else.

    Otherwise, a foreign page could read the graph, either through its own host
    name that resolves to this machine (DNS rebinding), which is sent in the
    host header, or by embedding a page.

    Args:
        app (callable): The application.
    """
    def __init__(self, app: App) -> None:
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


class Door:
    r"""An application that answers with a page that reloads itself every
    second, until :attr:`app` is set to the application behind it.

    Args:
        name (str): The name of what is loaded.
    """
    def __init__(self, name: str) -> None:
        self.app: App = Guard(self._wait)
        self._name = html.escape(printable(name))
        self._start = time.monotonic()

    async def __call__(self, scope: Scope, receive: Receive,
                       send: Send) -> None:
        await self.app(scope, receive, send)

    async def _wait(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = scope['path'].removeprefix('/assets/')
        if name in ASSETS:
            status, content = 200, read_asset(name)
            headers = [(b'content-type', ASSETS[name].encode())]
        else:
            status, content = 503, _LOADING.format(
                name=self._name, seconds=time.monotonic() - self._start
            ).encode()
            headers = [(b'content-type', b'text/html; charset=utf-8'),
                       (b'refresh', b'1'), (b'retry-after', b'1')]
        await send({'type': 'http.response.start', 'status': status,
                    'headers': headers})
        await send({'type': 'http.response.body', 'body': content})


@contextlib.contextmanager
def running(app: App, port: int) -> Iterator[tuple[str, threading.Event]]:
    r"""Context manager in which a thread serves an application on this
    machine. Returns its address and an event that is set when it ends.

    Args:
        app (callable): The ASGI application.
        port (int): The port on 127.0.0.1, or :obj:`0` for any free port.

    Raises:
        ConfigError: If the port is not free.
        MMKGCError: If the extra :obj:`explore` is not installed.
    """
    try:
        import uvicorn
    except ImportError as error:
        raise MMKGCError(NEEDED) from error
    server = uvicorn.Server(uvicorn.Config(
        app, log_level='warning', access_log=False, server_header=False,
        lifespan='off', ws='none', timeout_graceful_shutdown=1))
    ended = threading.Event()

    def run() -> None:
        try:
            server.run([place])
        finally:
            ended.set()

    with listen(port) as place:
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield f'http://{ADDRESS}:{place.getsockname()[1]}', ended
        finally:
            server.should_exit = True
            thread.join()


def serve(explorer: Explorer | Callable[[], Explorer], port: int = PORT,
          name: str = 'the model') -> None:
    r"""Shows the pages on this machine until the process is interrupted.

    Args:
        explorer (Explorer or callable): The contents of the pages, or a
            function that returns them. The address answers with a page that
            waits while the function runs.
        port (int, optional): The port on 127.0.0.1, or :obj:`0` for any free
            port. (default: :obj:`8765`)
        name (str, optional): The name of what the function loads. (default:
            :obj:`"the model"`)

    Raises:
        ConfigError: If the port is not free.
        MMKGCError: If the extra :obj:`explore` is not installed.
    """
    door = Door(name)
    with running(door, port) as (address, ended):
        print(f'{address} (end with Ctrl-C)', flush=True)
        from pyg_mmkgc.explore.app import make_app

        opened = explorer() if callable(explorer) else explorer
        door.app = make_app(opened)
        # The first question would show the same error on its page.
        with contextlib.suppress(MMKGCError):
            opened.prepare()
        # Windows does not interrupt a longer wait.
        while not ended.wait(1):
            pass


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
