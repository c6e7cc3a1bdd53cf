from __future__ import annotations

import csv
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from operator import eq
from typing import Any

import torch
from torch import Tensor

from pyg_mmkgc.data.knowledge_graph import KnowledgeGraph
from pyg_mmkgc.data.text import iter_lines
from pyg_mmkgc.data.triples import (
    Labels,
    Triple,
    build_graph,
    check_split,
)
from pyg_mmkgc.errors import DataError, FormatError
from pyg_mmkgc.io.reading import as_path

PathLike = str | os.PathLike[str]

# As strings, a hostile line of tabs would take forty times its size.
MAX_FIELDS = 10_000
_HEADER = (
    {'head', 'h', 'head_id', 'subject', 'source'},
    {'relation', 'rel', 'r', 'rel_type', 'edge_type', 'predicate',
     'property', 'relationship', 'relation_id'},
    {'tail', 't', 'tail_id', 'object', 'target'},
)


def from_tsv(
    train: PathLike,
    val: PathLike | None = None,
    test: PathLike | None = None,
    *,
    columns: Sequence[str | int] | None = None,
    delimiter: str = '\t',
    quoting: int = csv.QUOTE_MINIMAL,
    encoding: str = 'utf-8',
    val_ratio: float = 0.0,
    test_ratio: float = 0.0,
    seed: int = 0,
    features: Mapping[str, Mapping[str, Any] | PathLike] | None = None,
    node_names: Mapping[str, str] | PathLike | None = None,
    allow_overlap: bool = False,
) -> KnowledgeGraph:
    r"""Reads a knowledge graph from text files.

    Each line contains the labels of head, relation and tail, separated by
    tabs. A first line with the names of these columns is skipped. Quoted
    labels are read by the rules of :mod:`csv`, so labels that :mod:`csv` or
    :obj:`pandas` wrote are restored. Nodes and relations are numbered in the
    order in which they appear. Use :func:`~pyg_mmkgc.data.renumber` to number
    the graph like a saved model.

    Without :obj:`val` and :obj:`test`, the triples of the file can be split at
    random. Repeated triples are then removed with a warning. One triple of
    each node and each relation stays in the training split, so that the other
    splits only contain known nodes and relations, unless too few other triples
    are left to reach the ratios.

    Args:
        train (str or os.PathLike): The file of the training triples or of
            all triples.
        val (str or os.PathLike, optional): The file of the validation
            triples. (default: :obj:`None`)
        test (str or os.PathLike, optional): The file of the test triples.
            (default: :obj:`None`)
        columns (list, optional): The columns of head, relation and tail,
            either by their names in the first line, or by their positions,
            counted from zero, in files without such a line. (default:
            :obj:`None`, files with these three columns in this order)
        delimiter (str, optional): The character between columns.
            (default: a tab)
        quoting (int, optional): The rule for quotes, as in :mod:`csv`. With
            :obj:`csv.QUOTE_NONE` (:obj:`3`), quotes are part of labels.
            (default: :obj:`csv.QUOTE_MINIMAL`)
        encoding (str, optional): The encoding of the files. A byte order mark
            is dropped. (default: :obj:`"utf-8"`)
        val_ratio (float, optional): The share of triples to use for
            validation. (default: :obj:`0.0`)
        test_ratio (float, optional): The share of triples to use for testing.
            (default: :obj:`0.0`)
        seed (int, optional): The seed of the random split.
            (default: :obj:`0`)
        features (dict, optional): The vectors of each modality by label: a
            dictionary, an :obj:`.npz` file with one array per label, a
            :obj:`.safetensors` file with one table whose rows belong to the
            lines of :obj:`labels.txt` next to it, or a folder written by
            :obj:`mmkgc features`. Nodes without a vector are masked.
            (default: :obj:`None`)
        node_names (dict or str, optional): The label of each identifier, or a
            file with the columns identifier and label. Triples and features
            may then use identifiers or labels. (default: :obj:`None`)
        allow_overlap (bool, optional): If set to :obj:`True`, a triple may
            occur in several files. (default: :obj:`False`)

    Raises:
        FormatError: If a row of a file breaks the format.
        DataError: If a triple occurs in several files, the ratios leave a
            split empty, or the features belong to no node.
    """
    check_split(val_ratio, test_ratio, seed,
                val is not None or test is not None)
    if not isinstance(delimiter, str) or len(delimiter) != 1 or (
            delimiter in '"\r\n'):
        raise DataError("Expected 'delimiter' to be one character, but not a "
                        f'quote or the end of a line (got {delimiter!r})')
    if quoting not in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL,
                       csv.QUOTE_NONNUMERIC, csv.QUOTE_NONE):
        raise DataError("Expected 'quoting' to be a constant of csv from 0 to "
                        f'3 (got {quoting!r})')
    if columns is not None and (
            isinstance(columns, str) or len(columns) != 3
            or len({type(column) for column in columns}) > 1
            or not isinstance(columns[0], (str, int))):
        raise DataError("Expected 'columns' to hold the names or the "
                        'positions of head, relation and tail (got '
                        f'{columns!r})')
    as_path(train)
    labels = Labels(None if node_names is None else dict(node_names)
                    if isinstance(node_names, Mapping) else
                    _read_names(node_names, delimiter, quoting, encoding))
    parts: dict[str, Tensor] = {}
    where: dict[str, str] = {}
    for name, path in (('train', train), ('val', val), ('test', test)):
        if path is not None:
            where[name] = f"'{os.fspath(path)}'"
            parts[name] = labels.number(_read_triples(
                path, columns, delimiter, quoting, encoding))
            if columns is None:
                _warn_of_order(parts[name], labels, path)
    return build_graph(parts, labels, where, val_ratio, test_ratio, seed,
                       features, allow_overlap)


