r"""A page to explore a graph and the predictions of a model (extra
``explore``).

The pages are HTML that `Jinja <https://jinja.palletsprojects.com>`_ renders
and `Starlette <https://www.starlette.io>`_ serves on 127.0.0.1: a few
packages in pure Python, which start at once. The same templates write a site
of files, and every page works without scripts. A toolkit such as Gradio would
bring some fifty packages, scripts and fonts from elsewhere and a process that
has to run.
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
