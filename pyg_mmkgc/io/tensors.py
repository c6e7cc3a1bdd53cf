r"""Tensors and their metadata in one verified :obj:`safetensors` file."""
from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import safetensors
import torch
from safetensors.torch import save
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
        tensors (dict[str, torch.Tensor]): Dense tensors of any shape, dtype
            and device.
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
    plain = _plain(path, tensors)
    header = {'format': 'pt', 'metadata': text, 'sha256': digest(plain, text)}
    # `save_file` is not used: its own temporary file is readable by the owner
    # only and left behind if the process is killed.
    content = save(plain, metadata=header)
    start, rest = _in_order(content, header)
    with atomic_path(path) as temp, open(temp, 'wb') as file:
        file.write(start)
        file.write(rest)


def _in_order(content: bytes,
              header: Mapping[str, str]) -> tuple[bytes, memoryview]:
    # The library writes metadata in random order, but equal tensors should
    # result in equal files.
    size = int.from_bytes(content[:8], 'little')
    entries = json.loads(content[8:8 + size])
    entries = {'__metadata__': dict(header), **{
        key: entry for key, entry in entries.items() if key != '__metadata__'}}
    text = json.dumps(entries, separators=(',', ':'),
                      ensure_ascii=False).encode()
    text += b' ' * (-len(text) % 8)  # Tensors begin at multiples of 8.
    return (len(text).to_bytes(8, 'little') + text,
            memoryview(content)[8 + size:])


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
    path: PathLike, ) -> tuple[dict[str, str], dict[str, Tensor]]:
    r"""Reads any :obj:`safetensors` file without verifying its content.

    Args:
        path (str or os.PathLike): The file to read.

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
            tensors = {key: _copy(file.get_tensor(key))
                       for key in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError, ValueError, TypeError,
            KeyError, AttributeError, RuntimeError) as error:
        raise FormatError(f"Expected '{path}' to be a complete safetensors "
                          f'file (got an error: {error})') from error
    return header, tensors


def _plain(path: PathLike, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    out: dict[str, Tensor] = {}
    storages: set[int] = set()
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor) or tensor.layout != torch.strided:
            got = getattr(tensor, 'layout', type(tensor).__name__)
            raise DataError(f"Expected a dense tensor as '{name}' in '{path}' "
                            f'(got {got})')
        tensor = tensor.detach().cpu().contiguous()
        # The format has no shared storages, so each name needs its own bytes.
        if tensor.untyped_storage().data_ptr() in storages:
            tensor = tensor.clone()
        storages.add(tensor.untyped_storage().data_ptr())
        out[name] = tensor
    return out


def _copy(tensor: Tensor) -> Tensor:
    # A view of the mapped file would change with the file. Raw bytes are
    # copied, since copying booleans would hide a flipped bit.
    copy = _bytes(tensor).clone()
    return copy.view(tensor.dtype).reshape(tensor.shape)


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.reshape(-1).view(torch.uint8)


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
        whole = tensor.dim() == 0 or (tensor.device.type == 'cpu'
                                      and tensor.is_contiguous())
        for rows in [tensor] if whole else tensor.split(ROWS):
            if rows.numel() > 0:
                digest.update(_bytes(rows.cpu()).numpy().data)
    digest.update(f'{len(text)}:{text}'.encode())
    return digest.hexdigest()
