r"""Files of :func:`torch.save`, read without running code."""
from __future__ import annotations

import pathlib
import zipfile
from typing import Any

import torch

from pyg_mmkgc.errors import FormatError
from pyg_mmkgc.io.atomic import PathLike


def read_torch(path: PathLike, advice: str = '') -> Any:
    r"""Reads a file of :func:`torch.save` onto the CPU, by the restricted
    unpickler of :func:`torch.load` and nothing else.

    Args:
        path (str or os.PathLike): The file to read.
        advice (str, optional): A sentence that ends the message of an error.
            (default: :obj:`""`)

    Raises:
        FormatError: If the file holds anything but plain values and tensors.
    """
    path = pathlib.Path(path)
    # PyTorch stores without compression. What is compressed could unfold to
    # far more memory than the file has bytes.
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as file:
                if any(info.compress_type != zipfile.ZIP_STORED
                       for info in file.infolist()):
                    raise ValueError('it is compressed, so torch.save did not '
                                     'write it.')
        return torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # Of a hostile pickle, any may come.
        reason = str(error).partition('\n')[0]
        raise FormatError(
            f"'{path}': expected a plain tensor file that loads without "
            f'running code, but got {type(error).__name__}: {reason} '
            f'{advice}'.rstrip()) from error
