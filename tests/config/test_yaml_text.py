import math

import hypothesis
import hypothesis.strategies as st
import pytest

from pyg_mmkgc.config.yaml_text import dump_yaml, parse_yaml
from pyg_mmkgc.errors import ConfigError


@pytest.mark.parametrize(('text', 'value'), [
    ('1e-4', 1e-4), ('1E3', 1000.0), ('-2.5e+1', -25.0), ('.5', 0.5),
    ('3.', 3.0), ('12', 12), ('-7', -7), ('0', 0), ('010', '010'),
    ('1:30', '1:30'), ('0x1f', '0x1f'), ('1_000', '1_000'), ('no', 'no'),
    ('on', 'on'), ('true', True), ('False', False), ('null', None),
    ('~', None), ('', None), ('2026-01-01', '2026-01-01'), ('.nan', '.nan'),
    ('"1e-4"', '1e-4'), ('[a, 1]', ['a', 1]), ('{}', {}), ('=', '='),
    ('<<: 1', {'<<': 1}),
])
def test_scalars(text, value):
    out = parse_yaml(text)
    assert out == value and type(out) is type(value)


@pytest.mark.parametrize(('text', 'match'), [
    ('a: 1\na: 2', r"key 'a' once .got it twice.*line 2"),
    ('a:\n  b: 1\n  b: 1', r"key 'a\.b' once .got it twice.*line 3"),
    ('[{a: 1, a: 2}]', r"key '\[0\]\.a' once .got it twice"),
    ('{"a": 1, a: 2}', r"key 'a' once .got it twice"),
    ('a: &x 1\nb: *x', r'no aliases .got one.*line 2, column 4'),
    ('a: &x [*x]', 'no aliases'),
    ('a: &x {b: 1}\nc:\n  <<: *x', 'no aliases'),
    ('a: &a [x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]', 'no aliases'),
    ('!!python/object/apply:os.system ["touch x"]', 'no tags'),
    ('!!python/name:os.system', 'no tags'),
    ('a: !!python/module:antigravity', 'no tags'),
    ('a: !own 1', 'no tags'),
    ('a: !!binary aGk=', 'no tags'),
    ('a: !!set {b: null}', 'no tags'),
    ('a: 9223372036854775808', 'Expected a 64-bit integer'),
    ('a: !!int x', "Expected a 64-bit integer .got 'x'"),
    ('a: !!bool 3', "Expected a bool .got '3'"),
    ('1: a', 'Expected a string as a key'),
    ('? [a]\n: b', 'Expected a string as a key'),
    ('a: [1', 'Expected valid YAML'),
    ('a: "\x00"', 'Expected valid YAML'),
    ('a: 1\n--- b\n', 'Expected valid YAML'),
    ('\ta: 1', 'Expected valid YAML'),
    ('[' * 500, 'at most 20 levels'),
    ('a' * 1_000_001, 'at most 1,000,000 characters'),
])
def test_bad_text(text, match):
    with pytest.raises(ConfigError, match=match):
        parse_yaml(text, "'my.yaml'")


def test_a_file_with_a_bad_line_is_named():
    with pytest.raises(ConfigError, match=r"'my\.yaml'.*line 2"):
        parse_yaml('a: 1\nb: [', "'my.yaml'")


scalars = (st.none() | st.booleans() | st.integers(-2**63, 2**63 - 1)
           | st.floats(allow_nan=False, allow_infinity=False)
           | st.sampled_from(['no', '1e-4', '010', '', '~', '<<', ' a', '=',
                              'true', '*x', '&x', '!t', 'a: b', '#'])
           | st.text(st.characters(codec='utf-8', exclude_characters='\x85'),
                     max_size=9).filter(str.isprintable))
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text('abc1-. ', min_size=1), inner, max_size=3),
    max_leaves=8)


@hypothesis.settings(max_examples=500, deadline=None, derandomize=True)
@hypothesis.given(values)
def test_round_trip(value):
    out = parse_yaml(dump_yaml(value))
    assert out == value and repr(out) == repr(value)


@pytest.mark.parametrize('value', [1e-4, 1e22, 5e-324, 1 / 3, -0.0, 1e-5])
def test_floats_keep_every_bit(value):
    out = parse_yaml(dump_yaml({'lr': value}))['lr']
    assert math.copysign(1, out) == math.copysign(1, value)
    assert out == value and type(out) is float
