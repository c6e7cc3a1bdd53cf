r"""Arrays of numbers from an :obj:`.npz` file."""
from __future__ import annotations

import math
import zipfile
from typing import Any

import numpy as np

from pyg_mmkgc.errors import FormatError
from pyg_mmkgc.io.budget import open_zip
from pyg_mmkgc.io.reading import PathLike, as_path

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0}


def read_npz(path: PathLike) -> dict[str, np.ndarray]:
    r"""Reads a file written by :func:`numpy.savez` or
    :func:`numpy.savez_compressed`.

    The sizes of all arrays are checked against the archive and its budget
    before any memory is allocated.

    Args:
        path (str or os.PathLike): The file.

    Raises:
        FormatError: If the file is damaged, holds anything but arrays of
            numbers, or expands to many times its size.
    """
    path = as_path(path)
    try:
        with open_zip(path) as (file, members, _):
            return {name.removesuffix('.npy'): _read(file, info)
                    for name, info in members.items()}
    except Exception as error:  # A damaged archive can raise any error.
        if isinstance(error, FileNotFoundError):
            raise
        raise FormatError(f'Expected an .npz file of arrays of numbers in '
                          f"'{path}' (got an error: {error})") from error


def _read(file: zipfile.ZipFile, info: zipfile.ZipInfo) -> Any:
    with file.open(info) as member:
        version = np.lib.format.read_magic(member)
        if version not in _HEADERS:
            raise FormatError(f'{info.filename!r} has the format {version}')
        shape, in_columns, dtype = _HEADERS[version](member)
        size = math.prod(shape) * dtype.itemsize
        if dtype.kind not in 'biuf' or size != info.file_size - member.tell():
            raise FormatError(f'{info.filename!r} has {info.file_size} bytes '
                              f'for a {dtype} array of shape {shape}')
        # The copy is writable and in the byte order of this machine.
        flat = np.frombuffer(member.read(), dtype)
        flat = flat.astype(dtype.newbyteorder('='))
    return flat.reshape(shape, order='F' if in_columns else 'C')
