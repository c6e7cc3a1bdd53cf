r"""Results as text, HTML, LaTeX and data frames."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pyg_mmkgc.errors import ConfigError, MMKGCError, printable

WIDTH = 60  # The maximum width of a label in a text table.
ROWS = 60  # The maximum number of rows of an HTML table.
_LATEX = {'&': r'\&', '%': r'\%', '_': r'\_', '#': r'\#', '$': r'\$',
          '{': r'\{', '}': r'\}', '~': r'\textasciitilde{}',
          '^': r'\textasciicircum{}', '\\': r'\textbackslash{}',
          '<': r'\textless{}', '>': r'\textgreater{}', '|': r'\textbar{}',
          '±': r'$\pm$'}


@dataclass(frozen=True)
class Table:
    r"""A table with named columns, whose cells are text, numbers, booleans
    or :obj:`None`.

    .. code-block:: python

        >>> from pyg_mmkgc.report import Table
        >>> print(Table(['model', 'MRR'], [['AdaMF', 0.3592]]).text())
        model     MRR
        AdaMF  0.3592

    Args:
        columns (list[str]): The names of the columns.
        rows (list[list]): The cells of each row.
        caption (str, optional): A caption of the table.
            (default: :obj:`""`)
    """
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str = ''

    def text(self) -> str:
        r"""Returns the table with aligned columns, without its caption."""
        cells = [[cut(format_cell(cell)) for cell in row]
                 for row in (self.columns, *self.rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        return '\n'.join('  '.join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, self._numeric(),
                                           strict=True)).rstrip()
            for row in cells)

    def html(self) -> str:
        r"""Returns the first rows as an HTML :obj:`<table>`."""
        def line(cells: Sequence[Any], tag: str) -> str:
            return '<tr>' + ''.join(
                f'<{tag}>{html.escape(printable(format_cell(cell)))}</{tag}>'
                for cell in cells) + '</tr>'

        out = ['<table>']
        if self.caption:
            out.append(f'<caption>{html.escape(printable(self.caption))}'
                       '</caption>')
        out += [f"<thead>{line(self.columns, 'th')}</thead>", '<tbody>',
                *(line(row, 'td') for row in self.rows[:ROWS]), '</tbody>',
                '</table>']
        if len(self.rows) > ROWS:
            out.append(f'<p>and {len(self.rows) - ROWS:,} more rows</p>')
        return '\n'.join(out)

    def latex(self) -> str:
        r"""Returns a :obj:`table` environment, which needs the package
        :obj:`booktabs`.
        """
        def line(cells: Sequence[Any]) -> str:
            text = ' & '.join(latex(format_cell(cell)) for cell in cells)
            # LaTeX reads a leading bracket as an argument of the previous
            # line.
            return '{}' * text.startswith(('[', '*')) + text + r' \\'

        columns = ''.join('r' if number else 'l' for number in self._numeric())
        out = [r'\begin{table}', r'\centering', rf'\begin{{tabular}}'
               rf'{{{columns}}}', r'\toprule', line(self.columns), r'\midrule',
               *map(line, self.rows), r'\bottomrule', r'\end{tabular}']
        if self.caption:
            out.append(rf'\caption{{{latex(self.caption)}}}')
        return '\n'.join([*out, r'\end{table}', ''])

    def to_pandas(self) -> Any:
        r"""Returns a :class:`pandas.DataFrame` with the unformatted cells."""
        pandas = import_pandas('to_pandas()')
        return pandas.DataFrame([list(row) for row in self.rows],
                                columns=list(self.columns))

    def _numeric(self) -> list[bool]:
        return [all(isinstance(row[i], (int, float)) or row[i] is None
                    for row in self.rows) for i in range(len(self.columns))]


class Report:
    r"""The base class of results, which are shown as tables in a notebook
    and can be converted to data frames and LaTeX.

    A subclass lists its tables in :obj:`table_names`, the most important
    first, and creates them in :meth:`make_table`. Its :obj:`repr` shows
    the values of :meth:`summary`.
    """
    table_names: ClassVar[tuple[str, ...]]
    html_tables: ClassVar[tuple[str, ...] | None] = None  # By default, all.

    def summary(self) -> dict[str, Any]:
        r"""Returns the few values that identify the result."""
        raise NotImplementedError

    def make_table(self, name: str) -> Table:
        r"""Creates the table with a name in :obj:`table_names`."""
        raise NotImplementedError

    def table(self, name: str | None = None) -> Table:
        r"""Returns one of the tables in :obj:`table_names`.

        Args:
            name (str, optional): The name of the table. (default: :obj:`None`,
                the first table)

        Raises:
            ConfigError: If there is no such table.
        """
        if name is not None and name not in self.table_names:
            raise ConfigError(
                f'Expected the name of a table of {type(self).__name__}, one '
                f"of {', '.join(map(repr, self.table_names))} (got {name!r})")
        return self.make_table(name or self.table_names[0])

    def to_pandas(self, table: str | None = None) -> Any:
        r"""Returns a table as a :class:`pandas.DataFrame`.

        Args:
            table (str, optional): The name of the table, as for
                :meth:`table`. (default: :obj:`None`)

        Raises:
            MMKGCError: If :obj:`pandas` is not installed.
        """
        return self.table(table).to_pandas()

    def to_latex(self, table: str | None = None) -> str:
        r"""Returns a table as LaTeX code, which needs the package
        :obj:`booktabs`.

        Args:
            table (str, optional): The name of the table, as for
                :meth:`table`. (default: :obj:`None`)
        """
        return self.table(table).latex()

    def __repr__(self) -> str:
        values = ', '.join(f'{name}={_short(value)}'
                           for name, value in self.summary().items())
        lines = textwrap.wrap(values, 72, break_long_words=False,
                              break_on_hyphens=False)
        if len(lines) <= 1 and len(values) < 72 - len(type(self).__name__):
            return f'{type(self).__name__}({values})'
        return f'{type(self).__name__}(\n' + ''.join(
            f'  {line}\n' for line in lines) + ')'

    def _repr_html_(self) -> str:
        names = (self.table_names if self.html_tables is None
                 else self.html_tables)
        head = f'<p><b>{type(self).__name__}</b> ' + html.escape(', '.join(
            f'{name}={_short(value)}'
            for name, value in self.summary().items())) + '</p>'
        return '\n'.join([head, *(self.make_table(name).html()
                                  for name in names)])


def cut(text: str) -> str:
    r"""Returns a text without control characters, cut to the width of a
    table cell.
    """
    text = printable(text)
    return text if len(text) <= WIDTH else text[:WIDTH - 1] + '…'


def latex(text: str) -> str:
    r"""Escapes the characters of a text that LaTeX reads as commands."""
    return ''.join(_LATEX.get(char, char) for char in printable(text))


def format_cell(value: Any) -> str:
    r"""Formats a cell as text, with four decimal places for floats and an
    empty text for :obj:`None`.
    """
    if value is None:
        return ''
    if isinstance(value, bool):
        return 'yes' if value else 'no'
    return f'{value:.4f}' if isinstance(value, float) else str(value)


def import_pandas(what: str) -> Any:
    r"""Returns the module :obj:`pandas`.

    Args:
        what (str): The name of the caller, for the error.

    Raises:
        MMKGCError: If :obj:`pandas` is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise MMKGCError(f"Expected 'pandas' to be installed for {what}. Run: "
                         'pip install "pyg_mmkgc[pandas]"') from error
    return pandas


def _short(value: Any) -> str:
    if isinstance(value, str):
        return f"'{cut(value)}'"
    return cut(format_cell(value) if isinstance(value, float) else
               str(value))
