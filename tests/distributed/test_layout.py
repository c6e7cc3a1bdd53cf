"""The distribution of rows over processes, without a process group."""

import pytest
import torch

from pyg_mmkgc.distributed import table
from pyg_mmkgc.distributed.table import Layout, positions


def layouts(num_rows: int, size: int,
            monkeypatch: pytest.MonkeyPatch) -> list[Layout]:
    monkeypatch.setattr(table, 'world_size', lambda: size)
    out = []
    for k in range(size):
        monkeypatch.setattr(table, 'rank', lambda k=k: k)
        out.append(Layout(num_rows))
    return out


@pytest.mark.parametrize('num_rows, size', [
    (1, 1), (1, 2), (2, 3), (41, 2), (41, 3), (100, 8), (5, 4)])
def test_each_row_has_one_owner(num_rows: int, size: int,
                                monkeypatch: pytest.MonkeyPatch) -> None:
    found = layouts(num_rows, size, monkeypatch)
    ids = torch.cat([layout.ids() for layout in found])
    assert sorted(ids.tolist()) == list(range(num_rows))
    # A row's place is its position among the rows of all processes.
    assert found[0].place(ids).tolist() == list(range(num_rows))
    for k, layout in enumerate(found):
        owner = layout.place(layout.ids()) // layout.size
        assert owner.tolist() == [k] * (layout.last - layout.first)


def test_frequent_rows_are_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The 1% of rows with the lowest ids may have most of the triples."""
    layout = layouts(100_000, 8, monkeypatch)[0]
    owner = layout.place(torch.arange(1000)) // layout.size
    count = owner.bincount(minlength=8)
    assert int(count.max()) <= 1.2 * 1000 / 8


def test_positions() -> None:
    nodes = torch.tensor([2, 5, 9])
    index = torch.tensor([[9, 0], [5, 10]])
    assert positions(nodes, index).tolist() == [[2, -1], [1, -1]]
    assert positions(nodes[:0], index).tolist() == [[-1, -1], [-1, -1]]
