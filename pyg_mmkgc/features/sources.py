r"""Lists images and texts: from a folder or a table."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyg_mmkgc.errors import DataError, FormatError, printable
from pyg_mmkgc.features.items import Item
from pyg_mmkgc.io.reading import PathLike, as_path, read_file
from pyg_mmkgc.io.schema import parse_json

MAX_COLUMNS = 10_000


def read_folder(root: PathLike) -> list[Item]:
    r"""Lists a folder that has one subfolder of files per entity.

    The name of the subfolder is the entity. Whatever lies in it is listed,
    also what cannot be used, such as a link that leaves :obj:`root`, so that
    the manifest can say so; only names that begin with a dot are left out.

    Args:
        root (str or os.PathLike): The folder.

    Raises:
        DataError: If there is no such folder, or no subfolder in it.
    """
    root = as_path(root)
    if not root.is_dir():
        raise DataError(f"'{root}': expected a folder with one subfolder per "
                        f'entity')
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
            f"'{root}': {len(loose)} files lie outside the subfolders of the "
            f'entities and are left out: '
            f'{", ".join(map(printable, loose[:3]))}'
            f'{", ..." if len(loose) > 3 else ""}', stacklevel=2)
    if not items:
        raise DataError(f"'{root}': expected one subfolder per entity, got "
                        f'none')
    return items


def read_table(
    path: PathLike,
    column: str,
    root: PathLike | None = None,
    header: bool = True,
) -> list[Item]:
    r"""Lists the images or texts of a table, one row each.

    The table is a file :obj:`.tsv` (tabs, no quotes), :obj:`.csv` or
    :obj:`.jsonl` (one JSON object a line) in UTF-8, with the columns or keys
    :obj:`entity` and :obj:`column`; others are ignored. An entity may have
    any number of rows.

    Args:
        path (str or os.PathLike): The file.
        column (str): The column to read: :obj:`'image'` for paths of image
            files, :obj:`'text'` for texts.
        root (str or os.PathLike, optional): The folder that paths are
            relative to and must not leave. If not given, that of the table.
            (default: :obj:`None`)
        header (bool, optional): If set to :obj:`False`, a :obj:`.tsv` or
            :obj:`.csv` has no header, and the columns are entity and
            :obj:`column`. (default: :obj:`True`)

    Raises:
        FormatError: If the file is no such table, with its row. A value
            that is no text in UTF-8 makes its row unusable, no more.
    """
    if column not in ('image', 'text'):
        raise DataError(f"column must be 'image' or 'text' (got {column!r})")
    path = as_path(path)
    base = os.path.realpath(path.parent if root is None else root)
    items = []
    for row, entity, value in _rows(path, column, header):
        entity, key = _plain(entity), f'row {row}'
        if entity.strip() == '':
            raise _error(path, row, 'an entity', entity)
        if column == 'text':
            items.append(Item(entity, value, key))
            continue
        key = f'{key}: {_plain(value)}'
        file = os.path.join(base, value)
        problem = 'no path' if value == '' else _file_problem(file, base)
        items.append(Item(entity, Path(file), key, problem))
    if not items:
        raise FormatError(f"'{path}': expected rows, got none")
    return items


def _rows(path: Path, column: str,
          header: bool) -> Iterator[tuple[int, str, str]]:
    # What is not UTF-8 becomes lone surrogates, in its own value only.
    text = read_file(path).decode('utf-8', 'surrogateescape')
    text = text.removeprefix('\ufeff')
    if path.suffix == '.jsonl':
        yield from _json_rows(path, text, column)
        return
    readers = {'.tsv': _tsv_rows, '.csv': _csv_rows}
    if path.suffix not in readers:
        raise FormatError(f"'{path}': expected a table that ends in .tsv, "
                          f'.csv or .jsonl')
    names: list[str] = [] if header else ['entity', column]
    for row, fields in readers[path.suffix](path, text):
        if not names:
            names = fields
            if not {'entity', column} <= set(names):
                raise _error(path, row, f"a header with 'entity' and "
                             f'{column!r}', names)
        elif len(fields) != len(names):
            raise _error(path, row, f'{len(names)} columns', fields)
        else:
            yield (row, fields[names.index('entity')],
                   fields[names.index(column)])


def _tsv_rows(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    for row, line in enumerate(text.split('\n'), start=1):
        if line.strip() != '':
            if line.count('\t') >= MAX_COLUMNS:
                raise _error(path, row, f'at most {MAX_COLUMNS} columns', line)
            yield row, line.removesuffix('\r').split('\t')


def _csv_rows(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    # The limit protects from a missing quote, and is 131,072 characters.
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
               column: str) -> Iterator[tuple[int, str, str]]:
    for row, line in enumerate(text.split('\n'), start=1):
        if line.strip() == '':
            continue
        try:
            value = parse_json(line)
        except ValueError as error:
            raise _error(path, row, 'JSON', error) from error
        if not isinstance(value, dict):
            raise _error(path, row, 'a JSON object', line)
        entity, content = value.get('entity'), value.get(column)
        if isinstance(entity, int) and not isinstance(entity, bool):
            entity = str(entity)
        if content is None and column in value:  # A missing value.
            content = ''
        if not isinstance(entity, str) or not isinstance(content, str):
            raise _error(path, row, f"a text as 'entity' and as {column!r}",
                         line)
        yield row, entity, content


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
    # Names of files and values of tables may be anything; labels are lines.
    name = name.encode('utf-8', 'backslashreplace').decode('utf-8')
    return name.replace('\n', '\\n').replace('\r', '\\r').replace('\0', '\\0')


def _error(path: Path, row: int, expected: str, got: Any) -> FormatError:
    return FormatError(f"'{path}', row {row}: expected {expected}, got "
                       f'{str(got)[:80]!r}')
