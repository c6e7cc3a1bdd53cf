r"""The pages as an ASGI application."""

from __future__ import annotations

import re
from typing import Any

from pyg_mmkgc.errors import MMKGCError
from pyg_mmkgc.explore.assets import ASSETS, read_asset
from pyg_mmkgc.explore.explorer import Explorer
from pyg_mmkgc.explore.links import Links
from pyg_mmkgc.explore.pages import NotFound, Pages, show
from pyg_mmkgc.explore.server import NEEDED, Guard

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
        raise MMKGCError(NEEDED) from error

    pages = Pages(explorer, Links())

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
        if name not in ASSETS:
            return Response('There is no such file.', 404,
                            media_type='text/plain')
        return Response(read_asset(name), media_type=ASSETS[name])

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
