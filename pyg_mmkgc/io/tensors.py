r"""Tensors and their metadata in one verified :obj:`safetensors` file."""
from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import safetensors
import torch
from torch import Tensor

from pyg_mmkgc.errors import DataError, FormatError
from pyg_mmkgc.io.atomic import atomic_path
from pyg_mmkgc.io.reading import PathLike, as_path, file_sha256, open_file
from pyg_mmkgc.io.schema import check_schema, parse_json

# The limit of a header is 100 MB, including names and shapes.
MAX_METADATA = 90_000_000
KEYS = {'format', 'metadata', 'sha256'}
# The number of rows that are copied and hashed at once, since a table may be
# larger than memory.
ROWS = 256
# The names of types in the format, in the order of their tensors in a file.
# Larger types come first, so that all tensors are aligned.
TYPES = {
    torch.uint64: 'U64', torch.int64: 'I64', torch.float64: 'F64',
    torch.complex64: 'C64', torch.float32: 'F32', torch.uint32: 'U32',
    torch.int32: 'I32', torch.bfloat16: 'BF16', torch.float16: 'F16',
    torch.uint16: 'U16', torch.int16: 'I16', torch.float8_e4m3fn: 'F8_E4M3',
    torch.float8_e5m2: 'F8_E5M2', torch.int8: 'I8', torch.uint8: 'U8',
    torch.bool: 'BOOL'}


