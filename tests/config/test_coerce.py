from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Optional, Union

import pytest

from pyg_mmkgc.config.coerce import Range, check_keys, coerce
from pyg_mmkgc.errors import ConfigError


@pytest.mark.parametrize(('value', 'hint', 'expected'), [
    (1, int, 1), (1, float, 1.0), (0.5, float, 0.5), ('a', str, 'a'),
    (True, bool, True), (None, Optional[int], None), (3, int | None, 3),
    ('b', Literal['a', 'b'], 'b'), ([1, 2], list[int], [1, 2]),
    ((1, 2), tuple[int, ...], [1, 2]), (['a'], Sequence[str], ['a']),
    ({'a': 1}, Mapping[str, float], {'a': 1.0}), ({'a': 1}, dict, {'a': 1}),
    (3, Union[float, int], 3), (3, Annotated[int, Range(ge=3)], 3),
    ('x', Union[int, str, Mapping[str, Any]], 'x'), (object, Any, object),
    (None, Annotated[Optional[int], Range(ge=1)], None),
])
def test_right(value, hint, expected):
    out = coerce(value, hint, 'a.b')
    assert out == expected and type(out) is type(expected)


@pytest.mark.parametrize(('value', 'hint', 'match'), [
    (1.0, int, r"'a\.b': expected int, got 1\.0 \(float\)"),
    (True, int, r'expected int, got True \(bool\)'),
    (True, float, r'expected float, got True'),
    ('1', int, r"expected int, got '1' \(str\)"),
    (1, str, 'expected str, got 1'),
    (0, bool, 'expected bool, got 0'),
    ('on', bool | Literal['auto'], r"expected bool or 'auto', got 'on'"),
    (None, int, 'expected int, got None'),
    ('x', Optional[int], "expected int, got 'x'"),
    ('x', int | float | None, "expected int or float or null, got 'x'"),
    ('c', Literal['a', 'b'], "expected one of 'a', 'b', got 'c'"),
    (True, Literal[1], 'expected 1, got True'),
    (float('inf'), float, 'expected a finite number'),
    (10**400, float, 'expected a finite number'),
    ('abc', Sequence[str], "expected a list of str, got 'abc'"),
    ([1, 'x'], list[int], r"'a\.b\[1\]': expected int"),
    ({'k': 'x'}, Mapping[str, int], r"'a\.b\.k': expected int"),
    ([], Mapping[str, int], 'expected a mapping'),
    (2, Annotated[int, Range(ge=3)], r"'a\.b': expected a value >= 3, got 2"),
    (0.0, Annotated[float, Range(gt=0)], 'expected a value > 0, got 0'),
    (5, Annotated[int, Range(ge=0, lt=5)], '>= 0 and < 5, got 5'),
    (1, Range, 'expected Range'),
    ('x' * 500, int, r"got 'x{59}\.\.\. \(str\)"),
])
def test_wrong(value, hint, match):
    with pytest.raises(ConfigError, match=match):
        coerce(value, hint, 'a.b')


def test_an_unknown_key_names_the_nearest():
    with pytest.raises(ConfigError, match=r"'training\.epoch' is not a known "
                       r"key\. Did you mean 'epochs'\? Valid: epochs, lr\."):
        check_keys(['lr', 'epoch'], ['epochs', 'lr'], 'training')
    with pytest.raises(ConfigError, match=r"'zzz' is not a known key\. "
                       r'Valid: epochs, lr\.'):
        check_keys(['zzz'], ['epochs', 'lr'], '')
