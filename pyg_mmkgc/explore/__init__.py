r"""A page to explore a graph and the predictions of a model (extra
``explore``).

The HTML pages are rendered by `Jinja <https://jinja.palletsprojects.com>`_ and
served on 127.0.0.1 by `Starlette <https://www.starlette.io>`_. Both are
written in pure Python and start immediately. The same templates write a site
of files, and every page works without scripts. A toolkit such as Gradio would
bring some fifty packages, load scripts and fonts from other servers, and
require a running process.
"""

from pyg_mmkgc.evaluation import read_queries

from .explorer import Explorer, Subject
from .opening import open_explorer
from .server import make_app, serve
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
