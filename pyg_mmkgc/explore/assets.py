r"""The files that pages link to."""

from __future__ import annotations

import importlib.resources

#: The names of the files, and their types.
ASSETS = {'explore.css': 'text/css', 'explore.js': 'text/javascript',
          'icon.svg': 'image/svg+xml'}


def read_asset(name: str) -> bytes:
    r"""Returns the contents of a file of :obj:`ASSETS`."""
    folder = importlib.resources.files('pyg_mmkgc.explore') / 'static'
    return (folder / name).read_bytes()
