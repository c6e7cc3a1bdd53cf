"""The share of a batch in one of several processes."""

import torch

from pyg_mmkgc.nn.share import Share, draw, mine, sharing


def test_without_a_share_everything_is_mine() -> None:
    x = torch.arange(6)
    assert mine(x) is x
    torch.manual_seed(1)
    expected = torch.rand(3, 2)
    torch.manual_seed(1)
    assert torch.equal(draw(torch.rand, 3, 2), expected)


def test_rows_of_a_share() -> None:
    with sharing(Share(1, 2, 3, 2 / 3)):
        assert mine(torch.arange(3)).tolist() == [1, 2]
        # Three heads, then three tails.
        assert mine(torch.arange(6)).tolist() == [1, 2, 4, 5]
        assert mine(torch.arange(6).view(2, 3), dim=1).tolist() == [
            [1, 2], [4, 5]]
    assert mine(torch.arange(3)).tolist() == [0, 1, 2]


def test_shares_draw_the_numbers_of_the_batch() -> None:
    def numbers() -> torch.Generator:
        return torch.Generator().manual_seed(5)

    whole = torch.randn(2, 5, 3, generator=numbers())
    parts = []
    for first, size in ((0, 2), (2, 2), (4, 1)):
        with sharing(Share(first, size, 5, size / 5)):
            parts.append(draw(torch.randn, 2, size, 3, dim=1,
                              generator=numbers()))
    assert torch.equal(torch.cat(parts, dim=1), whole)
