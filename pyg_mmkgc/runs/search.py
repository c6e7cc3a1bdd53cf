r"""A search for the settings of a configuration by validation MRR.

==================  =======================================================
``search.yaml``     the configuration with its section ``search``
``search.json``     the number of trials
``study.db``        the trials, as Optuna keeps them
``trials/``         the configuration and the history of each trial
``trials.csv``      the settings and the value of each trial
``best.yaml``       the configuration with the best settings
``importance.png``  the importance of each setting (extra ``plot``)
==================  =======================================================
"""

from __future__ import annotations

import csv
import dataclasses
import io
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from pyg_mmkgc.config.loader import load_config, load_space
from pyg_mmkgc.config.schema import Config
from pyg_mmkgc.config.space import Choice
from pyg_mmkgc.config.yaml_text import dump_value, dump_yaml
from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.errors import (
    ConfigError,
    MMKGCError,
    ModelError,
    NonFiniteError,
    check_whole,
    is_out_of_memory,
)
from pyg_mmkgc.io.atomic import read_json, write_atomic, write_json
from pyg_mmkgc.io.reading import user_path
from pyg_mmkgc.io.schema import check_schema
from pyg_mmkgc.report import Report, Table
from pyg_mmkgc.runs.folder import empty_folder, lock_folder, new_folder
from pyg_mmkgc.runs.run import Run
from pyg_mmkgc.runs.study import Study, Trial
from pyg_mmkgc.training import Callback, Trainer
from pyg_mmkgc.training.trainer import CHECKPOINT
from pyg_mmkgc.visualization import plot_search


@dataclasses.dataclass(repr=False)
class SearchResult(Report):
    r"""The result of a search. Printing it shows the trials and the best
    settings.

    Args:
        trials (list[Trial]): The finished trials in their order.
        best (Trial, optional): The complete trial with the best validation
            MRR. (default: :obj:`None`, no trial is complete)
        importances (dict, optional): The importance of each key of the search
            space, as shares that sum to one. (default: :obj:`{}`)
    """
    trials: list[Trial]
    best: Trial | None = None
    importances: dict[str, float] = dataclasses.field(default_factory=dict)

    table_names = ('trials', )

    def summary(self) -> dict[str, Any]:
        best = {} if self.best is None else {
            'best': self.best.place, 'best_mrr': self.best.value,
            **self.best.settings}
        return {'trials': len(self.trials), **best}

    def make_table(self, name: str) -> Table:
        keys = list(dict.fromkeys(
            key for trial in self.trials for key in trial.settings))
        return Table(
            ['trial', *keys, 'val_mrr', 'state'],
            [[trial.place, *(
                value if isinstance(value, (int, float, str, type(None)))
                else dump_value(value)
                for value in map(trial.settings.get, keys)),
              trial.value, trial.state] for trial in self.trials],
            'best validation MRR of each trial')

    def __str__(self) -> str:
        lines = [self.make_table('trials').text(), '']
        if self.best is not None:
            lines.append(f'best: trial {self.best.place}, validation MRR '
                         f'{self.best.value:.4f}, {_words(self.best)}')
        if self.importances:
            lines.append('importance: ' + ', '.join(
                f'{key} {100 * x:.0f} %'
                for key, x in self.importances.items()))
        return '\n'.join(lines)


def _words(trial: Trial) -> str:
    return ' '.join(trial.overrides) or 'the configuration itself'


class _Pruning(Callback):
    r"""Reports validations to a study, and stops the trial if the study prunes
    it.
    """
    def __init__(self, study: Study, trial: Trial) -> None:
        self.study, self.trial, self.pruned = study, trial, False

    def on_fit_begin(self, trainer: Trainer) -> None:
        for entry in trainer.history.epochs:  # From before a resume.
            if 'val_mrr' in entry:
                self._report(trainer, entry['val_mrr'], entry['epoch'])

    def on_validation(self, trainer: Trainer, epoch: int,
                      metrics: dict[str, float]) -> None:
        self._report(trainer, metrics['mrr'], epoch)

    def _report(self, trainer: Trainer, value: float, epoch: int) -> None:
        if self.study.report(self.trial, value, epoch) and (
                epoch < trainer.epochs):
            self.pruned = True
            trainer.stop()


def _prepare(config: Config, data_root: str | None, device: str | None,
             graph: KnowledgeGraph | None = None) -> Run:
    run = Run.prepare(config, data_root, device, graph)
    if not run.trainer.validates:
        raise ConfigError(
            "Expected validation triples and 'training.valid_every' to select "
            f'settings by (got valid_every={config.training.valid_every} and '
            f'the splits {", ".join(run.graph.splits())})')
    return run


