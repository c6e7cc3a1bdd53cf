import pytest
import torch
from torch_geometric.testing import withoutExtensions
from torch_geometric.utils import scatter

from pyg_mmkgc.features import mean_pool


@pytest.mark.scatter
@withoutExtensions
def test_mean_of_each_entity(without_extensions: bool) -> None:
    x = torch.randn(9, 4)
    ptr = torch.tensor([0, 1, 6, 9])
    out = mean_pool(x, ptr)
    expected = torch.stack([x[0], x[1:6].mean(0), x[6:].mean(0)])
    torch.testing.assert_close(out, expected)
    index = torch.tensor([0] + [1] * 5 + [2] * 3)
    torch.testing.assert_close(out, scatter(x, index, reduce='mean'))


def test_order_is_no_matter() -> None:
    # In single precision, 1 would get lost next to 1e8.
    x = torch.tensor([[1e8], [1.], [-1e8], [1.]])
    for order in ([0, 1, 2, 3], [1, 3, 0, 2], [3, 2, 1, 0]):
        out = mean_pool(x[order], torch.tensor([0, 4]))
        assert out.tolist() == [[0.5]]
        assert out.dtype == torch.float