def save_tensors(
    path: PathLike,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, Any] | None = None,
) -> None:
    r"""Writes tensors and metadata to one :obj:`safetensors` file.

    The file appears under its name only when it is complete. Its header holds
    the metadata as JSON, and the SHA-256 of names, dtypes, shapes, bytes and
    metadata, which :func:`load_tensors` verifies.

    Args:
        path (str or os.PathLike): The file to write.
        tensors (dict[str, torch.Tensor]): Dense tensors of any shape,
            dtype and device. They are written one after the other, without a
            copy of the whole.
        metadata (dict, optional): Any values that JSON can hold.
            (default: :obj:`None`)

    Raises:
        DataError: If a tensor is not dense, or JSON cannot hold the metadata.
    """
    try:
        text = json.dumps(dict(metadata or {}), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise DataError(f"Expected metadata that JSON can hold for '{path}' "
                        f'(got an error: {error})') from error
    if len(text) > MAX_METADATA:
        raise DataError(f'Expected at most {MAX_METADATA:,} bytes of metadata '
                        f"in '{path}' (got {len(text):,}). Store it as "
                        f'tensors instead.')
    _check(path, tensors)
    order = list(TYPES)
    names = sorted(tensors, key=lambda name: (
        order.index(tensors[name].dtype), name))
    # The library is not used, since it builds the whole file in memory, and
    # writes metadata in random order.
    with (ThreadPoolExecutor(1) as pool, atomic_path(path) as temp,
          open(temp, 'wb') as file):
        # Another thread hashes the tensors while they are written.
        found = pool.submit(digest, tensors, text)
        file.write(_header(tensors, names, text, '0' * 64))
        for name in names:
            for rows in _parts(tensors[name].detach()):
                file.write(_bytes(rows.cpu()).numpy().data)
        file.seek(0)
        file.write(_header(tensors, names, text, found.result()))


def _header(tensors: Mapping[str, Tensor], names: list[str],
            text: str, sha256: str) -> bytes:
    entries: dict[str, Any] = {'__metadata__': {
        'format': 'pt', 'metadata': text, 'sha256': sha256}}
    first = 0
    for name in names:
        tensor = tensors[name]
        last = first + tensor.numel() * tensor.element_size()
        entries[name] = {'dtype': TYPES[tensor.dtype],
                         'shape': list(tensor.shape),
                         'data_offsets': [first, last]}
        first = last
    header = json.dumps(entries, separators=(',', ':'),
                        ensure_ascii=False).encode()
    header += b' ' * (-len(header) % 8)  # Tensors begin at multiples of 8.
    return len(header).to_bytes(8, 'little') + header


def mapped_copies(tensors: Mapping[str, Tensor],
                  folder: PathLike) -> dict[str, Tensor]:
    r"""Returns copies of tensors on the CPU that are mapped from a temporary
    file, which the system removes together with them.

    Args:
        tensors (dict[str, torch.Tensor]): Dense tensors.
        folder (str or os.PathLike): The folder of the file, created if
            missing.
    """
    folder = as_path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    first: dict[str, int] = {}
    with tempfile.TemporaryFile(dir=folder) as file:
        for name, tensor in tensors.items():
            file.write(bytes(-file.tell() % 64))  # Aligned for vector units.
            first[name] = file.tell()
            for rows in _parts(tensor.detach()):
                file.write(_bytes(rows.cpu()).numpy().data)
        file.write(b'\0')  # An empty file cannot be mapped.
        file.flush()
        # Changes of the tensors would be copied, and stay in this process.
        content = torch.from_numpy(np.memmap(file, np.uint8, 'c'))
    return {name: content[first[name]:first[name] + x.numel()
                          * x.element_size()].view(x.dtype).view(x.shape)
            for name, x in tensors.items()}


def load_tensors(
    path: PathLike,
    sha256: str | None = None,
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    r"""Reads and verifies a file written by :func:`save_tensors`.

    Args:
        path (str or os.PathLike): The file to read.
        sha256 (str, optional): The expected SHA-256 of the whole file. If set
            to :obj:`None`, verifies the SHA-256 of the content in the header
            instead. (default: :obj:`None`)

    Returns:
        The tensors by name, on the CPU, and the metadata.

    Raises:
        FormatError: If the file is truncated, corrupt or of another kind.
    """
    found = None if sha256 is None else file_sha256(path)
    if found != sha256:
        raise FormatError(f"Expected '{path}' to have the SHA-256 "
                          f'{sha256:.64} (got {found}). The file is damaged '
                          'or was changed.')
    header, tensors = read_safetensors(path)
    if set(header) != KEYS or header['format'] != 'pt':
        raise FormatError(f"Expected '{path}' to be written by this library, "
                          f'with the header keys {sorted(KEYS)} (got '
                          f'{sorted(header)})')
    text = header['metadata']
    if sha256 is None and digest(tensors, text) != header['sha256']:
        raise FormatError(f"Expected '{path}' to match the SHA-256 in its "
                          f'header (got other content). The file is corrupt: '
                          f'restore it or write it again.')
    try:
        metadata = parse_json(text)
    except ValueError as error:
        raise FormatError(f"Expected JSON as the metadata of '{path}' (got an "
                          f'error: {error})') from error
    check_schema(metadata, {str: object}, f"the metadata of '{path}'")
    return tensors, metadata


def read_safetensors(
    path: PathLike,
    mmap: bool = False,
) -> tuple[dict[str, str], dict[str, Tensor]]:
    r"""Reads any :obj:`safetensors` file without verifying its content.

    Args:
        path (str or os.PathLike): The file to read.
        mmap (bool, optional): If set to :obj:`True`, the tensors are mapped
            from the file instead of copied. (default: :obj:`False`)

    Returns:
        The header's metadata, and the tensors by name on the CPU.

    Raises:
        FormatError: If the file is not a complete :obj:`safetensors` file.
    """
    path = as_path(path)
    open_file(path).close()  # A missing file raises `FileNotFoundError`.
    try:
        with safetensors.safe_open(path, framework='pt') as file:
            header = file.metadata() or {}
            tensors = {key: file.get_tensor(key)
                       for key in file.keys()}  # noqa: SIM118
            if not mmap:
                tensors = {key: _copy(x) for key, x in tensors.items()}
    except (safetensors.SafetensorError, OSError, ValueError, TypeError,
            KeyError, AttributeError, RuntimeError) as error:
        raise FormatError(f"Expected '{path}' to be a complete safetensors "
                          f'file (got an error: {error})') from error
    return header, tensors


def _check(path: PathLike,
           tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if (not isinstance(tensor, Tensor)
                or tensor.layout != torch.strided):
            got = getattr(tensor, 'layout', type(tensor).__name__)
            raise DataError(f"Expected a dense tensor as '{name}' in '{path}' "
                            f'(got {got})')
        if tensor.dtype not in TYPES:
            raise DataError(f"Expected a type of safetensors for '{name}' in "
                            f"'{path}' (got {tensor.dtype})")


def _parts(tensor: Tensor) -> Iterable[Tensor]:
    r"""Returns the rows of a tensor in parts that may be copied."""
    whole = tensor.dim() == 0 or (tensor.device.type == 'cpu'
                                  and tensor.is_contiguous())
    return (x for x in ([tensor] if whole else tensor.split(ROWS))
            if x.numel() > 0)


def _copy(tensor: Tensor) -> Tensor:
    # A view of the mapped file would change with the file. Raw bytes are
    # copied, since copying booleans would hide a flipped bit.
    copy = _bytes(tensor).clone()
    return copy.view(tensor.dtype).reshape(tensor.shape)


def _bytes(tensor: Tensor) -> Tensor:
    # A single element may have any stride, even if it is contiguous.
    flat = tensor.contiguous().as_strided((tensor.numel(), ), (1, ))
    return flat.view(torch.uint8)


def digest(tensors: Mapping[str, Tensor], text: str) -> str:
    r"""Returns the SHA-256 of tensors and a text in hexadecimal digits.

    Args:
        tensors (dict[str, torch.Tensor]): Dense tensors.
        text (str): The text.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach()
        # Lengths are hashed as well, which makes the input unambiguous.
        key = json.dumps([name, str(tensor.dtype), list(tensor.shape)])
        digest.update(f'{len(key)}:{key}'.encode())
        for rows in _parts(tensor):
            digest.update(_bytes(rows.cpu()).numpy().data)
    digest.update(f'{len(text)}:{text}'.encode())
    return digest.hexdigest()
