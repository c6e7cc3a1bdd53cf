import pytest
import torch
from scipy.stats import chisquare

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.sampler import UniformSampler


def test_uniform() -> None:
    """Nodes are uniform, sides even, and both independent."""
    edge_index, rel = torch.randint(5, (2, 40)), torch.zeros(40).long()
    sampler = UniformSampler(500).prepare(edge_index, rel, 5, 1)
    assert isinstance(sampler, UniformSampler)
    args = (edge_index[0], rel, edge_index[1])
    node, side, *_ = sampler.sample(*args, torch.Generator().manual_seed(0))
    assert node.shape == side.shape == (40, 500)
    cells = (node * 2 + side).view(-1).bincount(minlength=10)
    assert len(cells) == 10 and chisquare(cells.numpy()).pvalue > 1e-4
    again = sampler.sample(*args, torch.Generator().manual_seed(0))
    assert torch.equal(node, again.node)
    assert torch.equal(side, again.corrupt_head)


def test_bad_number() -> None:
    with pytest.raises(ModelError, match="'num_negatives'.* >= 1 .got -1"):
        UniformSampler(-1)
