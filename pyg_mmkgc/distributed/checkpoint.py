r"""Checkpoints of several processes, by
:mod:`torch.distributed.checkpoint`, which any number of processes can load.

==========================  ===============================================
``latest.json``             the name of the folder of the present checkpoint,
                            the SHA-256 of its files, and its metadata. It is
                            replaced last.
``NAME/``                   ``safetensors`` files, each with the part of one
                            process of one tensor
==========================  ===============================================
"""
from __future__ import annotations

import secrets
import shutil
import warnings
from pathlib import Path
from typing import Any, Optional

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
from pyg_mmkgc.io.schema import check_schema

LATEST = 'latest.json'
SCHEMA = {'folder': str, 'sha256': {str: str}, 'rows': [str],
          'scalars': [str], 'metadata': {str: object}}


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
        write_json(path / LATEST, {
            'folder': folder.name, 'sha256': digests,
            'rows': [name for name, x in tensors.items()
                     if hasattr(x, 'to_local')],
            'scalars': scalars, 'metadata': metadata})
        for other in path.iterdir():
            if other.is_dir() and other.name != folder.name:
                shutil.rmtree(other, ignore_errors=True)
    from_main(None)


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

    if not (path / LATEST).is_file():
        raise CheckpointError(f"Expected a checkpoint in '{path}' (got none)")
    saved = read_json(path / LATEST)
    check_schema(saved, SCHEMA, f"'{path / LATEST}'", CheckpointError)
    folder = path / Path(saved['folder']).name
    _verify(folder, saved['sha256'])
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


def _by_id(rows: Tensor) -> Tensor:
    r"""Returns all rows in the order of their ids."""
    layout, out = Layout(rows.size(0)), torch.empty_like(rows)
    for index in torch.arange(rows.size(0)).split(1 << 16):
        out[index] = rows[layout.place(index)]
    return out


def _verify(folder: Path, digests: dict[str, str]) -> None:
    error: Optional[MMKGCError] = None
    for name in sorted(digests)[rank()::world_size()]:
        file = folder / name
        if not file.is_file() or file_sha256(file) != digests[name]:
            error = FormatError(
                f"Expected '{file}' to have the SHA-256 {digests[name]:.64} "
                '(got another file or none). The checkpoint is damaged or was '
                'changed.')
    raise_on_all(error)


class _quiet(warnings.catch_warnings):
    r"""Hides the warnings that PyTorch issues about its own code."""
    def __enter__(self) -> Any:
        out = super().__enter__()
        warnings.simplefilter('ignore')
        return out
