import pytest

from pyg_mmkgc.cli import main
from pyg_mmkgc.runs import profile_config

TINY = """
dataset: {name: FakeMMKG, num_nodes: 60, num_edges: 300, seed: 1}
model: {name: AdaMFMAT, hidden_channels: 8, generator_channels: 8}
sampler: {name: PooledSampler, num_negatives: 4, chunk_size: 16}
loss: {name: SelfAdversarialLoss}
adversary: {name: MAT, weight: 0.1}
training: {batch_size: 128, epochs: 3, valid_every: 1, device: cpu}
"""


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    (tmp_path / 'tiny.yaml').write_text(TINY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_overrides_and_steps_reach_the_trainer(tiny):
    found = profile_config('tiny.yaml', ['adversary.weight=0'], steps=2,
                           device='cpu')
    paths = {part.path for part in found.parts}
    assert ('encode', 'embed', 'project visual') in paths
    # Without weight the model is not shown synthetic triples.
    assert ('adversary, model side', ) not in paths
    assert len(found.seconds) == 2


def test_command_prints_a_table_and_writes_nothing(tiny, capsys):
    assert main(['profile', 'tiny.yaml', '--steps', '1', '--set',
                 'training.batch_size=64']) == 0
    out = capsys.readouterr().out
    assert 'score negatives' in out and 'step, median of 1' in out
    assert [path.name for path in tiny.iterdir()] == ['tiny.yaml']


def test_bad_input_is_one_line(tiny, capsys):
    assert main(['profile', 'tiny.yaml', '--steps', '0']) == 2
    assert "'steps' to be an integer >= 1 (got 0)" in capsys.readouterr().err
    assert main(['profile', 'no_such']) == 2
