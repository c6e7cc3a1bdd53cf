"""Lists of strings as tensors."""

import pytest
import torch

from pyg_mmkgc.errors import FormatError
from pyg_mmkgc.io.strings import pack_strings, unpack_strings


@pytest.mark.parametrize('strings', [
    [], [''], ['a', '', 'ä\u2028', '\0', '漢字', 'line\nend']])
def test_round_trip(strings: list[str]) -> None:
    data, ends = pack_strings(strings)
    assert ends.numel() == len(strings)
    assert unpack_strings(data, ends, 'a file') == strings


def test_bytes_by_hand() -> None:
    data, ends = pack_strings(['ab', 'ä'])
    assert data.tolist() == [97, 98, 0xc3, 0xa4] and ends.tolist() == [2, 4]


@pytest.mark.parametrize('data, ends', [
    ([97], [2]), ([97], []), ([97, 98], [2, 1]), ([97, 98], [-1, 2]),
    ([0xff], [1])])
def test_damaged(data: list[int], ends: list[int]) -> None:
    with pytest.raises(FormatError, match="in 'x'"):
        unpack_strings(torch.tensor(data, dtype=torch.uint8),
                       torch.tensor(ends, dtype=torch.long), "'x'")