class Search:
    r"""A search in a folder, which does not use test triples.

    .. code-block:: python

        search = Search.create('my.yaml', num_trials=50)
        print(search.run())

    Args:
        folder (pathlib.Path): The folder.
        num_trials (int): The number of trials, the first of which is the
            configuration itself.
        data_root (str, optional): The folder of the dataset's files.
            (default: :obj:`None`, as in the configuration)
        device (str, optional): The name of a :class:`torch.device`.
            (default: :obj:`None`, as in the configuration)
    """
    def __init__(self, folder: pathlib.Path, num_trials: int,
                 data_root: str | None = None,
                 device: str | None = None) -> None:
        self.folder, self.num_trials = folder, num_trials
        self._options = (data_root, device)

    @classmethod
    def create(cls, name: str, num_trials: int, overrides: Sequence[str] = (),
               folder: str | None = None, data_root: str | None = None,
               device: str | None = None) -> Search:
        r"""Checks a configuration and its search space, and creates a new
        folder.

        Args:
            name (str): As for :func:`load_config`.
            num_trials (int): The number of trials.
            overrides (list, optional): As for :func:`load_space`.
                (default: :obj:`()`)
            folder (str, optional): The folder, which must be empty or not
                exist. (default: the first of :obj:`runs/NAME-search`,
                :obj:`runs/NAME-search-2`, ... that does not exist)
            data_root (str, optional): The folder of the dataset's files.
                (default: :obj:`None`, as in the configuration)
            device (str, optional): The name of a :class:`torch.device`.
                (default: :obj:`None`, as in the configuration)

        Raises:
            ConfigError: If the configuration or its search space is not valid,
                or if there are no validations to select by.
        """
        check_whole(trials=num_trials)
        space = load_space(name, overrides)
        config = load_config(name, overrides)
        Study(space)  # Fails early if Optuna is missing.
        run = _prepare(config, data_root, device)
        path = (new_folder(name, 'search') if folder is None else
                empty_folder(folder))
        write_json(path / 'search.json', {'trials': num_trials})
        write_atomic(path / 'search.yaml', dump_yaml({
            **run.config.to_dict(), 'search': {
                key: list(x.values) if isinstance(x, Choice) else {
                    name: value for name, value
                    in dataclasses.asdict(x).items() if value is not None}
                for key, x in space.items()}}))
        return cls(path, num_trials, data_root, device)

    @classmethod
    def open(cls, folder: str, num_trials: int | None = None,
             data_root: str | None = None, device: str | None = None
             ) -> Search:
        r"""Opens the folder of an earlier search.

        Args:
            folder (str): The folder.
            num_trials (int, optional): The new number of trials.
                (default: :obj:`None`, as before)
            data_root (str, optional): As for :meth:`create`.
            device (str, optional): As for :meth:`create`.

        Raises:
            ConfigError: If the folder is not the folder of a search.
        """
        path = user_path(folder)
        if not (path / 'search.yaml').is_file():
            raise ConfigError(f"Expected '{folder}' to be the folder of a "
                              'search (got no search.yaml)')
        if num_trials is None:
            saved = read_json(path / 'search.json')
            check_schema(saved, {'trials': int}, f"'{path / 'search.json'}'")
            num_trials = saved['trials']
        check_whole(trials=num_trials)
        write_json(path / 'search.json', {'trials': num_trials})
        return cls(path, num_trials, data_root, device)

    def run(self, progress: bool = True) -> SearchResult:
        r"""Runs the remaining trials, and writes the files of the result. An
        interrupted trial continues from its checkpoint. A trial that diverges,
        lacks memory or has impossible settings is recorded with its error.

        Args:
            progress (bool, optional): If set to :obj:`False`, shows no
                progress. (default: :obj:`True`)

        Raises:
            ConfigError: If another process runs the search.
        """
        with lock_folder(self.folder):
            return self._run(progress)

    def _run(self, progress: bool) -> SearchResult:
        name = str(self.folder / 'search.yaml')
        seed = load_config(name).training.seed
        study = Study(load_space(name), self.folder / 'study.db', seed)
        graph, source = None, None
        while len(study.trials) < self.num_trials:
            trial = study.ask()
            try:
                config = load_config(name, trial.overrides)
                # Read once for all trials with the same dataset. The seed
                # chooses the features that it drops.
                if source != (config.dataset, config.training.seed):
                    graph = None
                run = _prepare(config, *self._options, graph)
            except (ConfigError, ModelError) as error:
                # The settings are impossible, unless the configuration itself
                # is, for example on this machine.
                _prepare(load_config(name), *self._options)
                study.tell(trial, None, note=str(error))
                self._write(study)
                continue
            graph, source = run.graph, (config.dataset, config.training.seed)
            self._train(study, trial, run, progress)
            self._write(study)
        return self._finish(study)

    def _train(self, study: Study, trial: Trial, run: Run,
               progress: bool) -> None:
        folder = self.folder / 'trials' / f'{trial.place:04d}'
        run.save(folder)
        trainer, pruning = run.trainer, _Pruning(study, trial)
        trainer.folder, trainer.progress = folder, progress
        trainer.callbacks.append(pruning)
        if progress:
            print(f'trial {trial.place} of 0 to {self.num_trials - 1}: '
                  f'{_words(trial)}', file=sys.stderr)
        value, note = None, ''
        try:
            history = trainer.fit(resume=(folder / CHECKPOINT).exists())
            value = history.best_metrics['mrr']
            write_json(folder / 'history.json', history.to_dict())
        except NonFiniteError as error:
            note = str(error)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            note = f'out of memory: {error}'
        study.tell(trial, value, pruning.pruned, note)
        # The checkpoint is large, and a finished trial does not need it.
        (folder / CHECKPOINT).unlink(missing_ok=True)

    def _write(self, study: Study) -> None:
        table = SearchResult(study.trials).make_table('trials')
        text = io.StringIO()
        writer = csv.writer(text, lineterminator='\n')
        writer.writerow(table.columns)
        writer.writerows(table.rows)
        write_atomic(self.folder / 'trials.csv', text.getvalue())

    def _finish(self, study: Study) -> SearchResult:
        self._write(study)
        result = SearchResult(study.trials, study.best, study.importances())
        config = load_config(str(self.folder / 'search.yaml'),
                             study.best.overrides)
        write_atomic(self.folder / 'best.yaml', dump_yaml(config.to_dict()))
        try:
            plot_search(result.importances, [
                (x.place, x.value, x.state) for x in result.trials],
                self.folder / 'importance.png')
        except MMKGCError as error:  # The result does not need the plot.
            print(f'no importance.png: {error}')
        return result