def _read_triples(path: PathLike, columns: Sequence[str | int] | None,
                  delimiter: str, quoting: int,
                  encoding: str) -> Iterator[Triple]:
    empty = True
    where: list[int] | None = None
    if columns is not None and isinstance(columns[0], int):
        where = [int(column) for column in columns]
    for row, line in enumerate(iter_lines(path, encoding), start=1):
        fields = _fields(line, delimiter, quoting, path, row)
        if row == 1 and columns is not None and where is None:
            lacking = [name for name in columns if name not in fields]
            if lacking:
                raise FormatError(f'Expected the columns {list(columns)} in '
                                  f"'{os.fspath(path)}', row 1 (got "
                                  f'{fields!s:.200})')
            where = [fields.index(str(name)) for name in columns]
            continue
        if where is None:
            if row == 1 and _is_header(fields, path):
                continue
            if len(fields) != 3:
                kind = 'tabs' if delimiter == '\t' else repr(delimiter)
                raise FormatError(
                    f'Expected head, relation and tail, separated by {kind}, '
                    f"in '{os.fspath(path)}', row {row} (got {len(fields)} "
                    f"columns in {line[:80]!r}). Pass 'columns' to select "
                    'three columns.')
        elif not 0 <= min(where) <= max(where) < len(fields):
            raise FormatError(f'Expected the columns {list(columns or ())} in '
                              f"'{os.fspath(path)}', row {row} (got "
                              f'{len(fields)} columns in {line[:80]!r})')
        head, rel, tail = ((fields[i] for i in where) if where is not None
                           else fields)
        if any(label != label.strip() or label == ''
               for label in (head, rel, tail)):
            raise FormatError('Expected labels without spaces around them in '
                              f"'{os.fspath(path)}', row {row} (got "
                              f'{[head, rel, tail]!s:.200})')
        empty = False
        yield head, rel, tail
    if empty:
        raise FormatError(f"Expected triples in '{os.fspath(path)}' (got "
                          'none)')


def _fields(line: str, delimiter: str, quoting: int, path: PathLike,
            row: int) -> list[str]:
    count = line.count(delimiter) + 1
    if count > MAX_FIELDS:
        raise FormatError(f'Expected at most {MAX_FIELDS} columns in '
                          f"'{os.fspath(path)}', row {row} (got {count} "
                          f'columns in {line[:80]!r})')
    if quoting == csv.QUOTE_NONE or '"' not in line:
        return line.split(delimiter)
    try:  # A label does not span lines.
        return next(csv.reader([line], delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise FormatError(
            f"Expected quotes as csv writes them in '{os.fspath(path)}', row "
            f'{row} (got {line[:80]!r}: {error}). Pass quoting=3, which is '
            'csv.QUOTE_NONE, if quotes are part of labels.') from error


def _read_names(path: PathLike, delimiter: str, quoting: int,
                encoding: str) -> dict[str, str]:
    out: dict[str, str] = {}
    for row, line in enumerate(iter_lines(path, encoding), start=1):
        fields = _fields(line, delimiter, quoting, path, row)
        if len(fields) != 2 or '' in fields:
            raise FormatError('Expected an identifier and a label in '
                              f"'{os.fspath(path)}', row {row} (got "
                              f'{line[:80]!r})')
        if out.setdefault(fields[0], fields[1]) != fields[1]:
            raise FormatError('Expected one label per identifier in '
                              f"'{os.fspath(path)}', row {row} (got "
                              f'{fields[1]!r} for {fields[0]!r}, after '
                              f'{out[fields[0]]!r})')
    return out


def _is_header(columns: list[str], path: PathLike) -> bool:
    names = [column.strip().lower() for column in columns]
    kinds = [next((i for i, kind in enumerate(_HEADER) if name in kind), None)
             for name in names]
    if len(kinds) == 3 and set(kinds) == {0, 1, 2} and kinds != [0, 1, 2]:
        raise FormatError('Expected the columns head, relation, tail in this '
                          f"order in '{os.fspath(path)}', row 1 (got "
                          f'{names!s:.200}). Pass their names as '
                          "'columns'.")
    if len(kinds) == 3 and sum(map(eq, kinds, range(3))) == 2:
        warnings.warn(f"Expected a triple in '{os.fspath(path)}', row 1 (got "
                      f'{columns!s:.200}, which looks like column names but '
                      'is read as a triple). Name the columns head, relation '
                      'and tail, or remove the row.', stacklevel=6)
    return kinds == [0, 1, 2]


def _warn_of_order(triples: Tensor, labels: Labels, path: PathLike) -> None:
    # There are few relations, none of which is a node, whereas most graphs
    # have nodes that are both a head and a tail.
    heads, rels, tails = (column.unique() for column in triples.t())
    if (tails.numel() >= rels.numel()
            or bool(torch.isin(heads, tails, assume_unique=True).any())):
        return
    names, nodes = list(labels.relations), set(heads.tolist())
    if any(labels.nodes.get(names[i]) in nodes for i in rels.tolist()):
        warnings.warn(
            f"Expected head, relation, tail in this order in "
            f"'{os.fspath(path)}' (got a second column with {rels.numel()} "
            'labels, some of which are heads, and a third with '
            f'{tails.numel()}, none of which is). Pass columns=[0, 2, 1] if '
            'the file has head, tail, relation.', stacklevel=4)
