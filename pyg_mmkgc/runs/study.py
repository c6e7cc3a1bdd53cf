r"""A resumable study of settings, on top of Optuna (extra ``search``)."""

from __future__ import annotations

import math
import pathlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyg_mmkgc.config.space import Choice, Distribution, Range
from pyg_mmkgc.config.yaml_text import dump_value
from pyg_mmkgc.errors import (
    ConfigError,
    FormatError,
    MMKGCError,
    check_whole,
)

# The attributes of a trial in the storage of Optuna.
_PLACE, _NOTE = 'place', 'note'


@dataclass(frozen=True)
class Trial:
    r"""A trial: settings, and their value once it is known.

    Args:
        place (int): The number of the trial, from zero.
        settings (dict): The value of each key. Empty for the configuration
            itself.
        value (float, optional): The best validation MRR.
            (default: :obj:`None`)
        state (str): :obj:`"running"`, :obj:`"complete"`, :obj:`"pruned"` or
            :obj:`"diverged"`, which stands for any failure.
        note (str): An error message, if the trial failed.
    """
    place: int
    settings: dict[str, Any]
    value: float | None = None
    state: str = 'running'
    note: str = ''

    @property
    def overrides(self) -> list[str]:
        r"""The settings as items like :obj:`"training.lr=0.001"`."""
        return [f'{key}={dump_value(value)}'
                for key, value in self.settings.items()]


