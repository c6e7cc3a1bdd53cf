r"""Files of queries and of their answers."""

from __future__ import annotations

import csv
import io
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from torch.nn import Module

from pyg_mmkgc.data.text import read_lines
from pyg_mmkgc.errors import ConfigError, DataError, FormatError, MMKGCError
from pyg_mmkgc.evaluation.predict import PARTS, predict
from pyg_mmkgc.io.atomic import PathLike, atomic_path, write_atomic
from pyg_mmkgc.report import cut

ENDINGS = ('.tsv', '.jsonl', '.parquet')
# The parts of a triple, with None for the part to predict.
Query = tuple[Any, Any, Any]


def read_queries(path: PathLike) -> list[Query]:
    r"""Reads queries from a file. Each line holds a head, a relation and a
    tail, separated by tabs, and one of them is :obj:`?`.

    .. code-block:: python

        >>> import os, tempfile
        >>> from pyg_mmkgc.evaluation import read_queries
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, 'queries.tsv')
        ...     with open(path, 'w') as file:
        ...         _ = file.write('Austria\tneighbour\t?')
        ...     read_queries(path)
        [('Austria', 'neighbour', None)]

    Args:
        path (str or os.PathLike): The file.

    Returns:
        The three parts of each query, with :obj:`None` for :obj:`?`.

    Raises:
        FormatError: If a line is not a query. The message names its row.
    """
    out: list[Query] = []
    for row, line in enumerate(read_lines(path), start=1):
        cells = line.split('\t')
        if len(cells) != 3 or cells.count('?') != 1 or '' in cells:
            raise FormatError(
                "Expected a head, a relation and a tail, separated by tabs, "
                f"one of which is '?', in row {row} of '{os.fspath(path)}' "
                f"(got '{cut(line)}')")
        head, rel, tail = (None if cell == '?' else cell for cell in cells)
        out.append((head, rel, tail))
    return out


def predict_records(model: Module, kg: Any, queries: Sequence[Query],
                    k: int = 10, filter_known: bool = False,
                    self_loops: bool = False) -> dict[str, list[Any]]:
    r"""Answers queries for different parts of triples.

    .. code-block:: python

        >>> from pyg_mmkgc import AdaMF, Countries
        >>> from pyg_mmkgc.evaluation import predict_records
        >>> kg = Countries()[0]
        >>> model = AdaMF.from_data(kg, hidden_channels=8)
        >>> found = predict_records(model, kg, [
        ...     ('Austria', 'neighbour', None), ('Austria', None, 'Vienna')],
        ...     k=2)
        >>> list(found)
        ['query', 'head', 'relation', 'tail', 'rank', 'score', 'known']
        >>> found['query'], found['rank']
        ([1, 1, 2, 2], [1, 2, 1, 2])

    Args:
        model (torch.nn.Module): A model, as for
            :func:`~pyg_mmkgc.evaluation.predict`.
        kg (KnowledgeGraph or None): The graph, as for
            :func:`~pyg_mmkgc.evaluation.predict`.
        queries (list[tuple]): The head, relation and tail of each query as
            ids or labels, with :obj:`None` for the part to predict.
        k (int, optional): As for :func:`~pyg_mmkgc.evaluation.predict`.
            (default: :obj:`10`)
        filter_known (bool, optional): As for
            :func:`~pyg_mmkgc.evaluation.predict`. (default: :obj:`False`)
        self_loops (bool, optional): As for
            :func:`~pyg_mmkgc.evaluation.predict`. (default: :obj:`False`)

    Returns:
        Columns with one row per answer, in the order of the queries. They
        are the number of the query (from :obj:`1`), the labels of the
        triple, the rank, the score, and, if a graph is given, whether the
        triple is known.

    Raises:
        DataError: If a query does not leave exactly one part open, or an id
            or label is not in the graph.
    """
    places: dict[str, list[int]] = {}
    for i, query in enumerate(queries):
        if len(query) != 3 or sum(part is None for part in query) != 1:
            raise DataError('Expected a head, a relation and a tail, one of '
                            f'which is None, in query {i + 1} (got '
                            f'{query!r})')
        side = PARTS[[part is None for part in query].index(True)]
        places.setdefault(side, []).append(i)

    rows: dict[int, list[list[Any]]] = {}
    names = [*PARTS, 'rank', 'score']
    for side, place in places.items():
        head, rel, tail = (
            None if part == side else [queries[i][j] for i in place]
            for j, part in enumerate(PARTS))
        found = predict(model, kg, head, rel, tail, k, filter_known,
                        self_loops)
        table = found.table()
        names, answers = list(table.columns), iter(table.rows)
        for i, labels in zip(place, found.labels, strict=True):
            rows[i] = [[i + 1, *next(answers)] for _ in labels]
    names = ['query', *names]
    return {name: [row[j] for i in sorted(rows) for row in rows[i]]
            for j, name in enumerate(names)}


def check_ending(path: PathLike) -> None:
    r"""Checks that :func:`write_records` supports the ending of a file.

    Raises:
        ConfigError: If the ending is not supported.
    """
    if pathlib.Path(path).suffix not in ENDINGS:
        raise ConfigError('Expected a file ending in '
                          + ', '.join(map(repr, ENDINGS))
                          + f" (got '{os.fspath(path)}')")


def write_records(path: PathLike, columns: Mapping[str, Sequence[Any]]
                  ) -> None:
    r"""Writes columns of equal length to a file: :obj:`.tsv` with a header,
    :obj:`.jsonl` with one object per row, or :obj:`.parquet`.

    .. code-block:: python

        >>> import os, tempfile
        >>> from pyg_mmkgc.evaluation import write_records
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, 'answers.jsonl')
        ...     write_records(path, {'tail': ['Italy'], 'rank': [1]})
        ...     with open(path) as file:
        ...         print(file.read().strip())
        {"tail": "Italy", "rank": 1}

    Args:
        path (str or os.PathLike): The file. Its ending decides the format.
        columns (dict): The columns by name.

    Raises:
        ConfigError: If the ending is not supported.
        MMKGCError: If :obj:`pyarrow` is not installed.
    """
    check_ending(path)
    suffix = pathlib.Path(path).suffix
    if suffix == '.parquet':
        write_parquet(path, columns)
        return
    rows = zip(*columns.values(), strict=True)
    if suffix == '.jsonl':
        write_atomic(path, ''.join(
            json.dumps(dict(zip(columns, row, strict=True)),
                       ensure_ascii=False) + '\n' for row in rows))
        return
    out = io.StringIO()
    # Labels with a tab or a line break are quoted, as in spreadsheets.
    writer = csv.writer(out, delimiter='\t', lineterminator='\n')
    writer.writerow(columns)
    writer.writerows([_plain(cell) for cell in row] for row in rows)
    write_atomic(path, out.getvalue())


def write_parquet(path: PathLike, columns: Mapping[str, Any]) -> None:
    r"""Writes columns of equal length into a :obj:`.parquet` file.

    Args:
        path (str or os.PathLike): The file.
        columns (dict): The columns by name.

    Raises:
        MMKGCError: If :obj:`pyarrow` is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MMKGCError("Expected 'pyarrow' to be installed for Parquet in "
                         f"'{os.fspath(path)}'. Run: pip install "
                         '"pyg_mmkgc[pandas]". The other endings do not need '
                         'it.') from error
    with atomic_path(path) as temp:
        pyarrow.parquet.write_table(pyarrow.table(dict(columns)), temp)


def _plain(cell: Any) -> Any:
    return str(cell).lower() if isinstance(cell, bool) else cell
