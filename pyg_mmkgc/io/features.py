r"""Readers of feature tables from untrusted files."""
from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping
from typing import Any, Optional, Union

import numpy as np
import torch
from torch import Tensor

from pyg_mmkgc.errors import DataError, FormatError
from pyg_mmkgc.io.atomic import PathLike
from pyg_mmkgc.io.reading import as_path, file_sha256
from pyg_mmkgc.io.tensors import read_safetensors
from pyg_mmkgc.io.torch_file import StoredTensor, open_torch

BLOCK = 2 ** 15  # Rows that are checked at once.
FLOATS = (torch.half, torch.bfloat16, torch.float, torch.double)

ADVICE = ('If you trust the file, load it with its own library and save the '
          "table, e.g. with numpy.save('features.npy', "
          'table.float().numpy()).')


def load_features(path: PathLike, mmap: bool = False) -> Tensor:
    r"""Reads one feature table with shape :obj:`[num_nodes, num_channels]`.

    The file cannot run code, nor allocate more memory than its own size. A
    :obj:`.pth` or :obj:`.pt` file must contain one dense floating-point
    matrix, either alone or as the only matrix in a dictionary (such as the
    state of a :class:`torch.nn.Embedding`). The other formats are :obj:`.npy`
    and :obj:`.safetensors` with one matrix.

    Half precision is kept, and double precision is cast to single precision.

    Args:
        path (str or os.PathLike): The file to read.
        mmap (bool, optional): If set to :obj:`True`, the table of a
            :obj:`.npy` or :obj:`.safetensors` file is mapped into memory
            instead of copied, and takes memory only for the rows in use,
            unless its numbers have to be converted or reordered. The file
            must not change as long as the table is used, while changes of the
            table do not reach the file. (default: :obj:`False`)

    Raises:
        DataError: If there is no such file.
        FormatError: If the file has another format or other content.
    """
    path = as_path(path)
    readers: dict[str, Callable[[pathlib.Path, bool], Tensor]] = {
        '.pth': _read_torch,
        '.pt': _read_torch,
        '.npy': _read_numpy,
        '.safetensors': _read_safetensors,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise FormatError(f'Expected a feature file that ends in '
                          f"{', '.join(readers)} (got '{path}'). {ADVICE}")
    if not path.is_file():
        raise DataError(f"Expected a feature file as '{path}' (got none)")
    features = reader(path, mmap).detach().contiguous()
    row = _first_non_finite(features)
    if row is not None:
        raise FormatError(f"Expected finite features in '{path}' (got a NaN "
                          f'or infinite value in row {row}). Mark missing '
                          'rows with a mask instead.')
    if features.dtype == torch.double:
        features = features.float()
    return features


def verify_features(path: PathLike, manifest: Mapping[str, Any]) -> None:
    r"""Verifies that a table is unchanged since :obj:`mmkgc features` wrote
    it.

    Args:
        path (str or os.PathLike): The table.
        manifest (dict): The content of the manifest next to the table. The
            table or its labels are not verified if the manifest lacks their
            SHA-256.

    Raises:
        FormatError: If the table or its labels were changed or damaged.
    """
    path = as_path(path)
    for key, file in (('features_sha256', path),
                      ('labels_sha256', path.with_name('labels.txt'))):
        expected = manifest.get(key)
        if expected is None:  # Written by an earlier version.
            continue
        found = file_sha256(file)
        if found != expected:
            raise FormatError(
                f"Expected '{file}' to have the SHA-256 {expected!s:.64} of "
                f'the manifest next to it (got {found}). It was changed or '
                f'damaged after the features were extracted: delete this '
                f'folder and extract the features again.')


def is_pointer(ptr: Tensor, num_rows: int) -> bool:
    r"""Returns :obj:`True` if a tensor rises from 0 to the number of rows."""
    return (ptr.dtype == torch.long and ptr.dim() == 1 and ptr.numel() > 0
            and int(ptr[0]) == 0 and int(ptr[-1]) == num_rows
            and not bool((ptr.diff() < 0).any()))


def _first_non_finite(x: Tensor) -> Optional[int]:
    # In parts, since the mask of all values takes half the memory of a table.
    start = 0
    for part in x.split(BLOCK):
        bad = ~torch.isfinite(part).all(dim=1)
        if bool(bad.any()):
            return start + int(bad.nonzero()[0])
        start += part.size(0)
    return None


def _read_torch(path: pathlib.Path, mmap: bool) -> Tensor:
    if mmap:
        raise FormatError("Expected mmap=False, or a file that ends in .npy "
                          f"or .safetensors (got '{path}')")
    try:
        file = open_torch(path)
        found = _pick(path, file.content)
        return found if isinstance(found, Tensor) else file.read(found)
    except _WrongContent:
        raise
    except Exception as error:  # A hostile pickle can raise any error.
        reason = str(error).partition('\n')[0]
        if not isinstance(error, FormatError):
            reason = f'{type(error).__name__}: {reason}'
        raise FormatError(
            f"Expected '{path}' to be a plain tensor file that loads without "
            f'running code (got an error: {reason}). {ADVICE}') from error


def _read_safetensors(path: pathlib.Path, mmap: bool) -> Tensor:
    found = _pick(path, read_safetensors(path, mmap)[1])
    assert isinstance(found, Tensor)
    return found


def _read_numpy(path: pathlib.Path, mmap: bool) -> Tensor:
    try:
        # Mapping fails if the header claims more data than the file has.
        table = np.lib.format.open_memmap(path, mode='c')
    except Exception as error:  # The header is parsed as Python.
        raise FormatError(f"Expected '{path}' to be a complete .npy file "
                          f'without Python objects (got an error: {error}). '
                          f'{ADVICE}') from error
    if (table.dtype.kind != 'f' or table.dtype.itemsize > 8
            or table.ndim != 2 or table.size == 0):
        raise _wrong(path, f'a {table.dtype} array of shape {table.shape}')
    native = table.dtype.newbyteorder('=')
    return torch.from_numpy((np.asarray if mmap else np.array)(
        table, dtype=native, order='C'))


def _pick(path: pathlib.Path,
          content: object) -> Union[Tensor, StoredTensor]:
    if isinstance(content, dict):
        tables = [value for value in content.values() if _is_table(value)]
        if len(tables) != 1:
            raise _wrong(path, f'{len(tables)} tables under the keys '
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
        f"Expected '{path}' to hold one dense floating-point table of shape "
        f'[num_nodes, num_channels] (got {got}). {ADVICE}')


class _WrongContent(FormatError):
    r"""A file of the right format holds no table."""
