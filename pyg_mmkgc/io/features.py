r"""Feature tables from files that others wrote."""
from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any, Union

import numpy as np
import torch
from torch import Tensor

from pyg_mmkgc.errors import DataError, FormatError
from pyg_mmkgc.io.atomic import PathLike
from pyg_mmkgc.io.reading import as_path, file_sha256
from pyg_mmkgc.io.tensors import read_safetensors
from pyg_mmkgc.io.torch_file import StoredTensor, open_torch

FLOATS = (torch.half, torch.bfloat16, torch.float, torch.double)

ADVICE = ('Where you trust the file, load it there and write the table anew, '
          "e.g. with numpy.save('features.npy', table.float().numpy()).")


def load_features(path: PathLike) -> Tensor:
    r"""Reads one feature table with shape :obj:`[num_nodes, num_channels]`.

    No file can run code, or make memory that it does not fill: of
    :obj:`.pth` and :obj:`.pt` files, only the tensors that lie in them are
    read. They must hold one dense floating-point matrix, alone or as the only
    one in a dictionary (such as the state of a :class:`torch.nn.Embedding`).
    The other formats are :obj:`.npy` and :obj:`.safetensors`, the latter with
    one matrix.

    Half precision is kept, double precision becomes single precision.

    Args:
        path (str or os.PathLike): The file to read.

    Raises:
        FormatError: If the file is anything else.
    """
    path = as_path(path)
    readers = {
        '.pth': _read_torch,
        '.pt': _read_torch,
        '.npy': _read_numpy,
        '.safetensors': _read_safetensors,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise FormatError(f"'{path}': expected a feature file that ends in "
                          f'{", ".join(readers)}. {ADVICE}')
    if not path.is_file():
        raise DataError(f"'{path}': there is no such feature file")
    features = reader(path).detach().contiguous()
    if not torch.isfinite(features).all():
        row = int((~torch.isfinite(features)).any(dim=1).nonzero()[0])
        raise FormatError(f"'{path}': row {row} has a value that is NaN or "
                          f'infinite; mark missing rows with a mask instead')
    if features.dtype == torch.double:
        features = features.float()
    return features


def verify_features(path: PathLike, manifest: Mapping[str, Any]) -> None:
    r"""Checks that a table is the one that :obj:`mmkgc features` wrote.

    Args:
        path (str or os.PathLike): The table.
        manifest (dict): What the manifest beside it holds. What it has no
            SHA-256 of, the table or its labels, is not checked.

    Raises:
        FormatError: If the table or its labels are others, or damaged.
    """
    path = as_path(path)
    for key, file in (('features_sha256', path),
                      ('labels_sha256', path.with_name('labels.txt'))):
        expected = manifest.get(key)
        if expected is None:  # Of an earlier version.
            continue
        found = file_sha256(file)
        if found != expected:
            raise FormatError(
                f"'{file}': expected the SHA-256 {expected!s:.64}, which the "
                f'manifest beside it names, got {found}. It has changed since '
                f'the features were extracted, or is damaged: delete this '
                f'folder and extract the features again')


def is_pointer(ptr: Tensor, num_rows: int) -> bool:
    r"""Returns whether a tensor rises from 0 to the number of rows."""
    return (ptr.dtype == torch.long and ptr.dim() == 1 and ptr.numel() > 0
            and int(ptr[0]) == 0 and int(ptr[-1]) == num_rows
            and not bool((ptr.diff() < 0).any()))


def _read_torch(path: pathlib.Path) -> Tensor:
    try:
        file = open_torch(path)
        found = _pick(path, file.content)
        return found if isinstance(found, Tensor) else file.read(found)
    except _WrongContent:
        raise
    except Exception as error:  # Of a hostile pickle, any may come.
        reason = str(error).partition('\n')[0]
        if not isinstance(error, FormatError):
            reason = f'{type(error).__name__}: {reason}'
        raise FormatError(
            f"'{path}': expected a plain tensor file that loads without "
            f'running code, but {reason} {ADVICE}') from error


def _read_safetensors(path: pathlib.Path) -> Tensor:
    found = _pick(path, read_safetensors(path)[1])
    assert isinstance(found, Tensor)
    return found


def _read_numpy(path: pathlib.Path) -> Tensor:
    try:
        # Maps the file: a header that claims more than there is fails here.
        table = np.lib.format.open_memmap(path, mode='r')
    except Exception as error:  # The header is parsed as Python.
        raise FormatError(f"'{path}': expected a complete .npy file without "
                          f'Python objects: {error}. {ADVICE}') from error
    if (table.dtype.kind != 'f' or table.dtype.itemsize > 8
            or table.ndim != 2 or table.size == 0):
        raise _wrong(path, f'{table.dtype} array of shape {table.shape}')
    native = table.dtype.newbyteorder('=')
    return torch.from_numpy(np.array(table, dtype=native, order='C'))


def _pick(path: pathlib.Path,
          content: object) -> Union[Tensor, StoredTensor]:
    if isinstance(content, dict):
        tables = [value for value in content.values() if _is_table(value)]
        if len(tables) != 1:
            raise _wrong(path, f'{len(tables)} such tables under the keys '
                         f'{[str(key)[:80] for key in content][:10]}')
        content = tables[0]
    if not _is_table(content):
        raise _wrong(path, _describe(content))
    assert isinstance(content, (Tensor, StoredTensor))
    return content


def _is_table(value: object) -> bool:
    return (isinstance(value, (Tensor, StoredTensor)) and len(value.shape) == 2
            and value.dtype in FLOATS and 0 not in value.shape)


def _describe(value: object) -> str:
    if not isinstance(value, (Tensor, StoredTensor)):
        return type(value).__name__
    return f'a {value.dtype} tensor of shape {list(value.shape)}'


def _wrong(path: pathlib.Path, got: str) -> FormatError:
    return _WrongContent(
        f"'{path}': expected one dense floating-point table of shape "
        f'[num_nodes, num_channels], got {got}. {ADVICE}')


class _WrongContent(FormatError):
    r"""The file is of the right kind, but holds no table."""