class Study:
    r"""A sequence of trials. The first trial is the configuration itself,
    followed by the trials in :obj:`points` and then by trials of Optuna's TPE
    sampler.

    The settings of a trial only depend on the seed and on the finished trials.
    A resumed study therefore tries the same settings as an uninterrupted
    study.

    Args:
        space (dict): The distribution of each key.
        path (pathlib.Path, optional): The file of an SQLite database that
            keeps the trials. (default: :obj:`None`, in memory)
        seed (int, optional): The seed. (default: :obj:`0`)
        points (list[dict], optional): The settings to try first.
            (default: :obj:`()`)

    Raises:
        MMKGCError: If :obj:`optuna` is not installed.
        FormatError: If the file is not such a database.
    """
    def __init__(self, space: Mapping[str, Distribution],
                 path: pathlib.Path | None = None, seed: int = 0,
                 points: Sequence[Mapping[str, Any]] = ()) -> None:
        try:
            import optuna
        except ImportError as error:
            raise MMKGCError("Expected 'optuna' to be installed for a search. "
                             'Run: pip install "pyg_mmkgc[search]"'
                             ) from error
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._optuna, self.space, self.seed = optuna, dict(space), seed
        self._states = optuna.trial.TrialState
        self._running: dict[int, Any] = {}
        self._first: dict[int, int] = {}  # The epoch of the first validation.
        try:
            self._open(path, points)
        except Exception as error:  # A database can raise any error.
            if path is None:
                raise
            raise FormatError(
                f"Expected '{path}' to be the database of a search (got "
                f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
                ')') from error

    def _open(self, path: pathlib.Path | None,
              points: Sequence[Mapping[str, Any]]) -> None:
        optuna, storage = self._optuna, None
        if path is not None:
            from sqlalchemy import URL

            storage = optuna.storages.RDBStorage(URL.create(
                'sqlite', database=str(path)).render_as_string())
        self._study = optuna.create_study(
            storage=storage, study_name='search', direction='maximize',
            load_if_exists=True, pruner=optuna.pruners.MedianPruner())
        if not self._study.get_trials(deepcopy=False):
            self._study.enqueue_trial({}, {_PLACE: 0})
            for i, point in enumerate(points, start=1):
                self._study.enqueue_trial(
                    {key: dump_value(value) if isinstance(
                        self.space[key], Choice) else value
                     for key, value in point.items()}, {_PLACE: i})
        for trial in self._study.get_trials(states=[self._states.RUNNING]):
            # A trial of a killed process is repeated in its place.
            if _PLACE in trial.user_attrs:
                self._study.enqueue_trial(trial.params, trial.user_attrs)
            self._study.tell(trial.number, state=self._states.FAIL)
        for trial in self._study.get_trials(deepcopy=False):
            if trial.state != self._states.FAIL:
                check_whole(place=trial.user_attrs[_PLACE] + 1)
                self._settings(trial.params)

    def ask(self) -> Trial:
        r"""Returns the next trial to run."""
        ready = self._study.get_trials(deepcopy=False, states=[
            self._states.WAITING])
        place = len(self.trials) + len(self._running)
        # Each trial has its own seed, so it does not depend on earlier draws.
        self._study.sampler = self._optuna.samplers.TPESampler(
            seed=self.seed + 1000 * place)
        # Waiting trials are taken in this order.
        if ready:
            place = ready[0].user_attrs[_PLACE]
        trial = self._study.ask()
        trial.set_user_attr(_PLACE, place)
        settings = {} if place == 0 else {
            key: self._suggest(trial, key, distribution)
            for key, distribution in self.space.items()}
        self._running[place] = trial
        return Trial(place, settings)

    def _suggest(self, trial: Any, key: str,
                 distribution: Distribution) -> Any:
        if isinstance(distribution, Choice):
            values = _values(distribution)  # Optuna stores texts.
            return values[trial.suggest_categorical(key, list(values))]
        if _whole(distribution):
            return trial.suggest_int(
                key, int(distribution.low), int(distribution.high),
                log=distribution.log, step=int(distribution.step or 1))
        return trial.suggest_float(key, distribution.low, distribution.high,
                                   log=distribution.log,
                                   step=distribution.step)

    def report(self, trial: Trial, value: float, epoch: int) -> bool:
        r"""Records the validation MRR after an epoch, and returns :obj:`True`
        if the trial should be pruned, since it is below the median of the
        earlier trials at this epoch. The first validation never prunes a
        trial, since training starts slowly with a small learning rate.
        """
        running = self._running[trial.place]
        running.report(value, epoch)
        first = self._first.setdefault(trial.place, epoch)
        # The other trials are compared with the configuration itself.
        return trial.place > 0 and epoch > first and bool(
            running.should_prune())

    def tell(self, trial: Trial, value: float | None, pruned: bool = False,
             note: str = '') -> None:
        r"""Records the end of a trial.

        Args:
            trial (Trial): The trial.
            value (float or None): The best validation MRR, or :obj:`None` for
                a trial that failed, which is never the best.
            pruned (bool, optional): If set to :obj:`True`, the trial was
                pruned. (default: :obj:`False`)
            note (str, optional): An error message. (default: :obj:`""`)
        """
        running = self._running.pop(trial.place)
        if value is None:  # TPE learns from zero, the worst MRR.
            running.set_user_attr(_NOTE, note or 'diverged')
        if pruned and value is not None:
            running.set_user_attr('mrr', value)
        self._study.tell(running, None if pruned else value or 0.0,
                         self._states.PRUNED if pruned else None)

    @property
    def trials(self) -> list[Trial]:
        r"""The finished trials in their order."""
        found = []
        for x in self._study.get_trials(deepcopy=False, states=[
                self._states.COMPLETE, self._states.PRUNED]):
            pruned, note = x.state == self._states.PRUNED, x.user_attrs.get(
                _NOTE, '')
            found.append(Trial(
                x.user_attrs[_PLACE], self._settings(x.params),
                None if note else x.user_attrs.get('mrr') if pruned
                else x.value,
                'diverged' if note else 'pruned' if pruned else 'complete',
                note))
        return sorted(found, key=lambda trial: trial.place)

    def _settings(self, params: Mapping[str, Any]) -> dict[str, Any]:
        return {key: _values(distribution)[params[key]]
                if isinstance(distribution, Choice) else params[key]
                for key, distribution in self.space.items() if key in params}

    @property
    def best(self) -> Trial:
        r"""The complete trial with the largest value. The first trial wins
        ties.

        Raises:
            ConfigError: If no trial is complete.
        """
        found = [x for x in self.trials if x.state == 'complete']
        if not found:
            raise ConfigError('Expected a trial that was trained to its end '
                              '(got none)')
        return max(found, key=lambda x: x.value or 0.0)

    def importances(self) -> dict[str, float]:
        r"""Returns the importance of each key for being among the best trials
        (PED-ANOVA), as shares that sum to one, the largest first. The result
        is empty for fewer than two complete trials with settings.
        """
        complete = [x for x in self.trials
                    if x.state in ('complete', 'diverged') and x.settings]
        if len(complete) < 2:
            return {}
        with warnings.catch_warnings():
            # Optuna warns about few trials, but the plot shows their number.
            warnings.simplefilter('ignore')
            found = self._optuna.importance.get_param_importances(self._study)
        return {key: float(x) for key, x in found.items()
                if math.isfinite(x)}


def _whole(distribution: Range) -> bool:
    return all(isinstance(x, int) for x in (
        distribution.low, distribution.high, distribution.step or 1))


def _values(choice: Choice) -> dict[str, Any]:
    return {dump_value(x): x for x in choice.values}
