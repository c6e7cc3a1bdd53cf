r"""Lists of images and texts from folders and tables."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pyg_mmkgc.errors import DataError, FormatError, printable
from pyg_mmkgc.features.items import Item
from pyg_mmkgc.io.reading import PathLike, as_path, read_file
from pyg_mmkgc.io.schema import parse_json

MAX_COLUMNS = 10_000


def read_folder(root: PathLike) -> list[Item]:
    r"""Lists the files of a folder with one subfolder per entity.

    The name of a subfolder is the entity. Every file in it is listed, except
    for names that begin with a dot. This includes unusable files, such as
    links that leave :obj:`root`, for which the manifest states the reason.

    Args:
        root (str or os.PathLike): The folder.

    Raises:
        DataError: If the folder does not exist or has no subfolders.
    """
    root = as_path(root)
    if not root.is_dir():
        raise DataError(f'Expected a folder with one subfolder per entity '
                        f"(got '{root}', which is not a folder)")
    base = os.path.realpath(root)
    items, loose = [], []
    for folder in _entries(root):
        entity = _plain(folder.name)
        problem = _link_problem(folder.path, base)
        if problem != '':
            items.append(Item(entity, Path(folder.path), entity, problem))
        elif not folder.is_dir():
            loose.append(entity)
        else:
            files = [
                Item(entity, Path(file.path), f'{entity}/{_plain(file.name)}',
                     _file_problem(file.path, base))
                for file in _entries(folder.path)
            ]
            items += files or [
                Item(entity, Path(folder.path), f'{entity}/',
                     'the folder is empty')
            ]
    if loose:
        warnings.warn(
            f'Expected all files to be in the subfolders of entities in '
            f"'{root}' (got {len(loose)} files outside of them: "
            f'{", ".join(map(printable, loose[:3]))}'
            f'{", ..." if len(loose) > 3 else ""}). They are left out.',
            stacklevel=2)
    if not items:
        raise DataError(f"Expected one subfolder per entity in '{root}' (got "
                        f'none)')
    return items


def read_table(
    path: PathLike,
    column: str,
    root: PathLike | None = None,
    header: bool = True,
) -> list[Item]:
    r"""Lists the images or texts of a table with one item per row.

    The table is a :obj:`.tsv` (tabs, no quotes), :obj:`.csv` or :obj:`.jsonl`
    (one JSON object per line) file in UTF-8. Its columns or keys are
    :obj:`entity` and the value of :obj:`column`. All others are ignored. An
    entity may have any number of rows.

    Args:
        path (str or os.PathLike): The file.
        column (str): The column to read: :obj:`"image"` for paths of image
            files, :obj:`"text"` for texts.
        root (str or os.PathLike, optional): The folder that paths are relative
            to and must not leave. (default: :obj:`None`, the folder of the
            table)
        header (bool, optional): If set to :obj:`False`, a :obj:`.tsv` or
            :obj:`.csv` file has no header, and its two columns are the
            entity and the value of :obj:`column`. (default: :obj:`True`)

    Raises:
        FormatError: If the file is not such a table. The message names the
            row. A value that is not UTF-8 only makes its own row unusable.
    """
    if column not in ('image', 'text'):
        raise DataError(f"Expected 'column' to be 'image' or 'text' (got "
                        f'{column!r})')
    path = as_path(path)
    base = os.path.realpath(path.parent if root is None else root)
    items = []
    for row, (entity, value) in table_rows(path, [column], header):
        key = f'row {row}'
        if column == 'text':
            items.append(Item(entity, value, key))
            continue
        key = f'{key}: {_plain(value)}'
        file = os.path.join(base, value)
        problem = 'no path' if value == '' else _file_problem(file, base)
        items.append(Item(entity, Path(file), key, problem))
    if not items:
        raise FormatError(f"Expected rows in '{path}' (got none)")
    return items


def table_rows(path: Path, columns: Sequence[str],
               header: bool) -> Iterator[tuple[int, list[str]]]:
    r"""Yields the rows of a table, counted from 1: the entity, and the values
    of other columns.

    Args:
        path (pathlib.Path): A :obj:`.tsv`, :obj:`.csv` or :obj:`.jsonl` file,
            see :func:`read_table`.
        columns (list[str]): The names of the columns after the entity.
        header (bool): If set to :obj:`False`, a :obj:`.tsv` or :obj:`.csv`
            file has no header, and only these columns.

    Raises:
        FormatError: If the file is not such a table.
    """
    # Invalid UTF-8 becomes lone surrogates, which affect only their value.
    text = read_file(path).decode('utf-8', 'surrogateescape')
    text = text.removeprefix('\ufeff')
    wanted = ['entity', *columns]
    for row, values in _rows(path, text, wanted, header):
        values[0] = _plain(values[0])
        if values[0].strip() == '':
            raise _error(path, row, 'an entity', values[0])
        yield row, values


def _rows(path: Path, text: str, wanted: list[str],
          header: bool) -> Iterator[tuple[int, list[str]]]:
    if path.suffix == '.jsonl':
        yield from _json_rows(path, text, wanted)
        return
    readers = {'.tsv': _tsv_rows, '.csv': _csv_rows}
    if path.suffix not in readers:
        raise FormatError(f'Expected a table that ends in .tsv, .csv or '
                          f".jsonl (got '{path}')")
    names: list[str] = [] if header else wanted
    for row, fields in readers[path.suffix](path, text):
        if not names:
            names = fields
            if not set(wanted) <= set(names):
                listed = ' and '.join(map(repr, wanted))
                raise _error(path, row, f'a header with {listed}', names)
        elif len(fields) != len(names):
            raise _error(path, row, f'{len(names)} columns', fields)
        else:
            yield row, [fields[names.index(name)] for name in wanted]


def _tsv_rows(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    for row, line in enumerate(text.split('\n'), start=1):
        if line.strip() != '':
            if line.count('\t') >= MAX_COLUMNS:
                raise _error(path, row, f'at most {MAX_COLUMNS} columns', line)
            yield row, line.removesuffix('\r').split('\t')


def _csv_rows(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    # The default limit of 131,072 characters guards against missing quotes.
    with _field_limit(len(text) + 1):
        reader = csv.reader(io.StringIO(text, newline=''), strict=True)
        row = 1
        try:
            for fields in reader:
                if fields:
                    yield row, fields
                row = reader.line_num + 1
        except csv.Error as error:
            raise _error(path, row, 'a row of CSV', error) from error


@contextlib.contextmanager
def _field_limit(size: int) -> Iterator[None]:
    old = csv.field_size_limit(size)
    try:
        yield
    finally:
        csv.field_size_limit(old)


def _json_rows(path: Path, text: str,
               wanted: list[str]) -> Iterator[tuple[int, list[str]]]:
    for row, line in enumerate(text.split('\n'), start=1):
        if line.strip() == '':
            continue
        try:
            value = parse_json(line)
        except ValueError as error:
            raise _error(path, row, 'JSON', error) from error
        if not isinstance(value, dict):
            raise _error(path, row, 'a JSON object', line)
        fields = [_json_text(name, value) for name in wanted]
        if None in fields:
            rest = ' and as '.join(map(repr, wanted[1:]))
            raise _error(path, row, f"a text as 'entity' and as {rest}", line)
        yield row, [field for field in fields if field is not None]


def _json_text(name: str, row: dict[str, Any]) -> str | None:
    value = row.get(name)
    if type(value) in {'entity': (int, ), 'value': (int, float)}.get(name, ()):
        return str(value)
    if value is None and name in row and name != 'entity':
        return ''  # null is a missing value.
    return value if isinstance(value, str) else None


def _entries(folder: PathLike) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        found = [e for e in entries if not e.name.startswith('.')]
    return sorted(found, key=lambda entry: entry.name)


def _link_problem(path: str, base: str) -> str:
    try:
        target = os.path.realpath(path, strict=True)
    except (OSError, ValueError) as error:
        reason = getattr(error, 'strerror', None) or str(error)
        return f'not there: {reason}'
    if os.path.commonpath([target, base]) != base:
        return 'lies outside the folder (a link or path that leaves it)'
    return ''


def _file_problem(path: str, base: str) -> str:
    problem = _link_problem(path, base)
    if problem == '' and os.path.isdir(path):
        return 'a folder, not a file'
    if problem == '' and not os.path.isfile(path):
        return 'not a regular file'
    return problem


def _plain(name: str) -> str:
    # File names and values are arbitrary text, but a label is one line.
    name = name.encode('utf-8', 'backslashreplace').decode('utf-8')
    return name.replace('\n', '\\n').replace('\r', '\\r').replace('\0', '\\0')


def _error(path: Path, row: int, expected: str, got: Any) -> FormatError:
    return FormatError(f"Expected {expected} in row {row} of '{path}' (got "
                       f'{str(got)[:80]!r})')
