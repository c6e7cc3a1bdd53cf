import pytest
import torch

from pyg_mmkgc.datasets import FakeMMKG
from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn import RotatE
from pyg_mmkgc.sampler import (
    BernoulliSampler,
    NegativeSampler,
    PooledSampler,
    UniformSampler,
)
from pyg_mmkgc.sampler.base import head_probability
from pyg_mmkgc.training import Trainer


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


@pytest.mark.parametrize('num_negatives', [0, -3, 1.5, '8', None])
@pytest.mark.parametrize('cls', [NegativeSampler, PooledSampler,
                                 BernoulliSampler])
def test_not_a_number_of_negatives(cls: type, num_negatives: object) -> None:
    with pytest.raises(ModelError, match="'num_negatives' .*>= 1 .got "
                       f'{num_negatives!r}'):
        cls(num_negatives)


@pytest.mark.parametrize('sampler', [PooledSampler, 'PooledSampler'])
def test_no_sampler_at_all(sampler: object) -> None:
    data = FakeMMKG(num_nodes=9, num_relations=2, num_edges=9)[0]
    with pytest.raises(ModelError, match="'sampler' to be a "
                       'NegativeSampler instance .got .*PooledSampler'):
        Trainer(RotatE.from_data(data, 4), data, sampler=sampler)


def test_repr() -> None:
    assert repr(UniformSampler(7)) == 'UniformSampler(num_negatives=7)'
    assert NegativeSampler().num_negatives == 128
