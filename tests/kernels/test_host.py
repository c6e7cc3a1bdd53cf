"""Values that are known on the host are never read from a device."""

import pytest
import torch
from torch import Tensor

from pyg_mmkgc.kernels.host import (
    by_value,
    distinct_values,
    drawn_for,
    known_on_host,
    on_host,
    rows_of,
    sum_where,
    to_device,
    true_places,
)
from pyg_mmkgc.testing import (
    count_waits,
    missing_accelerator,
    pretend_accelerator,
)

REASON = missing_accelerator() or ''


@pytest.fixture(params=['cpu', pytest.param(
    'pretend', marks=pytest.mark.skipif(bool(REASON), reason=REASON))])
def device(request: pytest.FixtureRequest) -> torch.device:
    if request.param == 'cpu':
        return torch.device('cpu')
    return pretend_accelerator()


def test_copies_remember_ids(device: torch.device) -> None:
    ids = torch.tensor([3, 1, 2])
    with count_waits() as waits:
        there = to_device(ids, device)
        assert there.device == device
        assert known_on_host(there)
        assert on_host(there).tolist() == [3, 1, 2]
    assert waits.total == 0
    assert there.cpu().tolist() == [3, 1, 2]


def test_a_changed_tensor_is_read_again(device: torch.device) -> None:
    there = to_device(torch.tensor([3, 1, 2]), device)
    there[0] = 7
    assert known_on_host(there) == (device.type == 'cpu')
    with count_waits() as waits:
        for _ in range(2):
            assert on_host(there).tolist() == [7, 1, 2]
    assert waits.total == (device.type != 'cpu')  # The first time only.


def test_distinct_values(device: torch.device) -> None:
    x = to_device(torch.tensor([[5, 2], [5, 9]]), device)
    with count_waits() as waits:
        value, place = distinct_values(x)
        assert known_on_host(value) and known_on_host(place)
    assert waits.total == 0
    assert (value.device, place.device) == (device, device)
    assert value.tolist() == [2, 5, 9]
    assert place.tolist() == [[1, 0], [1, 2]]


def test_by_value(device: torch.device) -> None:
    x = to_device(torch.tensor([4, 0, 4, 2, 0]), device)
    with count_waits() as waits:
        value, groups, back = by_value(x)
    assert waits.total == 0
    assert value.tolist() == [0, 2, 4]
    assert [rows.tolist() for rows in groups] == [[1, 4], [3], [0, 2]]
    assert torch.cat(groups)[back].tolist() == [0, 1, 2, 3, 4]
    assert by_value(x[:0])[0].numel() == 0


def test_masks(device: torch.device) -> None:
    mask = to_device(torch.tensor([True, False, True]), device)
    x = torch.tensor([1.0, float('nan'), 4.0]).to(device)
    with count_waits() as waits:
        places, total = true_places(mask), sum_where(mask, x)
    assert waits.total == 0
    assert places.tolist() == [0, 2]
    assert total.item() == 5.0


@pytest.mark.parametrize('table_on', ['host', 'device'])
def test_rows_of_a_table(table_on: str, device: torch.device) -> None:
    table = torch.arange(12.0).view(4, 3)
    index = to_device(torch.tensor([[3, 0]]), device)
    given = table if table_on == 'host' else table.to(device)
    with count_waits() as waits:
        rows = rows_of(given, index)
    assert waits.total == 0
    assert rows.device == device
    assert rows.tolist() == [[[9.0, 10.0, 11.0], [0.0, 1.0, 2.0]]]
    with pytest.raises((IndexError, RuntimeError), match='out of'):
        rows_of(given, to_device(torch.tensor([-1]), device))


def test_random_numbers(device: torch.device) -> None:
    like = torch.zeros(2, dtype=torch.double).to(device)
    numbers: Tensor = torch.rand(3, generator=torch.Generator())
    with count_waits() as waits:
        there = drawn_for(like, numbers)
    assert waits.total == 0
    assert (there.device, there.dtype) == (device, torch.double)
    assert torch.equal(there.cpu(), numbers.double())
