import torch

from pyg_mmkgc.sampler import NegativeSampler, UniformSampler
from pyg_mmkgc.sampler.base import head_probability


def test_head_probability_by_hand() -> None:
    """Relation 0: 4 triples, 1 head, 4 tails: tph = 4, hpt = 1. Relation 1:
    3 triples, 2 heads, 2 tails. Relation 2 has none.
    """
    edge_index = torch.tensor([[0, 0, 0, 0, 1, 1, 2], [1, 2, 3, 4, 1, 2, 1]])
    edge_type = torch.tensor([0, 0, 0, 0, 1, 1, 1])
    expected = torch.tensor([4 / 5, 1 / 2, 1 / 2])
    torch.testing.assert_close(head_probability(edge_index, edge_type, 3),
                               expected)
    twice = torch.cat([edge_index, edge_index], dim=1)
    torch.testing.assert_close(
        head_probability(twice, edge_type.repeat(2), 3), expected)


def test_repr() -> None:
    assert repr(UniformSampler(7)) == 'UniformSampler(num_negatives=7)'
    assert NegativeSampler().num_negatives == 128
