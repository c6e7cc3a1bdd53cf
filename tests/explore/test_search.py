import random

import pytest
import torch

from pyg_mmkgc.explore.search import LabelIndex

LABELS = ['Berlin', 'East Berlin', 'Berlin Wall', 'Überlingen', 'Dublin',
          'New_York', 'LINZ', 'linz am rhein', '', 'São Tomé and Príncipe']


def index(labels: list[str] = LABELS) -> LabelIndex:
    return LabelIndex(labels, torch.zeros(len(labels), dtype=torch.long))


def find(query: str, limit: int = 10) -> list[str]:
    return [LABELS[i] for i in index().search(query, limit)]


def test_better_matches_come_first() -> None:
    assert find('berlin') == ['Berlin', 'Berlin Wall', 'East Berlin',
                              'Überlingen']
    assert find('lin') == ['LINZ', 'linz am rhein', 'Berlin', 'East Berlin',
                           'Berlin Wall', 'Überlingen', 'Dublin']


@pytest.mark.parametrize('query, label', [
    ('UBERLINGEN', 'Überlingen'), ('überl', 'Überlingen'),
    ('sao tome', 'São Tomé and Príncipe'), ('  new   york ', 'New_York'),
    ('new_y', 'New_York')])
def test_case_accents_and_underscores_do_not_matter(query: str,
                                                    label: str) -> None:
    assert find(query) == [label]


@pytest.mark.parametrize('query', ['', ' ', '\n', '_'])
def test_nothing_finds_nothing(query: str) -> None:
    assert find(query) == []


def test_heavier_nodes_come_first() -> None:
    index = LabelIndex(['ab', 'ac', 'ad', 'xa'], torch.tensor([1, 5, 3, 9]))
    assert index.search('a') == [1, 2, 0, 3]
    assert index.search('a', limit=2) == [1, 2]


def test_no_label_is_lost_or_made_up() -> None:
    """Against a plain loop over all labels."""
    rng = random.Random(0)
    labels = [''.join(rng.choices('ab _', k=rng.randrange(5)))
              for _ in range(300)]
    labels += ['a\nb', 'b\n', '\n', 'a' * 300]
    found = index(labels)
    for query in ('a', 'b', 'ab', 'ba', 'a b', 'aba', 'bb ', 'a' * 250):
        text = ' '.join(query.replace('_', ' ').split())[:200]
        expected = {i for i, label in enumerate(labels) if text in ' '.join(
            label.replace('_', ' ').split())}
        assert set(found.search(query, 1000)) == expected


def test_no_labels() -> None:
    assert index([]).search('a') == []
