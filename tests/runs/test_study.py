"""Studies: the order of trials, pruning, resuming, the best."""

import contextlib
import sqlite3

import pytest

from pyg_mmkgc.config.space import Choice, Range
from pyg_mmkgc.errors import ConfigError, FormatError, MMKGCError

pytest.importorskip('optuna')

from pyg_mmkgc.runs.study import Study  # noqa: E402

SPACE = {'training.lr': Range(1e-4, 1e-1, log=True),
         'model.margin': Choice((3.0, 6.0, None)),
         'sampler.num_negatives': Range(2, 8, step=2),
         'training.batch_size': Range(1, 64, log=True)}


def value(settings):
    """The larger the learning rate, the better, up to a point."""
    return settings.get('training.lr', 0.0) * (
        2 if settings.get('model.margin') == 6.0 else 1)


def run(study, count):
    while len(study.trials) < count:
        trial = study.ask()
        study.tell(trial, value(trial.settings))
    return [trial.settings for trial in study.trials]


def test_trials():
    study = Study(SPACE)
    found = run(study, 15)
    assert found[0] == {}
    assert [trial.place for trial in study.trials] == list(range(15))
    for settings in found[1:]:
        assert list(settings) == list(SPACE)
        assert 1e-4 <= settings['training.lr'] <= 1e-1
        assert settings['model.margin'] in (3.0, 6.0, None)
        assert settings['sampler.num_negatives'] in (2, 4, 6, 8)
        assert type(settings['training.batch_size']) is int
    assert study.best.settings == max(found, key=value)
    assert len({x['training.lr'] for x in found[1:]}) == 14
    assert study.trials[1].overrides == [
        f"training.lr={found[1]['training.lr']!r}",
        'model.margin=' + {None: 'null'}.get(
            found[1]['model.margin'], str(found[1]['model.margin'])),
        f"sampler.num_negatives={found[1]['sampler.num_negatives']}",
        f"training.batch_size={found[1]['training.batch_size']}"]


def test_a_search_beats_chance():
    """The TPE sampler finds larger values than random ones are on average."""
    found = run(Study(SPACE), 30)
    early = sum(map(value, found[1:11])) / 10
    late = sum(map(value, found[20:])) / 10
    assert late > early


def test_resumed_equals_uninterrupted(tmp_path):
    whole = run(Study(SPACE, tmp_path / 'a.db', seed=1), 14)
    path = tmp_path / 'b.db'
    for stop in (3, 4, 12):
        study = Study(SPACE, path, seed=1)
        run(study, stop)
        study.ask()  # It is killed in this trial.
    study = Study(SPACE, path, seed=1)
    assert run(study, 14) == whole
    assert [trial.place for trial in study.trials] == list(range(14))
    assert study.best.settings == max(whole, key=value)
    assert run(Study(SPACE, tmp_path / 'c.db', seed=2), 4) != whole[:4]


def test_points_come_first():
    points = [{'training.lr': 0.01, 'model.margin': 6.0},
              {'training.lr': 0.02, 'model.margin': None}]
    space = {key: SPACE[key] for key in ('training.lr', 'model.margin')}
    study = Study(space, points=points)
    asked = [study.ask() for _ in range(3)]
    assert [trial.settings for trial in asked] == [{}, *points]
    # They are told in any order.
    for trial, score in zip(asked[::-1], [0.3, 0.3, 0.1]):
        study.tell(trial, score)
    assert study.best.settings == points[0]  # The first of equal ones.


def test_pruning():
    study = Study({'training.lr': Range(0.0, 1.0)})
    for i in range(6):
        trial = study.ask()
        for epoch in (10, 20):
            assert not study.report(trial, 0.5 + 0.01 * i, epoch)
        study.tell(trial, 0.5 + 0.01 * i)
    trial = study.ask()
    assert not study.report(trial, 0.1, 10)  # It may start slowly.
    assert study.report(trial, 0.1, 20)
    study.tell(trial, 0.1, pruned=True)
    last = study.trials[-1]
    assert (last.state, last.value) == ('pruned', 0.1)
    assert study.best.place == 5  # A pruned trial is not selected.


def test_diverged_trials_are_never_the_best():
    study = Study({'training.lr': Range(0.0, 1.0)})
    for note in ('NaN in epoch 3', 'NaN in epoch 1'):
        study.tell(study.ask(), None, note=note)
    assert [x.state for x in study.trials] == ['diverged'] * 2
    assert study.trials[0].note == 'NaN in epoch 3'
    assert study.trials[0].value is None
    with pytest.raises(ConfigError, match='Expected a trial'):
        study.best  # noqa: B018
    study.tell(study.ask(), 0.0)
    assert study.best.place == 2


def test_importances():
    study = Study(SPACE)
    assert study.importances() == {}
    run(study, 30)
    found = study.importances()
    assert set(found) == set(SPACE)
    assert sum(found.values()) == pytest.approx(1.0)
    assert max(found, key=found.get) == 'training.lr'


def test_without_optuna(monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'optuna', None)
    with pytest.raises(MMKGCError, match=r'"pyg_mmkgc\[search\]"'):
        Study(SPACE)


@pytest.mark.parametrize('statement', [
    None,
    "update trial_user_attributes set value_json = 'no JSON'",
    'update trial_user_attributes set value_json = \'"x"\'',
    'update trial_user_attributes set value_json = -1',
    'delete from trial_user_attributes',
    'update trial_params set distribution_json = '
    '\'{"name": "os.system", "attributes": {}}\'',
    'update trial_params set param_value = 1e300',
])
def test_a_hostile_database(statement, tmp_path):
    path = tmp_path / 'study.db'
    run(Study(SPACE, path), 3)
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.executescript(statement or '')
    if statement is None:
        path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(FormatError, match=f"Expected '{path}' to be the data"):
        Study(SPACE, path)


def test_a_study_of_other_settings(tmp_path):
    """Its values are not among the values of this space."""
    run(Study(SPACE, tmp_path / 'study.db'), 3)
    space = {**SPACE, 'model.margin': Choice(('a', 'b'))}
    with pytest.raises(FormatError, match='to be the database of a search'):
        Study(space, tmp_path / 'study.db')
