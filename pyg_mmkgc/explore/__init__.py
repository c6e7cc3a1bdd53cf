r"""A page to explore a graph and the predictions of a model (extra
``explore``).

The HTML pages are rendered by `Jinja <https://jinja.palletsprojects.com>`_ and
served on 127.0.0.1 by `Starlette <https://www.starlette.io>`_. Both are
written in pure Python and start immediately. The same templates write a site
of files, and every page works without scripts. A toolkit such as Gradio would
bring some fifty packages, load scripts and fonts from other servers, and
require a running process.
"""

from typing import TYPE_CHECKING

from pyg_mmkgc.lazy import lazy_names

if TYPE_CHECKING:
    from pyg_mmkgc.evaluation import read_queries

    from .app import make_app
    from .explorer import Explorer, Subject
    from .opening import open_explorer
    from .server import serve
    from .site import export_site

__all__ = [
    'Explorer',
    'Subject',
    'open_explorer',
    'make_app',
    'serve',
    'export_site',
    'read_queries',
]

if not TYPE_CHECKING:  # The server answers before PyTorch is imported.
    __getattr__ = lazy_names(__name__, __all__, [
        'pyg_mmkgc.explore.server', 'pyg_mmkgc.explore.explorer',
        'pyg_mmkgc.explore.opening', 'pyg_mmkgc.explore.app',
        'pyg_mmkgc.explore.site', 'pyg_mmkgc.evaluation'])


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
