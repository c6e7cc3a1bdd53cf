"""`mmkgc train MODEL/countries` runs for every model."""

import json
from pathlib import Path

import pytest

from pyg_mmkgc.cli import main
from pyg_mmkgc.config import load_config, shipped_configs
from pyg_mmkgc.config.components import valid_names
from pyg_mmkgc.config.loader import read_values
from pyg_mmkgc.runs import Run

# All train a little in test_build.py; these whole runs are not slow. But for
# those that begin with weights of the network.
QUICK = 'adamf_mat/countries', 'pyg_rotate/countries'
COUNTRIES = [name if name in QUICK else
             pytest.param(name, marks=pytest.mark.slow)
             for name in shipped_configs() if name.endswith('/countries')
             and not load_config(name).model.options.get('pretrained')]


# Path models tie where no path leads.
@pytest.mark.filterwarnings(
    'ignore::pyg_mmkgc.evaluation.result.TieWarning')
@pytest.mark.parametrize('name', COUNTRIES)
def test_one_epoch_from_training_to_evaluation(
        name: str, tmp_path: Path,
        capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / 'run'
    # Narrow, so that a second or two is enough.
    width = 2 * load_config(name).model.options.get('block_size', 8)
    assert main(['train', name, '--quiet', '--device', 'cpu', '--output',
                 str(run), '--set', 'training.epochs=1',
                 'training.valid_every=null',
                 'training.triples_per_epoch=2000',
                 f'model.hidden_channels={width}']) == 0
    assert "Ranking of 'test'" in capsys.readouterr().out
    result = json.loads((run / 'metrics.json').read_text())
    mrr = result['test']['metrics']['mrr']
    assert 0 < mrr < 1
    # What was saved ranks as what was trained.
    assert Run.open(str(run)).evaluate('test').mrr == mrr


# Parts that no paper is about, which are in the recipes of others, and what is
# not trained by a recipe.
PARTS = {'UniformSampler', 'BernoulliSampler', 'PooledSampler',
         'CandidateSampler', 'Ensemble'}


@pytest.mark.parametrize('dataset', ['countries', 'db15k', 'mkg_w', 'mkg_y'])
@pytest.mark.parametrize('section', ['model', 'sampler', 'adversary'])
def test_every_method_has_a_configuration(section: str, dataset: str) -> None:
    values = [read_values(name) for name in shipped_configs()
              if name.endswith(f'/{dataset}')]
    have = {value[section]['name'] for value in values if value.get(section)}
    ours = {name for name in valid_names(section)
            if not name.startswith('PyG.')}
    without = ours - have - PARTS
    assert not without, f'no recipe for {dataset} of {sorted(without)}'
