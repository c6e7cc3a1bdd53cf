import random

import pytest

from pyg_mmkgc.errors import DataError
from pyg_mmkgc.features.items import Item, match_items

from .tiny import texts


def test_without_a_graph_entities_are_nodes() -> None:
    matched = match_items(texts(('b', 'x'), ('a', 'z'), ('b', 'w')))
    assert matched.labels == ['a', 'b']
    assert [item.content for item in matched.items] == ['z', 'w', 'x']
    assert matched.nodes == [0, 1, 1]
    assert matched.unknown == []


def test_nodes_have_the_order_of_the_graph() -> None:
    matched = match_items(texts(('a', 'x'), ('b', 'y'), ('no', 'z')),
                          labels=['b', 'none', 'a'])
    assert [item.entity for item in matched.items] == ['b', 'a']
    assert matched.nodes == [0, 2]
    assert matched.unknown == ['no']


def test_ids_are_asked_for() -> None:
    items = texts(('1', 'x'), ('2', 'y'), ('01', 'z'), ('-1', 'w'))
    labels = ['1', 'q']  # A label that looks like the id of another node.
    matched = match_items(items, labels)
    assert matched.nodes == [0]
    matched = match_items(items, labels, match='id')
    assert matched.nodes == [1]
    assert matched.unknown == ['-1', '01', '2']


def test_order_of_items_is_no_matter() -> None:
    items = texts(*[(str(i % 7), f'text {i % 5}') for i in range(50)])
    expected = match_items(items)
    random.shuffle(items)
    assert match_items(items) == expected
    assert match_items(items).digest() == expected.digest()


@pytest.mark.parametrize('change', ['entity', 'key', 'problem', 'label',
                                    'unknown'])
def test_digest_tells_items_apart(change: str) -> None:
    item, labels = Item('a', 'x', 'row 1'), ['a', 'b']
    before = match_items([item], labels).digest()
    items = [item]
    if change == 'entity':
        items = [item._replace(entity='b')]
    elif change == 'label':
        labels = ['a', 'c']
    elif change == 'unknown':
        items.append(Item('z', 'x', 'row 2'))
    else:
        items = [item._replace(**{change: 'other'})]
    assert match_items(items, labels).digest() != before


@pytest.mark.parametrize('labels, match, message', [
    (['a', 'b', 'a'], 'label', "'a' more than once"),
    (['a', 'b\nc'], 'label', r"'b\\nc'"),
    (['a', ' '], 'label', "' '"),
    (['a', '\udcff'], 'label', 'udcff'),
    (['x', 'y'], 'label', "one of 1 entities.*by its label.*'a'.*'x'"),
    (['a'], 'id', "one of 1 entities.*by its id.*'a'.*'0'"),
    (['a'], 'name', "got 'name'"),
    (None, 'id', "'id' if 'labels' are given .got 'id'"),
])
def test_errors(labels: list[str], match: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        match_items([Item('a', 'x', 'row 1')], labels, match)


def test_no_items() -> None:
    with pytest.raises(DataError, match='got none'):
        match_items([])
