r"""Checkpoints of several processes, by
:mod:`torch.distributed.checkpoint`, which any number of processes can load.

==========================  ===============================================
``latest.json``             the name of the folder of the present checkpoint,
                            the SHA-256 of its files, its metadata, and the
                            SHA-256 of all these values. It is replaced last.
``NAME/``                   ``safetensors`` files, each with the part of one
                            process of one tensor
==========================  ===============================================
"""
from __future__ import annotations

import hashlib
import json
import re
import secrets
import shutil
import warnings
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Optional

import safetensors
import torch
from torch import Tensor

from pyg_mmkgc.distributed.group import (
    from_main,
    gather_objects,
    is_main,
    raise_on_all,
    rank,
    world_size,
)
from pyg_mmkgc.distributed.table import Layout, ShardedEmbedding
from pyg_mmkgc.errors import CheckpointError, FormatError, MMKGCError
from pyg_mmkgc.io.atomic import read_json, write_json
from pyg_mmkgc.io.reading import file_sha256
from pyg_mmkgc.io.schema import check_schema, parse_json
from pyg_mmkgc.io.tensors import TYPES

LATEST = 'latest.json'
SCHEMA = {'folder': str, 'sha256': {str: str}, 'rows': [str],
          'scalars': [str], 'metadata': {str: object}, 'digest': str}
FOLDER = re.compile(r'[0-9a-f]{8}')
SHARD = re.compile(r'shard-[0-9]{5}-model-[0-9]{5}-of-[0-9]{5}\.safetensors')
#: The place, the shape and the type of a part of a tensor.
Part = tuple[list[int], list[int], str]
# The places of the tensors in a file, as PyTorch writes them.
PLACES = 'DCP_SHARDING_INFO'
PLACES_SCHEMA = {str: {'saved_offsets': [int], ...: object}}


def save_sharded(path: Path, tensors: dict[str, Tensor],
                 metadata: dict[str, Any]) -> None:
    r"""Writes a checkpoint. All processes must call it.

    Each process writes its rows of a
    :class:`torch.distributed.tensor.DTensor`, and one process writes any
    other tensor. An interruption keeps the checkpoint from before.

    Args:
        path (pathlib.Path): The folder of checkpoints.
        tensors (dict[str, torch.Tensor]): The tensors.
        metadata (dict): JSON values, which the first process writes.
    """
    from torch.distributed.checkpoint import HuggingFaceStorageWriter, save
    from torch.distributed.checkpoint.default_planner import DefaultSavePlanner

    folder = path / from_main(secrets.token_hex(4))
    if is_main():
        folder.mkdir(parents=True)
    from_main(None)  # The other processes wait for the folder.
    scalars = [name for name, x in tensors.items() if x.dim() == 0]
    tensors = {name: x.reshape(1) if x.dim() == 0 else x
               for name, x in tensors.items()}
    # A file for each tensor: the library builds each file in memory.
    places = {name: i for i, name in enumerate(tensors, start=1)}
    with _quiet():
        save(tensors, storage_writer=HuggingFaceStorageWriter(
            str(folder), places, save_distributed=True),
            planner=DefaultSavePlanner())
    mine = {file.name: file_sha256(file) for file in sorted(
        folder.glob(f'shard-{rank() + 1:05d}-*'))}
    digests = {name: x for part in gather_objects(mine)
               for name, x in part.items()}
    if is_main():
        values = {'folder': folder.name, 'sha256': digests,
                  'rows': [name for name, x in tensors.items()
                           if hasattr(x, 'to_local')],
                  'scalars': scalars, 'metadata': metadata}
        write_json(path / LATEST, {**values, 'digest': _digest(values)})
        _remove_folders(path, folder.name)
    from_main(None)


def remove_sharded(path: Path) -> None:
    r"""Removes the checkpoint in a folder, and the folder if it contains
    nothing else.

    Args:
        path (pathlib.Path): The folder of checkpoints.
    """
    if not (path / LATEST).is_file():
        return
    _remove_folders(path)
    # Removed last, since it shows what the folder is.
    (path / LATEST).unlink()
    with suppress(OSError):
        path.rmdir()


def _remove_folders(path: Path, keep: str = '') -> None:
    for folder in path.iterdir():
        if FOLDER.fullmatch(folder.name) and folder.name != keep:
            shutil.rmtree(folder, ignore_errors=True)


