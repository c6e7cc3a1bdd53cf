from collections.abc import Mapping, Sequence
from typing import Any, Literal, Optional, Union

import pytest

from pyg_mmkgc.config.coerce import check_keys, coerce
from pyg_mmkgc.errors import ConfigError


@pytest.mark.parametrize(('value', 'hint', 'expected'), [
    (1, int, 1), (1, float, 1.0), (0.5, float, 0.5), ('a', str, 'a'),
    (True, bool, True), (None, Optional[int], None), (3, int | None, 3),
    ('b', Literal['a', 'b'], 'b'), ([1, 2], list[int], [1, 2]),
    ((1, 2), tuple[int, ...], [1, 2]), (['a'], Sequence[str], ['a']),
    ({'a': 1}, Mapping[str, float], {'a': 1.0}), ({'a': 1}, dict, {'a': 1}),
    (3, Union[float, int], 3),
    ('x', Union[int, str, Mapping[str, Any]], 'x'), (object, Any, object),
])
def test_right(value, hint, expected):
    out = coerce(value, hint, 'a.b')
    assert out == expected and type(out) is type(expected)


@pytest.mark.parametrize(('value', 'hint', 'expected'), [
    (1.0, int, r"'a\.b' to be an integer \(got 1\.0\)"),
    (True, int, r'an integer \(got True\)'),
    (True, float, r'a finite number \(got True\)'),
    ('1', int, r"an integer \(got '1'\)"),
    (1, str, r'a string \(got 1\)'),
    (0, bool, r'a boolean \(got 0\)'),
    ('on', bool | Literal['auto'], r"a boolean or 'auto' \(got 'on'\)"),
    (None, int, r'an integer \(got None\)'),
    ('x', Optional[int], r"an integer \(got 'x'\)"),
    ('x', int | float | None, r'an integer or a finite number or null \(got'),
    ('c', Literal['a', 'b'], r"'a' or 'b' \(got 'c'\)"),
    (True, Literal[1], r'1 \(got True\)'),
    (float('inf'), float, r'a finite number \(got inf'),
    (float('nan'), float, r'a finite number \(got nan'),
    (10**400, float, 'a finite number'),
    ('abc', Sequence[str], r"a list \(got 'abc'\)"),
    ([1, 'x'], list[int], r"'a\.b\[1\]' to be an integer"),
    ({'k': 'x'}, Mapping[str, int], r"'a\.b\.k' to be an integer"),
    ([], Mapping[str, int], 'a mapping'),
    ('x' * 500, int, r"\(got 'x{59}\)"),
])
def test_wrong(value, hint, expected):
    with pytest.raises(ConfigError, match=f"^Expected (?='a).*{expected}"):
        coerce(value, hint, 'a.b')


def test_an_unknown_key_names_the_nearest():
    with pytest.raises(ConfigError, match=r"a known key \(got 'training\.epo"
                       r"ch'\)\. Did you mean 'epochs'\? Valid: epochs, lr\."):
        check_keys(['lr', 'epoch'], ['epochs', 'lr'], 'training')
    with pytest.raises(ConfigError, match=r"a known key \(got 'zzz'\)\. "
                       r'Valid: epochs, lr\.'):
        check_keys(['zzz'], ['epochs', 'lr'], '')
