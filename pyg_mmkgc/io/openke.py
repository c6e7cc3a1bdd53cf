r"""Readers of the text files of OpenKE: name maps and triples."""
from __future__ import annotations

import torch
from torch import Tensor

from pyg_mmkgc.errors import FormatError
from pyg_mmkgc.io.reading import PathLike, read_file


def read_names(path: PathLike) -> list[str]:
    r"""Reads the names of :obj:`entity2id.txt` or :obj:`relation2id.txt`.

    The first line is the number of names, and each further line is
    :obj:`name id`.

    Args:
        path (str or os.PathLike): The file to read.

    Returns:
        The names in the order of their ids.

    Raises:
        FormatError: If a row breaks the format.
    """
    rows = _read_rows(path)
    names: list[str | None] = [None] * len(rows)
    seen: dict[str, int] = {}
    for i, row in enumerate(rows, start=2):
        # Names may contain blanks, ids cannot.
        fields = row.rsplit(None, 1)
        if len(fields) != 2:
            raise _error(path, i, "'name id'", row)
        name = fields[0]
        index = _to_id(path, i, fields[1], len(rows), 'id')
        if names[index] is not None:
            raise _error(path, i, 'every id once', f'{index} again')
        if name in seen:
            raise _error(path, i, 'every name once',
                         f'{name!r} again, after row {seen[name]}')
        seen[name] = i
        names[index] = name
    return [name for name in names if name is not None]


def read_triples(
    path: PathLike,
    num_nodes: int,
    num_relations: int,
) -> tuple[Tensor, Tensor]:
    r"""Reads the triples of one split, such as :obj:`train2id.txt`.

    The first line is the number of triples, and each further line is
    :obj:`head tail relation`, in this order.

    Args:
        path (str or os.PathLike): The file to read.
        num_nodes (int): The number of nodes.
        num_relations (int): The number of relations.

    Returns:
        The triples as :obj:`edge_index` with shape :obj:`[2, num_edges]` and
        :obj:`edge_type` with shape :obj:`[num_edges]`.

    Raises:
        FormatError: If a row breaks the format.
    """
    columns = (('head', num_nodes), ('tail', num_nodes),
               ('relation', num_relations))
    triples = []
    for i, row in enumerate(_read_rows(path), start=2):
        fields = row.split(None, 3)
        if len(fields) != 3:
            raise _error(path, i, "'head tail relation'", row)
        triples.append([
            _to_id(path, i, field, size, name)
            for field, (name, size) in zip(fields, columns,
                                             strict=True)
        ])
    table = torch.tensor(triples, dtype=torch.long).view(-1, 3).t()
    return table[:2].contiguous(), table[2].contiguous()


def read_labels(path: PathLike, num_nodes: int) -> list[str]:
    r"""Reads one label per line, in the order of the ids.

    Args:
        path (str or os.PathLike): The file to read.
        num_nodes (int): The expected number of labels.

    Raises:
        FormatError: If the file has another number of labels.
    """
    labels = _read_lines(path)
    if len(labels) != num_nodes:
        raise FormatError(f"Expected {num_nodes} labels in '{path}', one line "
                          f'for every node (got {len(labels)})')
    return labels


def _read_rows(path: PathLike) -> list[str]:
    lines = _read_lines(path)
    header = lines[0].strip() if lines else ''
    if not (header.isascii() and header.isdigit()):
        raise _error(path, 1, 'the number of rows', header)
    if header != str(len(lines) - 1):
        raise _error(path, 1, f'{len(lines) - 1}, the number of rows that '
                     f'follow', header)
    return lines[1:]


def _read_lines(path: PathLike) -> list[str]:
    content = read_file(path)
    try:
        text = content.decode('utf-8')
    except UnicodeDecodeError as error:
        row = content.count(b'\n', 0, error.start) + 1
        raise FormatError(f"Expected text in UTF-8 in '{path}', row {row} "
                          f'(got an error: {error})') from error
    for char, name in (('\ufeff', 'a byte order mark'), ('\0', 'a NUL byte')):
        if char in text:
            row = text.count('\n', 0, text.index(char)) + 1
            raise _error(path, row, 'plain text', name)
    # Names may contain other characters at which `splitlines` would split.
    lines = text.replace('\r\n', '\n').split('\n')
    return lines[:-1] if lines[-1] == '' else lines


def _to_id(path: PathLike, i: int, field: str, size: int, name: str) -> int:
    if not (field.isascii() and field.removeprefix('-').isdigit()):
        raise _error(path, i, f'an integer as {name}', field)
    # Long numbers are slow to parse, and no id needs so many digits.
    value = int(field) if field[0] != '-' and len(field) < 19 else -1
    if not 0 <= value < size:
        raise _error(path, i, f'a {name} from 0 to {size - 1}', field)
    return value


def _error(path: PathLike, i: int, expected: str, got: str) -> FormatError:
    return FormatError(f"Expected {expected} in '{path}', row {i} (got "
                       f'{got[:80]!r})')
