r"""One run and the folder that it leaves.

==========================  ===============================================
``config.yaml``             the configuration, every default written out, and
                            what ``autocast: auto`` stood for
``metrics.json``            the result with its protocol, commit, versions;
                            written last: with it, a run is finished
``model/``                  weights, label maps, in ``graph.json`` which
                            graph they belong to, and in ``manifest.json``
                            the SHA-256 of each
``rankings.safetensors``    every ranking of the test triples, for
                            ``mmkgc compare``
``history.json``            losses and validation metrics of every epoch
``history.png``             a plot of them (extra ``plot``)
``checkpoint.safetensors``  what an interrupted run continues from
``.lock``                   empty; a process that trains holds it
==========================  ===============================================
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
import platform
import subprocess
import time
import warnings
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from importlib import metadata
from typing import Any

from torch_geometric.nn.kge import KGEModel

from pyg_mmkgc.config.answers import Answers
from pyg_mmkgc.config.build import (
    build_device,
    build_graph,
    build_model,
    build_trainer,
    model_class,
)
from pyg_mmkgc.config.loader import dump_config, load_config, save_config
from pyg_mmkgc.config.run_folder import empty_folder, lock_folder, new_folder
from pyg_mmkgc.config.schema import Config
from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.data.fingerprint import differences, fingerprint
from pyg_mmkgc.data.numbering import renumber
from pyg_mmkgc.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    MMKGCError,
)
from pyg_mmkgc.evaluation import Prediction, RankingResult, evaluate
from pyg_mmkgc.io.atomic import sweep, write_json
from pyg_mmkgc.io.manifest import SealedFolder, seal, unseal
from pyg_mmkgc.io.pretrained import (
    FILES,
    Pretrained,
    load_weights,
    read_labels,
    write_labels,
)
from pyg_mmkgc.io.reading import user_path
from pyg_mmkgc.io.tensors import load_tensors, save_tensors
from pyg_mmkgc.nn.kge import MMKGEModel
from pyg_mmkgc.training import Trainer, fit_ensemble
from pyg_mmkgc.training.ensemble import combiner_of
from pyg_mmkgc.training.trainer import CHECKPOINT
from pyg_mmkgc.visualization import plot_history

#: The rankings of the test triples.
RANKINGS = 'rankings.safetensors'


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
        r"""Checks a configuration and makes a new folder for it.

        Args:
            name (str): As for :func:`load_config`.
            overrides (list, optional): As for :func:`load_config`.
            folder (str, optional): The folder; it must not exist or be
                empty. By default the first free one of
                :obj:`runs/NAME-seedN`, :obj:`runs/NAME-seedN-2`, ...
            data_root (str, optional): The folder of the dataset's files.
            device (str, optional): As for :class:`torch.device`.
        """
        config = _replace(load_config(name, overrides), data_root, device)
        run = cls(config, pathlib.Path())
        # What cannot work fails now, and leaves no folder.
        run.trainer = build_trainer(config, run.graph)
        _check_ensemble(run.trainer.model, run.graph)
        # What 'auto' stands for on this hardware, and where the run goes on.
        run.config = dataclasses.replace(config, training=dataclasses.replace(
            config.training, autocast=run.trainer.autocast))
        run.folder = (new_folder(name, config) if folder is None
                      else empty_folder(folder))
        save_config(run.config, run.folder / 'config.yaml')
        return run

    @classmethod
    def open(cls, folder: str, data_root: str | None = None,
             device: str | None = None) -> Run:
        r"""Opens the folder of an earlier run.

        Args:
            folder (str): The folder.
            data_root (str, optional): Where the dataset's files are now.
            device (str, optional): The device to use now.
        """
        path = user_path(folder)
        if not (path / 'config.yaml').is_file():
            hint = ('; a model that save_pretrained wrote is loaded in '
                    'Python, by from_pretrained'
                    if (path / 'config.json').is_file() else '')
            raise ConfigError(f"'{folder}' is not the folder of a run: it "
                              f'has no config.yaml{hint}')
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
        r"""Whether the run has its result."""
        return (self.folder / 'metrics.json').is_file()

    def train(self, progress: bool = True) -> RankingResult | None:
        r"""Trains, from the last checkpoint if there is one, evaluates on
        the test triples, if there are any, and writes everything into the
        folder.

        Raises:
            ConfigError: If the run is finished, or another process trains
                it.
        """
        if self.finished:
            raise ConfigError(f"the run in '{self.folder}' is finished")
        with lock_folder(self.folder):
            for folder in (self.folder, self.folder / 'model'):
                if folder.is_dir():
                    sweep(folder)  # What a killed process has left.
            return self._train(progress)

    def _train(self, progress: bool) -> RankingResult | None:
        if self.finished:  # By a process that held the lock until now.
            raise ConfigError(f"the run in '{self.folder}' is finished")
        trainer = self.trainer
        trainer.folder, trainer.progress = self.folder, progress
        start = time.perf_counter()
        history = trainer.fit(resume=(self.folder / CHECKPOINT).exists())
        model = trainer.model
        combine = combiner_of(model)
        if combine is not None and combine.mode != 'mean':
            assert isinstance(model, MMKGEModel)
            fit_ensemble(model, self.graph, seed=self.config.training.seed)
        trained = time.perf_counter()
        self._save_model(model)
        write_json(self.folder / 'history.json', history.to_dict())
        self._plot(history)
        begun = time.perf_counter()
        result = (self._evaluate(model, 'test')
                  if 'test' in self.graph.splits() else None)
        if result is not None:
            result.save(self.folder / RANKINGS)
        write_json(self.folder / 'metrics.json', {
            'test': result and result.to_dict(),
            'val': history.best_metrics,
            'best_epoch': history.best_epoch,
            'epochs': len(history.epochs),
            'seed': self.config.training.seed,
            # A benchmark may lack the file of a modality.
            'modalities': {name: x.size(-1) for name, x
                           in self.graph.features().items()},
            'seconds': {'train': trained - start,
                        'evaluate': time.perf_counter() - begun},
            'device': str(trainer.device),
            'autocast': trainer.autocast,
            'parameters': sum(p.numel() for p in model.parameters()),
            'config_sha256': hashlib.sha256(
                dump_config(self.config).encode()).hexdigest(),
            **provenance(),
        })
        return result

    def evaluate(self, split: str = 'test') -> RankingResult:
        r"""Evaluates the trained model on the triples of a split."""
        return self._evaluate(self._load(), split)

    def rankings(self) -> RankingResult:
        r"""Returns the result on the test triples that training left, or
        evaluates the model where an earlier version has left none.
        """
        path = self.folder / RANKINGS
        if path.is_file():
            return RankingResult.load(path)
        return self.evaluate('test')

    def answers(self, triples: bool = False) -> Answers:
        r"""Returns the trained model and its graph, to be asked.

        Args:
            triples (bool, optional): If set to :obj:`False`, triples may have
                been added or left out since the model was trained, with a
                warning, but not nodes or relations; they may be numbered
                otherwise. (default: :obj:`False`)
        """
        return Answers(self._load(triples), self.graph)

    def predict(self, head: str | None = None, relation: str | None = None,
                tail: str | None = None, k: int = 10,
                filter_known: bool = False,
                self_loops: bool = False) -> Prediction:
        r"""Completes a triple with the trained model, see :meth:`answers` and
        :meth:`Answers.predict`.
        """
        # Not by `answers()`: a warning is to point to who calls this.
        model = self._load(triples=False)
        return Answers(model, self.graph).predict(
            head, relation, tail, k, filter_known, self_loops)

    def load_model(self) -> KGEModel:
        r"""Loads the trained model. From then on, :attr:`graph` is numbered as
        the model, whatever the order in its files.

        Raises:
            CheckpointError: If there is none yet, or the dataset is no longer
                the graph that it was trained with: its nodes, relations
                or the triples of a split have changed.
        """
        return self._load()

    def _load(self, triples: bool = True) -> KGEModel:
        folder = self.folder / 'model'
        ours = issubclass(model_class(self.config), Pretrained)
        last = 'config.json' if ours else 'labels.json'  # That is written.
        if not (folder / last).is_file():
            raise CheckpointError(f"the run in '{self.folder}' has no model "
                                  'yet; to continue: mmkgc train --resume '
                                  f'{self.folder}')
        # Before weights of other shapes are loaded.
        self.graph = self._trained_graph(triples)
        device = build_device(self.config)
        if ours:
            return Pretrained.from_pretrained(folder).to(device)
        sealed = SealedFolder(folder)
        sealed.warn_if_unsealed(stacklevel=3)
        model: Any = build_model(self.config, self.graph)  # One of PyG's own.
        state, _ = load_tensors(
            folder / 'model.safetensors',
            sealed.expected('model.safetensors'))
        load_weights(model, state, folder)
        model.node_names, model.relation_names = read_labels(sealed)
        return model.eval().to(device)

    def trained_with(self) -> dict[str, Any]:
        r"""Returns the :func:`~pyg_mmkgc.data.fingerprint.fingerprint` of the
        graph that the run was trained with; nothing, if an earlier version
        has left none.

        Raises:
            CheckpointError: If the file holds something else.
        """
        sealed = SealedFolder(self.folder / 'model')
        if not sealed.has('graph.json'):
            return {}
        return sealed.read_json('graph.json', {str: (str, int, None)})

    def _trained_graph(self, triples: bool) -> KnowledgeGraph:
        graph = self.graph
        labels = read_labels(SealedFolder(self.folder / 'model'))
        with suppress(DataError):  # Of new labels, what differs tells.
            graph = renumber(graph, *labels)
        saved = self.trained_with()
        if not saved:
            warnings.warn(f"the run in '{self.folder}' does not say which "
                          'graph it was trained with: its triples and labels '
                          'may have changed since', stacklevel=4)
            return graph
        differ = differences(saved, graph)
        if not differ:
            return graph
        if not triples and all(part.startswith('triples') for part in differ):
            warnings.warn(f"the run in '{self.folder}' was trained with other "
                          f'triples. What differs: {", ".join(differ)}. What '
                          'is known is read from the present ones, scores '
                          'are those of training', stacklevel=4)
            return graph
        raise CheckpointError(
            f"the dataset is not the graph that the run in '{self.folder}' "
            f'was trained with. What differs: {", ".join(differ)}. Restore '
            'its files, name their folder by --data-root, or train anew')

    def _save_model(self, model: KGEModel) -> None:
        folder = self.folder / 'model'
        unseal(folder)
        # First: where there are weights, it is known what they belong to.
        write_json(folder / 'graph.json', fingerprint(self.graph))
        if isinstance(model, Pretrained):
            model.save_pretrained(folder, self.graph)
            return
        save_tensors(folder / 'model.safetensors', model.state_dict(), {})
        write_labels(folder, self.graph)
        seal(folder, FILES)

    def _evaluate(self, model: KGEModel, split: str) -> RankingResult:
        options = self.config.evaluation
        return evaluate(model, self.graph, split, ties=options.ties,
                        batch_size=options.batch_size)

    def _plot(self, history: Any) -> None:
        try:
            plot_history(history, self.folder / 'history.png')
        except MMKGCError as error:  # A plot is no reason to lose a run.
            print(f'no history.png: {error}')


def _check_ensemble(model: KGEModel, graph: KnowledgeGraph) -> None:
    combine = combiner_of(model)
    if combine is None or combine.mode == 'mean':
        return
    reason = getattr(graph, 'selection_refused', '')
    if 'val' not in graph.splits():
        reason = 'the graph has none'
    if reason:
        raise ConfigError(f"'model.ensemble': '{combine.mode}' is fitted on "
                          f"validation triples: {reason}; 'mean' needs none")


def _replace(config: Config, data_root: str | None,
             device: str | None) -> Config:
    # A run has to find its data from anywhere: paths are made absolute.
    options = dict(config.dataset.options)
    root = data_root or options['root']
    if config.dataset.name == 'TSV':  # Its files lie below the root.
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
        folder (str): The folder of the run, or of a model that
            :meth:`save_pretrained` wrote, as :obj:`model` in that of a run.
        data_root (str, optional): Where the dataset's files are now.
        device (str, optional): The device to use now.
        triples (bool, optional): As for :meth:`Run.answers`.
    """
    path = pathlib.Path(folder).expanduser()
    if (path / 'config.json').is_file():
        model = Pretrained.from_pretrained(path)
        return Answers(model if device is None else model.to(device))
    return Run.open(folder, data_root, device).answers(triples)


def provenance() -> dict[str, Any]:
    r"""Returns the commit, the versions and the platform of a result."""
    versions = {'python': platform.python_version()}
    for name in ('pyg_mmkgc', 'torch', 'torch_geometric', 'numpy'):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # Used without installation.
            versions[name] = 'unknown'
    return {'commit': _commit(), 'versions': versions,
            'platform': platform.platform()}


def _installed_commit() -> str | None:
    # What pip records of an installation from git (PEP 610).
    try:
        text = metadata.distribution('pyg_mmkgc').read_text('direct_url.json')
    except metadata.PackageNotFoundError:
        return None
    return json.loads(text or '{}').get('vcs_info', {}).get('commit_id')


def _commit() -> str | None:
    r"""The commit of this package's own checkout, or of the one that it was
    installed from, if that is known.
    """
    root = pathlib.Path(__file__).parents[2]
    if not (root / '.git').exists():
        return _installed_commit()
    try:
        out = subprocess.run(
            ['git', '-C', str(root), 'describe', '--always', '--dirty',
             '--abbrev=40', '--exclude=*'],
            capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return out.stdout.strip()
