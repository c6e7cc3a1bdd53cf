"""Strict JSON and its schemas."""

import pytest

from pyg_mmkgc.errors import CheckpointError, FormatError
from pyg_mmkgc.io.atomic import read_json
from pyg_mmkgc.io.schema import NUMBER, check_schema, parse_json


@pytest.mark.parametrize('text', [
    '1e999', '-1e999', '[1, 1e400]', 'NaN', '-Infinity', '{"a": 1, "a": 1}',
    '{"x": {"a": 1, "b": 2, "a": 3}}', '[' * 100_000, '{"a":' * 100_000, '',
    '9' * 5000])
def test_what_is_no_json_here(text, tmp_path):
    with pytest.raises(ValueError):
        parse_json(text)
    (tmp_path / 'x.json').write_text(text)
    with pytest.raises(FormatError, match=r'x\.json'):
        read_json(tmp_path / 'x.json')


def test_plain_values():
    text = '{"a": [1, -2.5, 1e-999, null, true, "x"], "b": {"a": 3}}'
    assert parse_json(text) == {'a': [1, -2.5, 0.0, None, True, 'x'],
                                'b': {'a': 3}}


SCHEMA = {'name': str, 'size?': (int, None), 'items': [{str: NUMBER}],
          'any': {'kind': str, ...: object}, 'on?': bool}
GOOD = {'name': 'x', 'items': [{'a': 1, 'b': 2.5}, {}],
        'any': {'kind': 'k', 'more': [None]}}


@pytest.mark.parametrize('change', [
    {}, {'size': 3}, {'size': None}, {'on': False}, {'items': []}])
def test_good_values(change):
    check_schema({**GOOD, **change}, SCHEMA, 'x')


@pytest.mark.parametrize('change, message', [
    ({'name': 5}, "got int 5 instead of a string as 'name'"),
    ({'name': None}, "got NoneType .* a string as 'name'"),
    ({'size': True}, "got bool True .* an integer or null as 'size'"),
    ({'size': 2.5}, 'got float 2.5'),
    ({'on': 1}, "got int 1 .* true or false as 'on'"),
    ({'items': 'abc'}, "got str 'abc' .* a list as 'items'"),
    ({'items': [{'a': 'x'}]}, r"an integer or a number as 'items\[0\].a'"),
    ({'items': [{}, 5]}, r"got int 5 .* an object as 'items\[1\]'"),
    ({'any': {}}, "got no key 'any.kind'"),
    ({'more': 1}, "got the unknown key 'more'"),
    ({'name': 'x' * 5, 'items': {'a': 'y' * 10_000}},
     "got dict instead of a list as 'items'.$")])
def test_bad_values(change, message):
    with pytest.raises(CheckpointError, match=f' in the file .*{message}'):
        check_schema({**GOOD, **change}, SCHEMA, 'the file', CheckpointError)


@pytest.mark.parametrize('value', [None, [], 5, 'x'])
def test_no_object(value):
    with pytest.raises(FormatError, match='got .* instead of an object'):
        check_schema(value, SCHEMA, 'x')
