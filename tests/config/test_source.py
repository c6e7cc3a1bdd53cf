"""Names and keywords read from the source, against the classes."""

import inspect
import types
from typing import Literal, Optional, Union, get_args, get_origin

import pytest

from pyg_mmkgc.config import check_config, load_config, shipped_configs, source
from pyg_mmkgc.config.coerce import is_plain, plain_value
from pyg_mmkgc.config.components import valid_names
from pyg_mmkgc.errors import ConfigError
from pyg_mmkgc.io.arguments import arguments_of

SECTIONS = ('dataset', 'model', 'sampler', 'loss', 'adversary')


def plain_hint(hint):
    """The hint, less the alternatives that no YAML file can hold."""
    kind, args = get_origin(hint) or hint, get_args(hint)
    if kind in (Union, types.UnionType):
        return Union[tuple(plain_hint(x) for x in args
                           if x is types.NoneType or is_plain(x))]
    if args and kind is not Literal:
        return kind[tuple(x if x is ... else plain_hint(x) for x in args)]
    return hint


def plain(target):
    """Types and defaults of the keywords that a YAML file can hold."""
    return {name: (plain_hint(param.annotation), plain_value(param.default))
            for name, param in arguments_of(target).items()
            if is_plain(param.annotation)}


@pytest.mark.parametrize('section', SECTIONS)
def test_source_and_classes_agree(section):
    real, read = valid_names(section), source.valid_names(section)
    assert set(read) == set(real)
    for name, target in real.items():
        found = read[name]
        for attribute in ('own_loss', 'takes_all_nodes'):
            assert getattr(found, attribute, False) == getattr(
                target, attribute, False), name
        assert hasattr(found, 'from_data') == hasattr(target, 'from_data')
        pairs = [(found, target)]
        if hasattr(target, 'from_data'):
            pairs.append((found.from_data, target.from_data))
        for one, other in pairs:
            one, other = plain(one), plain(other)
            assert set(one) == set(other), name
            for key, (hint, default) in other.items():
                assert one[key][0] == hint, (name, key)
                assert one[key][1] == default or (
                    # A default that only Python can compute.
                    one[key][1] is source.Opaque
                    and default is not inspect.Parameter.empty), (name, key)


@pytest.mark.parametrize('name', shipped_configs()[::7])
def test_shipped_configurations_pass(name):
    check_config(name)


@pytest.mark.parametrize('override', [
    'training.epoch=3', 'model.name=AdaM', 'model.margin=big', 'data=1',
    'sampler.num_negatives=1.5', 'loss.name=OneVsAllLoss', 'model=[]',
    'adversary.weights=1', 'training.lr_schedule=step', 'dataset.name=FB15k',
    'training.features_on=disk',
    'model.modalities=[text]', 'training.track=disk', 'sampler=null',
    'adversary.kinds=[1]', 'training.track=[csv, disk]'])
def test_both_refuse_with_the_same_words(override):
    errors = []
    for check in (check_config, load_config):
        with pytest.raises(ConfigError) as info:
            check('adamf_mat/countries', [override])
        errors.append(str(info.value))
    assert errors[0] == errors[1]


@pytest.mark.parametrize('name', ['contries', 'none.yaml'])
def test_both_refuse_names(name):
    errors = []
    for check in (check_config, load_config):
        with pytest.raises(ConfigError) as info:
            check(name)
        errors.append(str(info.value))
    assert errors[0] == errors[1]


def test_parsing(tmp_path, monkeypatch):
    """Inheritance, defaults and types that the classes have not."""
    code = """
from typing import Any, Literal, Optional, Union
from .other import KINDS, Base as Parent
SIZE = 7
Mode = Literal['a', 'b']

class Left(Parent):
    def __init__(self, left: float = -1.5, *args, **kwargs): pass

class Right(Parent):
    flag = True
    def __init__(self, right: 'Optional[int]' = None, **kwargs): pass

class Both(Left, Right):
    def __init__(self, mode: Mode = 'a', size: int = SIZE, *,
                 kinds: tuple[str, ...] = KINDS, f=len(KINDS), **kwargs):
        pass
"""
    other = """
KINDS = ('x', 'y')
class Base:
    def __init__(self, base: int | None = 3, left: str = ''): pass
"""
    (tmp_path / 'pyg_mmkgc').mkdir()
    (tmp_path / 'pyg_mmkgc/part.py').write_text(code)
    (tmp_path / 'pyg_mmkgc/other.py').write_text(other)

    class Spec:
        submodule_search_locations = [str(tmp_path / 'pyg_mmkgc')]

    monkeypatch.setattr(source.importlib.util, 'find_spec', lambda name: Spec)
    for cached in (source._tree, source._find):
        cached.cache_clear()
    try:
        both = source._stand_in(source._find('pyg_mmkgc.part', 'Both'))
    finally:
        for cached in (source._tree, source._find):
            cached.cache_clear()
    params = inspect.signature(both).parameters
    assert {name: x.default for name, x in params.items()} == {
        'mode': 'a', 'size': 7, 'kinds': ('x', 'y'), 'f': source.Opaque,
        'left': -1.5, 'right': None, 'base': 3}
    assert {name: x.annotation for name, x in params.items()} == {
        'mode': Literal['a', 'b'], 'size': int, 'kinds': tuple[str, ...],
        'f': inspect.Parameter.empty, 'left': float, 'right': Optional[int],
        'base': Optional[int]}
