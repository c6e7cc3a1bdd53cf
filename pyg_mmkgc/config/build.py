r"""Builds the objects that a configuration names."""

from __future__ import annotations

import dataclasses
import inspect
import pathlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch_geometric.nn.kge import KGEModel

from pyg_mmkgc.config.coerce import located
from pyg_mmkgc.config.components import valid_names
from pyg_mmkgc.config.schema import Config
from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.distributed import build
from pyg_mmkgc.errors import ConfigError, check_positive, check_whole
from pyg_mmkgc.io.reading import user_path
from pyg_mmkgc.nn import Ensemble
from pyg_mmkgc.nn.path import PathModel
from pyg_mmkgc.training import (
    AdversarialTrainer,
    CSVLogger,
    TensorBoard,
    Trainer,
    WandB,
)
from pyg_mmkgc.transforms import DropFeatures, DropModality

#: The callbacks of :obj:`training.track`.
TRACKERS = {'csv': CSVLogger, 'tensorboard': TensorBoard, 'wandb': WandB}


def build_graph(config: Config,
                data_root: str | None = None) -> KnowledgeGraph:
    r"""Loads the dataset with its modalities, and drops features as
    configured.

    Args:
        config (Config): The configuration.
        data_root (str, optional): The folder of the dataset's files.
            (default: :obj:`None`, as in the configuration)

    Raises:
        ConfigError: If the dataset needs a folder and has none, or if a key
            names a modality that the graph lacks.
    """
    name, options = config.dataset.name, dict(config.dataset.options)
    modalities = options.pop('modalities')
    dropped = options.pop('drop_features') or {}
    root = options.pop('root')
    root = root if data_root is None else data_root
    target = valid_names('dataset')[name]
    parameter = inspect.signature(target).parameters.get('root')
    if name == 'TSV':
        options |= _below(user_path(root or '.'), options)
    elif parameter is not None and root is not None:
        options['root'] = str(user_path(root))
    elif parameter is not None and parameter.default is parameter.empty:
        raise ConfigError("Expected 'dataset.root' to be the folder of the "
                          f'files of {name} (got none). Set it, or pass '
                          '--data-root.')
    with located('dataset', options):
        out = target(**options)
    graph = out if isinstance(out, KnowledgeGraph) else out[0]
    if modalities is not None:
        for item in modalities:
            _check_modality(graph, item, 'dataset.modalities')
        graph = DropModality(*set(graph.modalities) - set(modalities))(graph)
    for item, ratio in dropped.items():
        _check_modality(graph, item, 'dataset.drop_features')
        with located('dataset', (), ratio=f'dataset.drop_features.{item}'):
            drop = DropFeatures(item, ratio, config.training.seed)
        graph = drop(graph)
    return graph


def _below(root: pathlib.Path, options: dict[str, Any]) -> dict[str, Any]:
    r"""Returns the options that are paths, relative to a folder."""
    def below(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: below(item) for key, item in value.items()}
        return str(root / value) if isinstance(value, str) else value

    paths = ['train', 'val', 'test', 'features']
    if isinstance(options['node_names'], str):  # Otherwise, the labels.
        paths.append('node_names')
    return {key: below(options[key]) for key in paths}


def _check_modality(graph: KnowledgeGraph, name: str, path: str) -> None:
    if name not in graph.modalities:
        raise ConfigError(f"Expected '{path}' to name modalities of the graph "
                          f'{graph.modalities} (got {name!r})')


@contextmanager
def _seeded(config: Config) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.training.seed)
        yield


def build_model(config: Config,
                graph: KnowledgeGraph) -> KGEModel | PathModel:
    r"""Builds the model for a graph, with weights that only depend on
    :obj:`training.seed`. The global random state does not change.

    Raises:
        ModelError: If an argument of the model is out of range.
    """
    target: Any = valid_names('model')[config.model.name]
    if target is Ensemble:
        raise ConfigError("Expected 'model.name' to be a model that is "
                          "trained (got 'Ensemble'). Combine trained models "
                          'by: mmkgc ensemble')
    options = config.model.options
    with _seeded(config), located('model', options):
        if hasattr(target, 'from_data'):
            return build(lambda: target.from_data(graph, **options),
                         graph.num_nodes)
        # PyG's constructors do not check their arguments.
        check_whole(hidden_channels=options['hidden_channels'])
        check_positive(**{key: options[key] for key in ('margin', 'p_norm')
                          if key in options})
        return build(lambda: target(graph.num_nodes, graph.num_relations,
                                    **options), graph.num_nodes)


def build_device(config: Config) -> torch.device:
    r"""Returns the device of :obj:`training.device`, by default a GPU if there
    is one.
    """
    return find_device(config.training.device, 'training.device')


def find_device(name: str | None, key: str) -> torch.device:
    r"""Returns the device with a given name, by default a GPU if there is one.

    Args:
        name (str or None): The name of a :class:`torch.device`. :obj:`None`
            stands for a GPU if there is one, and for the CPU otherwise.
        key (str): The key or option that an error names.
    """
    if name is None:
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        device = torch.device(name)
        if device.type == 'meta':
            raise RuntimeError('it holds no numbers')
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"Expected '{key}' to be a device of this machine "
                          f"(got '{name}': {reason})") from None
    return device


def build_trainer(config: Config, graph: KnowledgeGraph) -> Trainer:
    r"""Builds the model, sampler, loss and adversary, and their trainer.

    Args:
        config (Config): The configuration.
        graph (KnowledgeGraph): The graph of :func:`build_graph`.
    """
    # The other fields of TrainingConfig are keywords of Trainer.
    options = dataclasses.asdict(config.training)
    track = options.pop('track') or []
    options['callbacks'] = [TRACKERS[name]() for name in (
        [track] if isinstance(track, str) else track)]
    keys = list(options)
    options['device'] = build_device(config)
    model = build_model(config, graph)
    for section in ('loss', 'sampler'):
        component = getattr(config, section)
        if component is not None:
            target: Any = valid_names(section)[component.name]
            with _seeded(config), located(section, component.options):
                options[section] = part = (
                    target(**component.options)
                    if not hasattr(target, 'from_data') else
                    target.from_data(graph, model, **component.options))
                if section == 'sampler':
                    part.check(model)
    if config.adversary is None:
        with located('training', keys):
            return Trainer(model, graph, **options)
    given = dict(config.adversary.options)
    lr = given.pop('lr')
    with _seeded(config), located('adversary', given):
        options['adversary'] = valid_names('adversary')[
            config.adversary.name](model, **given)
    with located('training', keys, generator_lr='adversary.lr'):
        return AdversarialTrainer(model, graph, generator_lr=lr, **options)
