r"""Feature tables from files that others wrote."""
from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyg_mmkgc.errors import DataError, FormatError
from pyg_mmkgc.io.atomic import PathLike
from pyg_mmkgc.io.download import file_sha256
from pyg_mmkgc.io.tensors import read_safetensors
from pyg_mmkgc.io.torch_file import read_torch

FLOATS = (torch.half, torch.bfloat16, torch.float, torch.double)

ADVICE = ('Where you trust the file, load it there and write the table anew, '
          "e.g. with numpy.save('features.npy', table.float().numpy()).")


def load_features(path: PathLike) -> Tensor:
    r"""Reads one feature table with shape :obj:`[num_nodes, num_channels]`.

    No file can run code: :obj:`.pth` and :obj:`.pt` files go through the
    restricted unpickler of :func:`torch.load` and nothing else, and must hold
    one dense floating-point matrix, alone or as the only one in a dictionary
    (such as the state of a :class:`torch.nn.Embedding`). The other formats
    are :obj:`.npy` and :obj:`.safetensors`, the latter with one matrix.

    Half precision is kept, double precision becomes single precision.

    Args:
        path (str or os.PathLike): The file to read.

    Raises:
        FormatError: If the file is anything else.
    """
    path = pathlib.Path(path)
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
    features = reader(path)
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
        manifest (dict): What the manifest beside it holds. Without the
            SHA-256 of the table, nothing is checked.

    Raises:
        FormatError: If the table is another one, or damaged.
    """
    expected = manifest.get('features_sha256')
    if expected is None:
        return
    found = file_sha256(path)
    if found != expected:
        raise FormatError(
            f"'{path}': expected the SHA-256 {expected}, which the manifest "
            f'beside it names, got {found}. The table has changed since it '
            f'was extracted, or is damaged: delete this folder and extract '
            f'the features again')


def _read_torch(path: pathlib.Path) -> Tensor:
    return _pick(path, read_torch(path, ADVICE))


def _read_safetensors(path: pathlib.Path) -> Tensor:
    return _pick(path, read_safetensors(path)[1])


def _read_numpy(path: pathlib.Path) -> Tensor:
    try:
        # Maps the file: a header that claims more than there is fails here.
        table = np.lib.format.open_memmap(path, mode='r')
    except Exception as error:  # The header is parsed as Python.
        raise FormatError(f"'{path}': expected a complete .npy file without "
                          f'Python objects: {error}. {ADVICE}') from error
    if table.dtype.kind != 'f' or table.dtype.itemsize > 8 or table.ndim != 2:
        raise _wrong(path, f'{table.dtype} array of shape {table.shape}')
    native = table.dtype.newbyteorder('=')
    return torch.from_numpy(np.array(table, dtype=native, order='C'))


def _pick(path: pathlib.Path, content: object) -> Tensor:
    if isinstance(content, dict):
        tables = [value for value in content.values() if _is_table(value)]
        if len(tables) != 1:
            raise _wrong(path, f'{len(tables)} such tables under the keys '
                         f'{[str(key) for key in content][:10]}')
        content = tables[0]
    if not _is_table(content):
        raise _wrong(path, _describe(content))
    assert isinstance(content, Tensor)
    # A few stored numbers can pose as a matrix of any size.
    size = content.numel() * content.element_size()
    if size > content.untyped_storage().nbytes():
        raise _wrong(path, f'{_describe(content)} in a storage of '
                     f'{content.untyped_storage().nbytes()} bytes')
    return content.detach().contiguous()


def _is_table(value: object) -> bool:
    return (type(value) in (Tensor, torch.nn.Parameter)
            and isinstance(value, Tensor) and value.layout == torch.strided
            and value.device.type == 'cpu' and value.dim() == 2
            and value.dtype in FLOATS)


def _describe(value: object) -> str:
    if not isinstance(value, Tensor):
        return type(value).__name__
    return (f'{value.dtype} tensor of shape {list(value.shape)} '
            f'({value.layout}, {value.device})')


def _wrong(path: pathlib.Path, got: str) -> FormatError:
    return FormatError(f"'{path}': expected one dense floating-point table of "
                       f'shape [num_nodes, num_channels], got {got}. {ADVICE}')
