r"""Addresses of pages, on a server or in a folder of files."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

# A page: its name and its options, as in ('entity', (('node', 12), )).
Page = tuple[str, tuple[tuple[str, Any], ...]]
# Head, relation and tail. The part to predict is None.
Question = tuple['int | None', 'int | None', 'int | None']


def page(name: str, **options: Any) -> Page:
    r"""Returns the page with a given name and the options that are not
    :obj:`None`.
    """
    return name, tuple((key, value) for key, value in sorted(options.items())
                       if value is not None)


class Links:
    r"""The addresses of pages on the server."""
    live = True

    def __call__(self, name: str, **options: Any) -> str | None:
        r"""Returns the address of a page, or :obj:`None` if the site does not
        have it.
        """
        query = urlencode(page(name, **options)[1])
        path = '/' if name == 'home' else f'/{name}'
        return f'{path}?{query}' if query else path

    def questions(self) -> list[Question]:
        r"""Returns the questions that a site answers."""
        return []

    def entities(self) -> list[int]:
        r"""Returns the nodes that a site has a page for."""
        return []

    def picture(self, node: int) -> str:
        r"""Returns the address of the picture of a node."""
        return f'/picture/{node}.png'

    def asset(self, name: str) -> str:
        r"""Returns the address of a file of the package."""
        return f'/assets/{name}'


class SiteLinks(Links):
    r"""The addresses of files in one folder. Only pages of the site have an
    address.

    Args:
        pages (set): The pages of the site.
    """
    live = False

    def __init__(self, pages: set[Page]) -> None:
        self.pages = pages
        #: The nodes whose pictures are linked to.
        self.pictures: set[int] = set()

    def __call__(self, name: str, **options: Any) -> str | None:
        key = page(name, **options)
        return file_of(key) if key in self.pages else None

    def questions(self) -> list[Question]:
        found = [dict(options) for name, options in self.pages
                 if name == 'ask']
        return sorted(((x.get('head'), x.get('relation'), x.get('tail'))
                       for x in found),
                      key=lambda x: [-1 if i is None else i for i in x])

    def entities(self) -> list[int]:
        return sorted(options[0][1] for name, options in self.pages
                      if name == 'entity')

    def picture(self, node: int) -> str:
        self.pictures.add(node)
        return f'picture-{node}.png'

    def asset(self, name: str) -> str:
        return name


def file_of(key: Page) -> str:
    r"""Returns the name of the file of a page. It contains ids instead of
    labels, which may contain anything.
    """
    name, options = key
    if name == 'home':
        return 'index.html'
    return '-'.join([name, *(f'{option}-{value}' if option != 'node' else
                             str(value) for option, value in options)]
                    ) + '.html'
