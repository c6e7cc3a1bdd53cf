import pytest

from pyg_mmkgc.errors import DataError
from pyg_mmkgc.features.plan import as_json, check_plan


def test_equal_plans() -> None:
    plan = as_json({'a': {'b': (1, 2)}, 'c': None})
    assert plan == {'a': {'b': [1, 2]}, 'c': None}
    check_plan('folder', {**plan, 'more': 1}, plan)


def test_differences_are_named() -> None:
    found = {'encoder': {'name': 'a', 'seed': 1}, 'n': 1}
    now = {'encoder': {'name': 'a', 'seed': 2, 'new': [1]}, 'n': 1, 'm': 2}
    with pytest.raises(DataError, match='folder') as info:
        check_plan('folder', found, now)
    text = str(info.value)
    assert 'encoder.seed is 1 there, 2 now' in text
    assert 'encoder.new is null there, [1] now' in text
    assert 'm is null there, 2 now' in text
    assert 'name' not in text


@pytest.mark.parametrize('value', [{1, 2}, float('nan'), object()])
def test_only_json(value: object) -> None:
    with pytest.raises(DataError, match='JSON'):
        as_json({'a': value})
