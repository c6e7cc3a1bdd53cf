import pytest
import torch

from pyg_mmkgc.data import relation_categories
from pyg_mmkgc.errors import DataError


def test_relation_categories_by_hand() -> None:
    triples = [
        # 0: two heads with one tail each, no tail shared.
        (0, 0, 1), (2, 0, 3),
        # 1: one head, three tails.
        (0, 1, 1), (0, 1, 2), (0, 1, 3),
        # 2: the reverse of 1.
        (1, 2, 0), (2, 2, 0), (3, 2, 0),
        # 3: two heads times two tails.
        (0, 3, 2), (0, 3, 3), (1, 3, 2), (1, 3, 3),
        # 5: 3 triples, 2 heads (1.5 tails a head: just N), 3 tails (1).
        (0, 5, 1), (0, 5, 2), (1, 5, 3),
        # 6: 4 triples, 3 heads (1.33 tails a head), 4 tails (1).
        (0, 6, 1), (0, 6, 2), (1, 6, 3), (2, 6, 0),
    ]  # yapf: disable
    head, rel, tail = torch.tensor(triples).t()
    edge_index = torch.stack([head, tail])
    expected = ['1-1', '1-N', 'N-1', 'N-N', 'unseen', '1-N', '1-1']
    assert relation_categories(edge_index, rel, 7) == expected

    # A repeated triple is one triple.
    twice = torch.cat([edge_index] * 5, dim=1)
    assert relation_categories(twice, torch.cat([rel] * 5), 7) == expected


def test_relation_categories_errors() -> None:
    empty = torch.empty(2, 0, dtype=torch.long)
    assert relation_categories(empty, empty[0], 2) == ['unseen'] * 2
    with pytest.raises(DataError, match='less than 2 .got 2'):
        relation_categories(torch.tensor([[0], [0]]), torch.tensor([2]), 2)