def load_sharded(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    r"""Reads and verifies a checkpoint of any number of processes. All
    processes must call it.

    Returns:
        The tensors and the metadata. A tensor with rows of several processes
        has the rows of this process, or all rows in the order of their ids in
        a single process.

    Raises:
        CheckpointError: If there is no checkpoint.
        FormatError: If a file is missing, damaged or was changed.
    """
    from torch.distributed.checkpoint import HuggingFaceStorageReader, load

    saved = read_latest(path)
    folder = path / saved['folder']
    error: Optional[MMKGCError] = None
    try:
        _verify(folder, saved['sha256'])
        _check_parts(folder, saved)
    except FormatError as found_error:
        error = found_error
    raise_on_all(error)
    reader = HuggingFaceStorageReader(str(folder))
    found: dict[str, Any] = reader.read_metadata().state_dict_metadata
    local: dict[str, Tensor] = {}
    tensors: dict[str, Any] = {}
    for name, part in found.items():
        shape, dtype = part.size, part.properties.dtype
        if name in saved['rows'] and world_size() > 1:
            table = ShardedEmbedding(shape[0], 0, dtype=torch.float)
            rows = table.layout.last - table.layout.first
            local[name] = torch.empty(rows, *shape[1:], dtype=dtype)
            tensors[name] = table.distribute(local[name])
        else:
            local[name] = tensors[name] = torch.empty(shape, dtype=dtype)
    with _quiet():
        load(tensors, storage_reader=reader, no_dist=world_size() == 1)
    for name in saved['rows']:
        if world_size() == 1:
            local[name] = _by_id(local[name])
    for name in saved['scalars']:
        local[name] = local[name].reshape(())
    return local, saved['metadata']


def read_latest(path: Path) -> dict[str, Any]:
    r"""Returns the verified values of ``latest.json``. The arguments and
    errors are the same as in :func:`load_sharded`.
    """
    if not (path / LATEST).is_file():
        raise CheckpointError(f"Expected a checkpoint in '{path}' (got none)")
    saved = read_json(path / LATEST)
    check_schema(saved, SCHEMA, f"'{path / LATEST}'", CheckpointError)
    if not (FOLDER.fullmatch(saved['folder'])
            and (path / saved['folder']).is_dir()
            and saved.pop('digest') == _digest(saved)):
        raise FormatError(f"Expected '{path / LATEST}' to match its SHA-256 "
                          'and to name a folder next to it (got '
                          f"{saved['folder']!r:.80}). The checkpoint is "
                          'damaged or was changed.')
    return saved


def _by_id(rows: Tensor) -> Tensor:
    r"""Returns all rows in the order of their ids."""
    layout, out = Layout(rows.size(0)), torch.empty_like(rows)
    for index in torch.arange(rows.size(0)).split(1 << 16):
        out[index] = rows[layout.place(index)]
    return out


def _digest(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def _check_parts(folder: Path, saved: dict[str, Any]) -> None:
    r"""Checks that the parts of each tensor are consecutive rows, since
    PyTorch allocates as much memory as the files claim, and leaves gaps
    uninitialized.
    """
    parts: dict[str, list[Part]] = {}
    for file in sorted(saved['sha256']):
        try:
            for name, part in _read_parts(folder / file):
                parts.setdefault(name, []).append(part)
        except (safetensors.SafetensorError, OSError, ValueError,
                KeyError) as error:
            raise FormatError(f"Expected a part of a checkpoint in '{folder}"
                              f"/{file}' (got {type(error).__name__}: "
                              f'{error!s:.200})') from error
    for name, found in parts.items():
        filled = sorted(part for part in found if 0 not in part[1])
        rows = 0
        for offsets, shape, dtype in filled or found[:1]:
            first = (filled or found)[0]
            if (offsets != [rows] + [0] * (len(shape) - 1)
                    or (shape[1:], dtype) != (first[1][1:], first[2])
                    or dtype not in TYPES.values()):
                raise FormatError(
                    f"Expected consecutive rows of {name!r:.80} in '{folder}' "
                    f'(got {dtype} of shape {shape} at {offsets})')
            rows += shape[0]
        if name in saved['scalars'] and (rows, *shape[1:]) != (1, ):
            raise FormatError(f"Expected {name!r:.80} in '{folder}' to be a "
                              f'number (got the shape {[rows, *shape[1:]]})')
        if name in saved['rows'] and 0 in shape[1:]:
            raise FormatError(f"Expected rows of {name!r:.80} in '{folder}' "
                              f'to hold numbers (got the shape {shape})')
    for name in (*saved['rows'], *saved['scalars']):
        if name not in parts:
            raise FormatError(f"Expected {name!r:.80} in '{folder}' (got no "
                              'such tensor)')


def _read_parts(file: Path) -> Iterable[tuple[str, Part]]:
    r"""Returns the name and the part of each tensor in a file."""
    with safetensors.safe_open(file, framework='pt') as shard:
        places = parse_json((shard.metadata() or {}).get(PLACES, ''))
        check_schema(places, PLACES_SCHEMA, f"'{file}'")
        for name in shard.keys():  # noqa: SIM118
            part = shard.get_slice(name)
            yield name, (places[name]['saved_offsets'], part.get_shape(),
                         part.get_dtype())


def _verify(folder: Path, digests: dict[str, str]) -> None:
    there = {file.name for file in folder.iterdir()
             if file.suffix == '.safetensors'}
    strange = sorted(there ^ set(digests)) or [
        name for name in digests if not SHARD.fullmatch(name)]
    if strange:
        raise FormatError(f"Expected the files in '{folder}' that '{LATEST}' "
                          f'lists (got {strange[0]!r:.80}, which is missing '
                          'or not listed). The checkpoint is damaged or was '
                          'changed.')
    for name in sorted(digests)[rank()::world_size()]:
        file = folder / name
        if not file.is_file() or file_sha256(file) != digests[name]:
            raise FormatError(
                f"Expected '{file}' to have the SHA-256 {digests[name]:.64} "
                '(got another file). The checkpoint is damaged or was '
                'changed.')


class _quiet(warnings.catch_warnings):
    r"""Hides the warnings that PyTorch issues about its own code."""
    def __enter__(self) -> Any:
        out = super().__enter__()
        warnings.simplefilter('ignore')
        return out
