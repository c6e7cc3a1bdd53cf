r"""Partial results on disk, from which a killed extraction can continue."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyg_mmkgc.errors import DataError
from pyg_mmkgc.features.plan import check_plan
from pyg_mmkgc.io.atomic import read_json, take_lock, write_json
from pyg_mmkgc.io.schema import check_schema, parse_json

NAME = '.partial'
RECORD = {'num_rows': int, 'num_channels': int, 'crc': int, ...: object}


class PartialRows:
    r"""The rows of the batches so far, and a record of each batch.

    Both files only grow: the rows of a batch are appended first, followed by
    its record, a line of JSON with a checksum of the rows. Remains of an
    unfinished batch are cut off when the files are opened again.

    Args:
        folder (pathlib.Path): The folder of the result. The files are kept
            in a subfolder.
        plan (dict): Everything that determines the rows, as plain values.
        dtype (torch.dtype): The type of the rows.

    Raises:
        DataError: If the files exist with another plan, or if another
            process is writing them.
    """
    def __init__(self, folder: Path, plan: Mapping[str, Any],
                 dtype: torch.dtype) -> None:
        self.folder = folder / NAME
        self.dtype = dtype
        self.num_rows = 0
        self.num_batches = 0
        self.num_channels: int | None = None
        self.folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            lock = stack.enter_context(open(self.folder / 'lock', 'wb'))
            if not take_lock(lock):
                raise DataError(f"Expected no other process to write features "
                                f"to '{folder}' (got a locked file)")
            path = self.folder / 'plan.json'
            if path.exists():
                check_plan(folder, read_json(path), plan)
            else:
                write_json(path, plan)
            self._rows, self._records = (
                stack.enter_context(open(self.folder / name, 'ab+'))
                for name in ('rows.bin', 'records.jsonl'))
            self._recover()
            self._files = stack.pop_all()

    def append(self, x: Tensor, record: Mapping[str, Any]) -> None:
        r"""Appends a batch.

        Args:
            x (torch.Tensor): The rows of the batch, with shape
                :obj:`[num_rows, num_channels]`.
            record (dict): Further facts about the batch, as plain values.
        """
        content = to_bytes(x)
        self._rows.write(content)
        self._rows.flush()
        record = {'num_rows': x.size(0), 'num_channels': x.size(1),
                  'crc': zlib.crc32(content), **record}
        self._records.write(json.dumps(record).encode() + b'\n')
        self._records.flush()
        self._count(record)

    def records(self) -> Iterator[dict[str, Any]]:
        r"""Yields the record of each batch."""
        with open(self._records.name, 'rb') as file:
            for line in file:
                yield json.loads(line)

    def blocks(self, sizes: list[int]) -> Iterator[Tensor]:
        r"""Yields all rows in order, in blocks.

        Args:
            sizes (list[int]): The number of rows of each block.
        """
        assert self.num_channels is not None
        with open(self._rows.name, 'rb') as file:
            for size in sizes:
                count = size * self.num_channels * self.dtype.itemsize
                x = torch.frombuffer(bytearray(file.read(count)),
                                     dtype=self.dtype)
                yield x.view(size, self.num_channels)

    def close(self) -> None:
        r"""Closes the files. Another run can continue from them."""
        self._files.close()

    def _count(self, record: Mapping[str, Any]) -> None:
        self.num_batches += 1
        self.num_rows += record['num_rows']
        if record['num_rows'] > 0:
            self.num_channels = record['num_channels']

    def _recover(self) -> None:
        rows_end = records_end = 0
        self._rows.seek(0)
        self._records.seek(0)
        for line in self._records:
            record = _parse(line)
            if record is None:
                break
            count = (record['num_rows'] * record['num_channels'] *
                     self.dtype.itemsize)
            content = self._rows.read(count)
            if len(content) < count or zlib.crc32(content) != record['crc']:
                break
            self._count(record)
            rows_end += count
            records_end += len(line)
        self._rows.truncate(rows_end)
        self._records.truncate(records_end)
        for file in (self._rows, self._records):
            file.seek(0, io.SEEK_END)


def remove_partial(folder: Path) -> None:
    r"""Deletes the files of :class:`PartialRows`, if there are any."""
    if (folder / NAME).exists():
        shutil.rmtree(folder / NAME)


def to_bytes(x: Tensor) -> memoryview:
    r"""Returns the bytes of a tensor on the CPU without copying them."""
    return x.contiguous().view(-1).view(torch.uint8).numpy().data


def _parse(line: bytes) -> dict[str, Any] | None:
    # A killed process can leave a truncated line, and a power failure can
    # leave zeros.
    if not line.endswith(b'\n'):
        return None
    try:
        record = parse_json(line.decode('utf-8'))
        check_schema(record, RECORD, 'a record')
    except ValueError:
        return None
    return record if min(record['num_rows'], record['num_channels']) >= 0 \
        else None
