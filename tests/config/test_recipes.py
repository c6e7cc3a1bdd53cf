"""The shipped recipes keep the values that they had when there was a file for
each method and dataset.

`recipes.json` holds these values: for each method, the keys that are common to
all datasets, and the other keys of each dataset. It leaves out
`training.autocast`, which follows the hardware since then. Keys that were
added later are not compared.
"""

import json
from pathlib import Path

import pytest
import yaml

from pyg_mmkgc.config import load_config, shipped_configs

CONFIGS = Path(__file__).resolve().parents[2] / 'pyg_mmkgc' / 'configs'
RECIPES = {
    f'{method}/{dataset}': {**parts['common'], **values}
    for method, parts in json.loads(
        Path(__file__).with_name('recipes.json').read_text()).items()
    for dataset, values in parts.items() if dataset != 'common'}


def test_no_recipe_is_lost() -> None:
    assert len(RECIPES) == 132
    assert set(RECIPES) <= set(shipped_configs())


@pytest.mark.parametrize('name', RECIPES)
def test_resolved_values(name: str) -> None:
    sections = load_config(name).to_dict()
    assert sections.keys() == {key.partition('.')[0] for key in RECIPES[name]}
    found = {f'{section}.{key}': value for section, values in sections.items()
             for key, value in values.items()}
    # JSON tells integers from floats and booleans, unlike Python's ==.
    different = {key: (value, found.get(key, 'missing'))
                 for key, value in RECIPES[name].items()
                 if key not in found
                 or json.dumps(found[key]) != json.dumps(value)}
    assert not different


def test_a_file_per_method_in_block_style() -> None:
    files = {path for path in CONFIGS.rglob('*') if path.is_file()}
    assert files == set(CONFIGS.glob('*.yaml'))
    assert {path.stem for path in files} == {
        name.partition('/')[0] for name in shipped_configs()}
    for path in files:
        text = path.read_text('utf-8')
        assert '{' not in text and text.startswith('# ')
        values = yaml.safe_load(text)
        shared = {(section, key) for section in values
                  if section != 'datasets' for key in values[section]}
        for sections in values['datasets'].values():
            # A key with the shared value says nothing.
            assert not [
                (section, key) for section in sections
                for key in sections[section] if (section, key) in shared
                and sections[section][key] == values[section][key]
                and 'name' not in sections[section]], path


def test_a_section_with_another_name_starts_empty() -> None:
    other = load_config('transd/countries').loss
    assert other is not None and other.name == 'SelfAdversarialLoss'
    assert 'margin' not in other.options
    shared = load_config('transd/mkg_w').loss
    assert shared is not None and shared.options == {'margin': 4.0}
