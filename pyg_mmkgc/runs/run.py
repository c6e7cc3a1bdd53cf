r"""A run and the files in its folder.

==========================  ===============================================
``config.yaml``             the configuration with every default and the value
                            that ``autocast: auto`` resolved to
``metrics.json``            the result with its protocol, commit and versions,
                            written last to mark a finished run
``model/``                  weights, label maps, the digests of the graph in
                            ``graph.json`` and the SHA-256 of each file in
                            ``manifest.json``
``rankings.safetensors``    every ranking of the test triples, for
                            ``mmkgc compare``
``history.json``            losses and validation metrics of every epoch
``history.png``             a plot of the history (extra ``plot``)
``checkpoint.safetensors``  the state that a run continues from, of several
                            processes in the folder ``checkpoint/``
``metrics-N-epochs.json``   the result of N epochs, if the run was extended
``history.csv``,            the records of ``training.track``
``tensorboard/``, ``wandb``
``.lock``                   an empty file that a training process locks
==========================  ===============================================
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pathlib
import time
import warnings
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from functools import cached_property
from typing import Any

from torch_geometric.nn.kge import KGEModel

from pyg_mmkgc.config.build import (
    build_device,
    build_graph,
    build_model,
    build_trainer,
    find_device,
)
from pyg_mmkgc.config.components import valid_names
from pyg_mmkgc.config.loader import dump_config, load_config, save_config
from pyg_mmkgc.config.schema import Config, TrainingConfig
from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.data.fingerprint import differences, fingerprint
from pyg_mmkgc.data.numbering import renumber
from pyg_mmkgc.distributed import (
    is_main,
    num_parameters,
    on_main,
    save_over_ranks,
)
from pyg_mmkgc.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    MMKGCError,
)
from pyg_mmkgc.evaluation import Prediction, RankingResult, evaluate
from pyg_mmkgc.io.atomic import read_json, sweep, write_json
from pyg_mmkgc.io.manifest import SealedFolder, unseal
from pyg_mmkgc.io.pretrained import (
    load_pretrained,
    load_weights,
    read_labels,
)
from pyg_mmkgc.io.provenance import provenance
from pyg_mmkgc.io.reading import user_path
from pyg_mmkgc.io.schema import check_schema
from pyg_mmkgc.io.tensors import load_tensors
from pyg_mmkgc.nn.encoder import keep_features_on_host
from pyg_mmkgc.nn.kge import MMKGEModel
from pyg_mmkgc.runs.answers import Answers
from pyg_mmkgc.runs.folder import empty_folder, lock_folder, new_folder
from pyg_mmkgc.training import Trainer, fit_ensemble
from pyg_mmkgc.training.checkpoint import (
    CHECKPOINT,
    HISTORY,
    find_checkpoint,
    load_checkpoint,
    restore,
    saved_history,
)
from pyg_mmkgc.training.ensemble import combiner_of
from pyg_mmkgc.visualization import plot_history

#: The rankings of the test triples.
RANKINGS = 'rankings.safetensors'
#: The keys that can change when a run is resumed.
EXTENSIONS = ('training.epochs', 'training.patience', 'training.track')


class Run:
    r"""A configuration and the folder of its results.

    .. code-block:: python

        run = Run.create('countries', ['training.epochs=10'])
        print(run.train())
        print(run.predict('Austria', 'neighbour'))

    Args:
        config (Config): The configuration.
        folder (pathlib.Path): The folder.
    """

    def __init__(self, config: Config, folder: pathlib.Path) -> None:
        self.config = config
        self.folder = folder

    @classmethod
    def create(cls, name: str, overrides: Sequence[str] = (),
               folder: str | None = None, data_root: str | None = None,
               device: str | None = None) -> Run:
        r"""Checks a configuration and creates a new folder for it.

        Args:
            name (str): As for :func:`load_config`.
            overrides (list, optional): As for :func:`load_config`.
            folder (str, optional): The folder, which must be empty or not
                exist. (default: the first of :obj:`runs/NAME-seedN`,
                :obj:`runs/NAME-seedN-2`, ... that does not exist)
            data_root (str, optional): The folder of the dataset's files.
                (default: :obj:`None`, as in the configuration)
            device (str, optional): The name of a :class:`torch.device`.
                (default: :obj:`None`, as in the configuration)
        """
        config = load_config(name, overrides)
        run = cls.prepare(config, data_root, device)
        run.save(on_main(lambda: (
            new_folder(name, f'seed{config.training.seed}')
            if folder is None else empty_folder(folder))))
        return run

    @classmethod
    def prepare(cls, config: Config, data_root: str | None = None,
                device: str | None = None,
                graph: KnowledgeGraph | None = None) -> Run:
        r"""Builds the trainer of a configuration, so that an invalid
        configuration fails before a folder is created.

        Args:
            config (Config): The configuration.
            data_root (str, optional): As for :meth:`create`.
            device (str, optional): As for :meth:`create`.
            graph (KnowledgeGraph, optional): The graph, if it has been loaded
                already. (default: :obj:`None`)
        """
        run = cls(_replace(config, data_root, device), pathlib.Path())
        if graph is not None:
            run.graph = graph
        run.trainer = build_trainer(run.config, run.graph)
        _check_ensemble(run.trainer.model, run.graph)
        # A resumed run needs the value that 'auto' stands for on this machine.
        run.config = dataclasses.replace(
            run.config, training=dataclasses.replace(
                run.config.training, autocast=run.trainer.autocast))
        return run

    def save(self, folder: pathlib.Path) -> None:
        r"""Makes a folder the folder of the run."""
        self.folder = folder
        if is_main():
            folder.mkdir(parents=True, exist_ok=True)
            save_config(self.config, folder / 'config.yaml')

    @classmethod
    def open(cls, folder: str, data_root: str | None = None,
             device: str | None = None) -> Run:
        r"""Opens the folder of an earlier run.

        Args:
            folder (str): The folder.
            data_root (str, optional): The current folder of the dataset's
                files. (default: :obj:`None`, the folder at training time)
            device (str, optional): The name of the :class:`torch.device` to
                use. (default: :obj:`None`, as in the configuration)

        Raises:
            ConfigError: If the folder is not the folder of a run.
        """
        path = user_path(folder)
        if not (path / 'config.yaml').is_file():
            hint = (' Call from_pretrained in Python to load a model of '
                    'save_pretrained.'
                    if (path / 'config.json').is_file() else '')
            raise ConfigError(f"Expected '{folder}' to be the folder of a run "
                              f'(got no config.yaml).{hint}')
        config = load_config(str(path / 'config.yaml'))
        return cls(_replace(config, data_root, device), path)

    @cached_property
    def graph(self) -> KnowledgeGraph:
        r"""The dataset."""
        return build_graph(self.config)

    @cached_property
    def trainer(self) -> Trainer:
        r"""The trainer, with a new model."""
        return build_trainer(self.config, self.graph)

    @property
    def finished(self) -> bool:
        r"""If :obj:`True`, the run has a result."""
        return (self.folder / 'metrics.json').is_file()

    def extend(self, overrides: Sequence[str]) -> None:
        r"""Changes the length of the training, which :meth:`train` then
        continues. The result of a finished run is kept as
        :obj:`metrics-N-epochs.json`.

        A learning rate schedule continues as the longer schedule, which issues
        a warning.

        Args:
            overrides (list[str]): Items like :obj:`"training.epochs=200"`,
                which may set :obj:`training.epochs`, :obj:`training.patience`
                and :obj:`training.track`.

        Raises:
            ConfigError: If another key is set, or if nothing is left to train.
        """
        extend_runs([self], overrides)

    def _check_extension(self, new: TrainingConfig) -> int | None:
        r"""Returns the number of epochs of a finished run, and :obj:`None` for
        an unfinished run.
        """
        path, finished = find_checkpoint(self.folder), self.finished
        if finished and not path.exists():
            raise CheckpointError(f"Expected '{CHECKPOINT}' in "
                                  f"'{self.folder}' to continue from (got "
                                  'none)')
        if finished:
            history = read_json(self.folder / 'history.json')
            check_schema(history, HISTORY, f"'{self.folder / 'history.json'}'",
                         CheckpointError)
        elif path.exists():
            history = saved_history(path)
        else:
            return None
        old, done = self.config.training, len(history['epochs'])
        # An unfinished run may only lack its evaluation.
        if new.epochs <= done and (finished or new.epochs != old.epochs):
            raise ConfigError(
                f"Expected 'training.epochs' to be more than the {done} "
                f"epochs of the {'finished' if finished else 'unfinished'} "
                f"run in '{self.folder}' (got {new.epochs})")
        worse = sum('val_mrr' in entry for entry
                    in history['epochs'][history['best_epoch'] or 0:])
        if new.patience is not None and new.patience <= worse and (
                finished or new.patience != old.patience):
            raise ConfigError(
                f"Expected 'training.patience' to be more than {worse}, since "
                f'the last {worse} validations of the run in '
                f"'{self.folder}' were not better (got {new.patience})")
        return done if finished else None

    def train(self, progress: bool = True) -> RankingResult | None:
        r"""Trains from the last checkpoint if there is one, evaluates on the
        test triples if there are any, and writes all files.

        Args:
            progress (bool, optional): If set to :obj:`False`, shows no
                progress bar. (default: :obj:`True`)

        Raises:
            ConfigError: If the run is finished, or another process trains it.
        """
        self._check_unfinished()
        with ExitStack() as stack:
            on_main(lambda: self._lock(stack))
            return self._train(progress)

    def _lock(self, stack: ExitStack) -> None:
        stack.enter_context(lock_folder(self.folder))
        for folder in (self.folder, self.folder / 'model'):
            if folder.is_dir():
                sweep(folder)  # Files that a killed process left.
        self._check_unfinished()  # By a process that held the lock.

    def _check_unfinished(self) -> None:
        if self.finished:
            raise ConfigError(f"Expected an unfinished run in '{self.folder}' "
                              '(got a finished run). Pass --set '
                              'training.epochs=N to extend it.')

    def _train(self, progress: bool) -> RankingResult | None:
        trainer = self.trainer
        trainer.folder, trainer.progress = self.folder, progress
        origin = provenance()  # A checkout may change during training.
        start = time.perf_counter()
        history = trainer.fit(resume=find_checkpoint(self.folder).exists())
        model = trainer.model
        combine = combiner_of(model)
        if combine is not None and combine.mode != 'mean':
            assert isinstance(model, MMKGEModel)
            fit_ensemble(model, self.graph, seed=self.config.training.seed)
        trained = time.perf_counter()
        self._save_model(model)
        if is_main():
            write_json(self.folder / 'history.json', history.to_dict())
            self._plot(history)
        begun = time.perf_counter()
        result = (self._evaluate(model, 'test')
                  if 'test' in self.graph.splits() else None)
        if not is_main():
            return result
        if result is not None:
            result.save(self.folder / RANKINGS)
        write_json(self.folder / 'metrics.json', {
            'test': result and result.to_dict(),
            'val': history.best_metrics,
            'best_epoch': history.best_epoch,
            'epochs': len(history.epochs),
            'seed': self.config.training.seed,
            # The file of a modality may be missing.
            'modalities': {name: x.size(-1) for name, x
                           in self.graph.features().items()},
            'seconds': {'train': trained - start,
                        'evaluate': time.perf_counter() - begun},
            'device': str(trainer.device),
            'autocast': trainer.autocast,
            'parameters': num_parameters(model),
            'config_sha256': hashlib.sha256(
                dump_config(self.config).encode()).hexdigest(),
            **origin,
        })
        return result

    def evaluate(self, split: str = 'test') -> RankingResult:
        r"""Evaluates the trained model on the triples of a split."""
        return self._evaluate(self._load(), split)

    def rankings(self) -> RankingResult:
        r"""Returns the saved result on the test triples, or evaluates the
        model if an earlier version saved none.
        """
        path = self.folder / RANKINGS
        if self.finished and path.is_file():
            return RankingResult.load(path)
        return self.evaluate('test')

    def answers(self, triples: bool = False) -> Answers:
        r"""Returns the trained model with its graph for queries.

        Args:
            triples (bool, optional): If set to :obj:`True`, rejects a graph
                whose triples have changed since the training, instead of
                issuing a warning. A graph with other nodes or relations is
                always rejected, while a graph with another numbering is
                renumbered. (default: :obj:`False`)
        """
        return Answers(self._load(triples), self.graph)

    def predict(self, head: str | None = None, relation: str | None = None,
                tail: str | None = None, k: int = 10,
                filter_known: bool = False,
                self_loops: bool = False) -> Prediction:
        r"""Completes a triple with the trained model, see :meth:`answers` and
        :meth:`Answers.predict`.
        """
        # Does not call `answers()`, so that warnings point to the caller.
        model = self._load(triples=False)
        return Answers(model, self.graph).predict(
            head, relation, tail, k, filter_known, self_loops)

    def load_model(self) -> KGEModel:
        r"""Loads the trained model and numbers :attr:`graph` as in the model,
        regardless of the order in its files.

        Raises:
            CheckpointError: If there is no model yet, or the nodes, relations
                or triples of the dataset have changed since the training.
        """
        return self._load()

    def _load(self, triples: bool = True) -> KGEModel:
        folder = self.folder / 'model'
        if not self.finished and find_checkpoint(self.folder).exists():
            return self._load_checkpoint()
        # Earlier versions wrote PyG's models without their arguments.
        known = 'config.json' if (folder / 'config.json').is_file() else (
            'labels.json')
        ours = hasattr(valid_names('model')[self.config.model.name],
                       'from_pretrained')
        if not (folder / known).is_file() or ours and known == 'labels.json':
            raise CheckpointError(f"Expected a model in '{self.folder}' (got "
                                  'none yet). To continue: mmkgc train '
                                  f'--resume {self.folder}')
        # Checked before weights of other shapes are loaded.
        self.graph = self._trained_graph(triples)
        if known == 'config.json':
            return self._on_device(load_pretrained(folder))
        sealed = SealedFolder(folder)
        sealed.warn_if_unsealed(stacklevel=3)
        model: Any = build_model(self.config, self.graph)
        state, _ = load_tensors(
            folder / 'model.safetensors',
            sealed.expected('model.safetensors'))
        load_weights(model, state, folder)
        model.node_names, model.relation_names, _ = read_labels(sealed)
        return self._on_device(model.eval())

    def _on_device(self, model: Any) -> Any:
        r"""Moves a model to the device of the configuration."""
        if self.config.training.features_on == 'cpu':
            keep_features_on_host(model)
        return model.to(build_device(self.config))

    def _load_checkpoint(self) -> KGEModel:
        r"""Returns the model of an unfinished run, with the best weights so
        far.
        """
        path = find_checkpoint(self.folder)
        trainer = self.trainer
        states, _, metadata = load_checkpoint(path, {
            **trainer.fingerprint(),
            # The precision of the training does not matter here.
            'autocast': self.config.training.autocast})
        restore(trainer.model, states, 'best' if 'best' in states else
                'model', path)
        history = metadata['history']
        done = len(history['epochs'])
        warnings.warn(
            f"The run in '{self.folder}' is not finished. This is its model "
            f'after {history["best_epoch"] or done} of {done} epochs so far. '
            f'To continue: mmkgc train --resume {self.folder}', stacklevel=4)
        model: Any = trainer.model
        model.node_names = self.graph.node_names
        model.relation_names = self.graph.relation_names
        return model.eval()

    def trained_with(self) -> dict[str, Any]:
        r"""Returns the :func:`~pyg_mmkgc.data.fingerprint.fingerprint` of the
        graph that the run was trained with, or an empty dictionary if an
        earlier version did not save it.

        Raises:
            CheckpointError: If the file is not a fingerprint.
        """
        sealed = SealedFolder(self.folder / 'model')
        if not sealed.has('graph.json'):
            return {}
        return sealed.read_json('graph.json', {str: (str, int, None)})

    def _trained_graph(self, triples: bool) -> KnowledgeGraph:
        graph = self.graph
        labels = read_labels(SealedFolder(self.folder / 'model'))
        with suppress(DataError):  # `differences` reports new labels.
            graph = renumber(graph, *labels)
        saved = self.trained_with()
        if not saved:
            warnings.warn(f"The run in '{self.folder}' has no record of its "
                          'graph, so triples and labels may have changed '
                          'since.', stacklevel=4)
            return graph
        differ = differences(saved, graph)
        if not differ:
            return graph
        if not triples and all(part.startswith('triples') for part in differ):
            warnings.warn(f"The run in '{self.folder}' was trained with other "
                          f'triples ({", ".join(differ)}). Known '
                          'triples are the current triples, but scores come '
                          'from the training.', stacklevel=4)
            return graph
        raise CheckpointError(
            f"Expected the graph that the run in '{self.folder}' was trained "
            f'with (got one that differs in {", ".join(differ)}). Restore its '
            'files, pass their folder as --data-root, or train again.')

    def _save_model(self, model: KGEModel) -> None:
        folder = self.folder / 'model'
        if is_main():
            unseal(folder)
            # Written first, since weights need the record of their graph.
            write_json(folder / 'graph.json', fingerprint(self.graph))
        save_over_ranks(model, folder, self.graph)

    def _evaluate(self, model: KGEModel, split: str) -> RankingResult:
        options = self.config.evaluation
        return evaluate(model, self.graph, split, ties=options.ties,
                        batch_size=options.batch_size)

    def _plot(self, history: Any) -> None:
        try:
            plot_history(history, self.folder / 'history.png')
        except MMKGCError as error:  # The results do not need the plot.
            print(f'no history.png: {error}')


def extend_runs(runs: Sequence[Run], overrides: Sequence[str]) -> None:
    r"""Extends several runs, see :meth:`Run.extend`. If one of them cannot be
    extended, none is changed.

    Args:
        runs (list[Run]): The runs.
        overrides (list[str]): As for :meth:`Run.extend`.
    """
    for item in overrides:
        key = item.partition('=')[0].strip()
        if key not in EXTENSIONS:
            raise ConfigError(f"Expected {' or '.join(EXTENSIONS)} to be set "
                              f"for a run that is resumed (got '{key}')")
    paths = [run.folder / 'config.yaml' for run in runs]
    configs = [load_config(str(path), overrides) for path in paths]

    def change() -> None:
        with ExitStack() as stack:
            for run in runs:
                stack.enter_context(lock_folder(run.folder))
            done = [run._check_extension(config.training)
                    for run, config in zip(runs, configs, strict=True)]
            for path, config, epochs in zip(paths, configs, done,
                                            strict=True):
                if epochs is not None:
                    # Without metrics.json, a run is unfinished and can go on.
                    os.replace(path.with_name('metrics.json'),
                               path.with_name(f'metrics-{epochs}-epochs.json'))
                save_config(config, path)

    on_main(change)
    for run, config in zip(runs, configs, strict=True):
        new = config.training
        run.config = dataclasses.replace(
            run.config, training=dataclasses.replace(
                run.config.training, epochs=new.epochs, patience=new.patience,
                track=new.track))
        vars(run).pop('trainer', None)  # It has the old length.


def _check_ensemble(model: KGEModel, graph: KnowledgeGraph) -> None:
    combine = combiner_of(model)
    if combine is None or combine.mode == 'mean':
        return
    reason = getattr(graph, 'selection_refused', '')
    if 'val' not in graph.splits():
        reason = 'The graph has no validation triples.'
    if reason:
        raise ConfigError("Expected 'model.ensemble' to be 'mean' without "
                          'validation triples to fit it (got '
                          f"'{combine.mode}'). {reason}")


def _replace(config: Config, data_root: str | None,
             device: str | None) -> Config:
    # Absolute paths let a run find its data from any folder.
    options = dict(config.dataset.options)
    root = data_root or options['root']
    if config.dataset.name == 'TSV':  # Its files are in the root folder.
        root = root or '.'
    elif isinstance(options.get('features'), dict):
        options['features'] = {name: _absolute(path) for name, path
                               in options['features'].items()}
    options['root'] = None if root is None else _absolute(root)
    dataset = dataclasses.replace(config.dataset, options=options)
    training = dataclasses.replace(config.training,
                                   device=device or config.training.device)
    return dataclasses.replace(config, dataset=dataset, training=training)


def _absolute(path: str) -> str:
    return str(user_path(path).absolute())


def open_answers(folder: str, data_root: str | None = None,
                 device: str | None = None, triples: bool = False) -> Answers:
    r"""Opens the trained model of a run with its graph, or a saved model
    without one.

    Args:
        folder (str): The folder of the run, or of a saved model, such as the
            folder :obj:`model` of a run.
        data_root (str, optional): The current folder of the dataset's files.
            (default: :obj:`None`, the folder at training time)
        device (str, optional): The name of the :class:`torch.device` to use.
            (default: :obj:`None`, as in the configuration)
        triples (bool, optional): As for :meth:`Run.answers`.
    """
    path = pathlib.Path(folder).expanduser()
    if (path / 'config.json').is_file():
        model = load_pretrained(path)
        return Answers(model if device is None else
                       model.to(find_device(device, 'device')))
    return Run.open(folder, data_root, device).answers(triples)
