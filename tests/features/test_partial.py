import os
from pathlib import Path

import pytest
import torch

from pyg_mmkgc.errors import DataError
from pyg_mmkgc.features.partial import NAME, PartialRows, remove_partial

PLAN = {'encoder': {'name': 'a'}}
BATCHES = [torch.arange(6.).view(2, 3), torch.empty(0, 3),
           torch.arange(9.).view(3, 3) + 10, torch.ones(1, 3)]


def fill(folder: Path, batches: list[torch.Tensor] = BATCHES,
         dtype: torch.dtype = torch.float) -> PartialRows:
    rows = PartialRows(folder, PLAN, dtype)
    for i, batch in enumerate(batches):
        rows.append(batch.to(dtype), {'i': i})
    return rows


def content(rows: PartialRows) -> tuple[list[int], torch.Tensor]:
    indices = [record['i'] for record in rows.records()]
    x = next(rows.blocks([rows.num_rows]))
    return indices, x


@pytest.mark.parametrize('dtype', [torch.float, torch.half, torch.bfloat16])
def test_rows_come_back(tmp_path: Path, dtype: torch.dtype) -> None:
    rows = fill(tmp_path, dtype=dtype)
    for _ in range(2):
        assert (rows.num_rows, rows.num_batches, rows.num_channels) == (6, 4,
                                                                        3)
        indices, x = content(rows)
        assert indices == [0, 1, 2, 3]
        assert torch.equal(x, torch.cat(BATCHES).to(dtype))
        blocks = list(rows.blocks([1, 4, 1]))
        assert [len(block) for block in blocks] == [1, 4, 1]
        assert torch.equal(torch.cat(blocks), x)
        rows.close()
        rows = PartialRows(tmp_path, PLAN, dtype)
    rows.close()
    remove_partial(tmp_path)
    remove_partial(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('name', ['rows.bin', 'records.jsonl'])
def test_any_cut_is_recovered(tmp_path: Path, name: str) -> None:
    """After a kill at any byte, whole batches are kept and the rest redone."""
    fill(tmp_path).close()
    path = tmp_path / NAME / name
    whole = path.read_bytes()
    other = {p: p.read_bytes() for p in path.parent.iterdir() if p != path}
    seen = set()
    for size in range(len(whole) + 1):
        for p, data in other.items():
            p.write_bytes(data)
        path.write_bytes(whole[:size])
        rows = PartialRows(tmp_path, PLAN, torch.float)
        seen.add(rows.num_batches)
        for i in range(rows.num_batches, len(BATCHES)):
            rows.append(BATCHES[i], {'i': i})
        indices, x = content(rows)
        assert indices == [0, 1, 2, 3]
        assert torch.equal(x, torch.cat(BATCHES))
        rows.close()
        assert path.read_bytes() == whole
    assert seen == ({0, 2, 3, 4} if name == 'rows.bin' else {0, 1, 2, 3, 4})


@pytest.mark.parametrize('name', ['rows.bin', 'records.jsonl'])
def test_zeros_after_a_power_failure(tmp_path: Path, name: str) -> None:
    fill(tmp_path).close()
    path = tmp_path / NAME / name
    data = path.read_bytes()
    half = len(data) // 2
    path.write_bytes(data[:half] + bytes(len(data) - half))
    rows = PartialRows(tmp_path, PLAN, torch.float)
    assert rows.num_batches == 2
    assert torch.equal(content(rows)[1], BATCHES[0])
    rows.close()


def test_another_plan_is_refused(tmp_path: Path) -> None:
    fill(tmp_path).close()
    before = {p: p.read_bytes() for p in (tmp_path / NAME).iterdir()}
    with pytest.raises(DataError, match='encoder.name is "a" there, "b" now'):
        PartialRows(tmp_path, {'encoder': {'name': 'b'}}, torch.float)
    assert before == {p: p.read_bytes() for p in (tmp_path / NAME).iterdir()}


def try_to_open(folder: Path) -> str:
    """Returns the outcome of opening the rows in another process."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        message = 'opened'
        try:
            PartialRows(folder, PLAN, torch.float).close()
        except DataError as error:
            message = str(error)
        os.write(writer, message.encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with open(reader) as file:
        return file.read()


def test_only_one_process_writes(tmp_path: Path) -> None:
    rows = fill(tmp_path)
    assert 'Expected no other process to write' in try_to_open(tmp_path)
    rows.close()
    assert try_to_open(tmp_path) == 'opened'
