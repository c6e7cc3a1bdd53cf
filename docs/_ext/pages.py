r"""Helpers of the generators of pages."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # The tests have no Sphinx.
    from sphinx.application import Sphinx
    from sphinx.config import Config


ROOT = Path(__file__).resolve().parents[2]


def generate(app: Sphinx, pages: Callable[[], Mapping[str, str]],
             folder: str | None = None) -> None:
    r"""Writes pages before Sphinx looks for sources. Pages that are as they
    were keep their time, so that Sphinx does not read them again.

    Args:
        app (Sphinx): The build.
        pages (Callable): A function that returns the text of each page by its
            path below the sources.
        folder (str, optional): A folder whose other files are deleted.
            (default: :obj:`None`)
    """
    def write(app: Sphinx, config: Config) -> None:
        texts = pages()
        for name, text in texts.items():
            path = Path(app.srcdir, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists() or path.read_text('utf-8') != text:
                path.write_text(text, 'utf-8')
        for path in Path(app.srcdir, folder).rglob('*') if folder else ():
            if path.is_file() and path.relative_to(
                    app.srcdir).as_posix() not in texts:
                path.unlink()

    # Before Sphinx lists the sources, which autosummary reads then.
    app.connect('config-inited', write)


def heading(text: str, line: str = '=') -> str:
    r"""Returns a heading in reStructuredText."""
    return f'{text}\n{line * len(text)}\n'


def indent(text: str, by: int = 3) -> str:
    r"""Returns a text with all its lines indented."""
    return '\n'.join(' ' * by + line if line else ''
                     for line in text.split('\n'))
