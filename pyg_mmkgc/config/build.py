r"""From a configuration to the objects that it names."""

from __future__ import annotations

import dataclasses
import inspect
import pathlib
from typing import Any

import torch
from torch_geometric.nn.kge import KGEModel

from pyg_mmkgc.config.coerce import nearest
from pyg_mmkgc.config.components import Component, valid_names
from pyg_mmkgc.config.schema import Config
from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.errors import ConfigError
from pyg_mmkgc.io.reading import user_path
from pyg_mmkgc.nn.kge import MMKGEModel
from pyg_mmkgc.nn.path import ULTRA, PathModel
from pyg_mmkgc.sampler import NegativeSampler
from pyg_mmkgc.training import AdversarialTrainer, Trainer
from pyg_mmkgc.transforms import DropFeatures


def _call(kind: str, section: Component, *args: Any, **kwargs: Any) -> Any:
    target = valid_names(kind)[section.name]
    return target(*args, **{**section.options, **kwargs})


def build_graph(config: Config,
                data_root: str | None = None) -> KnowledgeGraph:
    r"""Loads the dataset, with the modalities that are asked for, less the
    share of their rows that :obj:`dataset.drop_features` names.

    Args:
        config (Config): The configuration.
        data_root (str, optional): The folder of the dataset's files, instead
            of the configuration's.
    """
    section = config.dataset
    options = dict(section.options)
    modalities = options.pop('modalities')
    dropped = options.pop('drop_features') or {}
    root = options.pop('root')
    root = root if data_root is None else data_root
    target = valid_names('dataset')[section.name]
    if section.name == 'TSV':
        options |= _below(user_path(root or '.'), options)
    elif 'root' in inspect.signature(target).parameters:
        parameter = inspect.signature(target).parameters['root']
        if root is None and parameter.default is parameter.empty:
            raise ConfigError(f"'dataset.root': {section.name} needs the "
                              'folder of its files; set it, or give '
                              '--data-root')
        if root is not None:
            options['root'] = str(user_path(root))
    out = target(**options)
    graph = out if isinstance(out, KnowledgeGraph) else out[0]
    if modalities is not None:
        graph = _keep(graph, modalities)
    for name, ratio in dropped.items():
        _check_modality(graph, name, f'dataset.drop_features.{name}')
        graph = DropFeatures(name, ratio, config.training.seed)(graph)
    return graph


def _below(root: pathlib.Path, options: dict[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {key: str(root / options[key])
                           for key in ('train', 'val', 'test')
                           if options[key] is not None}
    if options['features'] is not None:
        out['features'] = {name: str(root / path) if isinstance(path, str)
                           else path for name, path
                           in options['features'].items()}
    return out


def _keep(graph: KnowledgeGraph, modalities: list[str]) -> KnowledgeGraph:
    for i, name in enumerate(modalities):
        _check_modality(graph, name, f'dataset.modalities[{i}]')
    for name in set(graph.modalities) - set(modalities):
        del graph[f'x_{name}']
        if f'mask_{name}' in graph:
            del graph[f'mask_{name}']
    return graph


def _check_modality(graph: KnowledgeGraph, name: str, path: str) -> None:
    if name not in graph.modalities:
        raise ConfigError(f"'{path}': the graph has no modality '{name}'."
                          f'{nearest(name, graph.modalities)}')


def model_class(config: Config) -> type[KGEModel | PathModel]:
    r"""The class of :obj:`model.name`."""
    target: Any = valid_names('model')[config.model.name]
    return target


def build_model(config: Config,
                graph: KnowledgeGraph) -> KGEModel | PathModel:
    r"""Builds the model for a graph, its weights drawn from the seed
    :obj:`training.seed`. The global state of random numbers stays as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.training.seed)
        target: Any = model_class(config)
        if config.model.options.get('pretrained') is not None:
            return _build_pretrained(config.model).attach(graph)
        if issubclass(target, PathModel):
            options = dict(config.model.options)
            options.pop('pretrained', None)
            return target.from_data(graph, **options)
        if issubclass(target, MMKGEModel):
            return target.from_data(graph, **config.model.options)
        return target(graph.num_nodes, graph.num_relations,
                      **config.model.options)


def _build_pretrained(section: Component) -> ULTRA:
    options = dict(section.options)
    name = options.pop('pretrained')
    model = ULTRA.from_pretrained(name)
    for key, value in options.items():
        if key in ('hidden_channels', 'num_layers') and (
                getattr(model, key) != value):
            raise ConfigError(f"Expected 'model.{key}' to be "
                              f"{getattr(model, key)}, as '{name}' has it "
                              f'(got {value})')
        setattr(model, key, value)
    return model


def build_device(config: Config) -> torch.device:
    r"""The device of :obj:`training.device`, by default a GPU where there is
    one.
    """
    return find_device(config.training.device, 'training.device')


def find_device(name: str | None, key: str) -> torch.device:
    r"""The device of a name, by default a GPU where there is one.

    Args:
        name (str, optional): As for :class:`torch.device`.
        key (str): What to call it in an error.
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
        raise ConfigError(f"'{key}': '{name}' cannot be used: "
                          f'{reason}') from None
    return device


def _build_sampler(config: Config, graph: KnowledgeGraph,
                   model: KGEModel | PathModel) -> NegativeSampler:
    section = config.sampler
    assert section is not None
    target: Any = valid_names('sampler')[section.name]
    build = getattr(target, 'from_data', None)
    if build is None:
        return target(**section.options)
    with torch.random.fork_rng(devices=[]):  # What learns, has weights.
        torch.default_generator.manual_seed(config.training.seed)
        return build(graph, model, **section.options)


def build_trainer(config: Config, graph: KnowledgeGraph) -> Trainer:
    r"""Builds model, sampler, loss and adversary, and the trainer of them.

    Args:
        config (Config): The configuration.
        graph (KnowledgeGraph): What :func:`build_graph` returns.
    """
    # The fields of TrainingConfig are keywords of Trainer.
    options = {**dataclasses.asdict(config.training),
               'device': build_device(config)}
    model = build_model(config, graph)
    if config.loss is not None:
        options['loss'] = _call('loss', config.loss)
    if config.sampler is not None:
        options['sampler'] = _build_sampler(config, graph, model)
    if config.adversary is None:
        return Trainer(model, graph, **options)
    keywords = dict(config.adversary.options)
    lr = keywords.pop('lr')
    section = Component(config.adversary.name, keywords)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.training.seed)
        options['adversary'] = _call('adversary', section, model)
    return AdversarialTrainer(model, graph, generator_lr=lr, **options)
