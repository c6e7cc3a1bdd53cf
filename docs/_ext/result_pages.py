r"""The results, from the files that the benchmarks wrote."""
from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pages import ROOT, generate

if TYPE_CHECKING:  # The tests have no Sphinx.
    from sphinx.application import Sphinx

BENCHMARKS = ROOT / 'benchmarks'
#: The pages by the file of the benchmarks that each is made from.
LINK = re.compile(r'(!?)\[([^\]]*)\]\((?!https?:|mailto:)([^)#]*)(#[^)]*)?\)')


def sources() -> Iterator[Path]:
    r"""Yields the files that become a page."""
    yield from sorted(BENCHMARKS.rglob('*.md'))


def page_of(path: Path) -> str:
    r"""Returns the path of the page of a file, without a suffix."""
    parts = [part for part in path.relative_to(BENCHMARKS).with_suffix(
        '').parts if part != 'results' and part != 'cpu']
    if parts[-1] == 'README':
        parts = parts[:-1] or ['index']
    if path.match('results/cpu/README.md'):
        parts = ['speed_cpu']
    elif path.match('pyg_baselines/results/README.md'):
        parts = ['pyg_baselines_results']
    return f'results/{"_".join(parts)}'


def convert(path: Path, pages: dict[Path, str]) -> str:
    r"""Returns the page of a file, with the links to other files turned into
    links to their pages, and with the pictures from their place.
    """
    up = '../' * page_of(path).count('/')
    text = path.read_text('utf-8')
    title = text.partition('\n')[0].removeprefix('# ')
    # Tables of the same name are told apart by their folder.
    folder = path.parent.name
    if folder == 'cpu' or (folder != 'results' and path.stem != 'README'):
        text = text.replace(title, f'{title} ({folder})', 1)

    def link(found: re.Match[str]) -> str:
        picture, text, target, anchor = found.groups()
        file = (path.parent / target).resolve() if target else path
        if picture:
            return f'![{title}]({up}../{file.relative_to(ROOT).as_posix()})'
        for item in (file, file / 'README.md'):
            if item in pages:
                name = pages[item].removeprefix('results/')
                return f'[{text}]({name}.md{anchor or ""})'
        return f'`{text}`' if '`' not in text else text

    text = LINK.sub(link, text)
    return fold(text) if 'results' in path.parts else text


def fold(text: str) -> str:
    r"""Returns a page of results with its protocol, which is long, in a box
    below the tables and pictures.
    """
    title, _, rest = text.partition('\n')
    rest, more, end = rest.partition('\n## ')
    parts = [part for part in re.split(r'\n\n+', rest.strip()) if part]
    shown = [part for part in parts if part.startswith(('|', '!['))]
    told = [part for part in parts if not part.startswith(('|', '!['))]
    if not told or not shown:
        return text
    return '\n\n'.join([title, *shown, ':::{admonition} Protocol',
                        *told, ':::']) + f'\n{more}{end}'


def pages() -> dict[str, str]:
    r"""Returns the page of each file and the page that lists them."""
    names = {path: page_of(path) for path in sources()}
    assert len(set(names.values())) == len(names), 'two files have one page'
    out = {f'{name}.md': convert(path, names)
           for path, name in names.items()}
    links = '\n'.join(sorted(name.removeprefix('results/') for name in
                             names.values() if name != 'results/index'))
    out['results/index.md'] += (
        f'\n```{{toctree}}\n:hidden:\n:maxdepth: 1\n\n{links}\n```\n')
    return out


def setup(app: Sphinx) -> dict[str, bool]:
    r"""Writes the pages before a build."""
    generate(app, pages, 'results')
    return {'parallel_read_safe': True}
