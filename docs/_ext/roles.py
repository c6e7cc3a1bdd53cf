r"""The role ``:pyg:`` of PyG's documentation, a link to PyG."""
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx


def pyg(name: str, rawtext: str, text: str, lineno: int, inliner: Any,
        options: Any = None, content: Any = None) -> tuple[list, list]:
    r"""Returns a link to PyG."""
    return [nodes.reference(rawtext, text, refuri='https://pyg.org')], []


def setup(app: Sphinx) -> dict[str, bool]:
    r"""Adds the role."""
    app.add_role('pyg', pyg)
    return {'parallel_read_safe': True}
