"""The distinct nodes of a step."""

import pytest
import torch

from pyg_mmkgc.nn.encoded import distinct


@pytest.mark.parametrize('num_nodes', [10, 10_000])  # Flags, and sorting.
def test_distinct(num_nodes: int) -> None:
    index = (torch.tensor([7, 3, 7]), torch.tensor([[0, 3], [9, 0]]),
             torch.empty(0, dtype=torch.long))
    node, rows = distinct(num_nodes, index)
    assert node.tolist() == [0, 3, 7, 9]
    for ids, place in zip(index, rows, strict=True):
        assert place.shape == ids.shape
        assert torch.equal(node[place], ids)
