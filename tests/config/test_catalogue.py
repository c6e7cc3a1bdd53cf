"""The list of `mmkgc models` matches the behaviour of the classes."""

import pytest
import torch

from pyg_mmkgc.config import catalogue, shipped_configs
from pyg_mmkgc.config.catalogue import Entry, paper_of
from pyg_mmkgc.config.components import valid_names
from pyg_mmkgc.nn import MMKGEModel


@pytest.fixture(scope='module')
def entries() -> dict[str, Entry]:
    state = torch.get_rng_state()
    found = catalogue()
    assert torch.equal(state, torch.get_rng_state())
    assert len(found) == len({entry.name for entry in found})
    return {entry.name: entry for entry in found}


def test_all_that_can_be_named_is_listed(entries: dict[str, Entry]) -> None:
    for section in ('model', 'sampler', 'adversary', 'loss'):
        assert set(valid_names(section)) == {
            entry.name for entry in entries.values()
            if entry.section == section}
    listed = {name for entry in entries.values() for name in entry.configs
              if entry.section == 'model'}
    assert listed == set(shipped_configs())


def test_kind_and_needs(entries: dict[str, Entry]) -> None:
    for name, wanted in (
            ('RotatE', ('structural', 'none')),
            ('PyG.RotatE', ('structural, of PyG', 'none')),
            ('AdaMF', ('multi-modal', 'any number, or none')),
            ('AdaMFMAT', ('multi-modal', 'at least one')),
            ('PooledSampler', ('negative sampler', 'any model')),
            ('TwinsSampler', ('negative sampler', 'a model with modalities')),
            ('MMRNSSampler', ('negative sampler',
                              'any model, a graph with modalities')),
            ('MAT', ('adversarial training', 'a model with modalities')),
            ('KBGAN', ('adversarial training', 'any model')),
            ('BCELoss', ('loss', 'the scores of positives and negatives')),
            ('OneVsAllLoss', ('loss', 'the scores of all nodes, no '
                              'sampler'))):
        assert (entries[name].kind, entries[name].needs) == wanted, name


def test_models_have_a_paper(entries: dict[str, Entry]) -> None:
    without = [entry.name for entry in entries.values()
               if entry.section in ('model', 'adversary')
               and not (entry.paper and entry.link.startswith('https://'))]
    assert not without, 'a docstring begins with the link of its paper'


def test_configurations_of_a_model(entries: dict[str, Entry]) -> None:
    entry = entries['AdaMFMAT']
    assert entry.configs[0] == 'adamf_mat/countries'
    assert {'PooledSampler', 'MAT'} <= set(entry.trained_with)
    assert 'trained with: PooledSampler' in str(entry)
    assert entries['PyG.TransE'].trained_with == ['its own loss']


def test_title_and_link_over_lines() -> None:
    class Paper(MMKGEModel):
        r"""The model of the `"A Long
        Title" <https://example.org/
        a-b>`_ paper, after `Another <https://example.org>`_.
        """

    class Child(Paper):
        pass

    class Nameless:
        pass

    assert paper_of(Paper) == ('A Long Title', 'https://example.org/a-b')
    assert paper_of(Child) == paper_of(Paper)
    assert paper_of(Nameless) == ('', '')
