r"""What there is to train: read off the classes and the shipped files."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import torch
from torch_geometric.nn.kge import KGEModel

from pyg_mmkgc.config.components import valid_names
from pyg_mmkgc.config.loader import load_config, shipped_configs
from pyg_mmkgc.datasets import FakeMMKG
from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.io.pretrained import arguments_of
from pyg_mmkgc.nn import AllNodesLoss
from pyg_mmkgc.nn.kge import MMKGEModel, RotatE
from pyg_mmkgc.nn.path import PathModel
from pyg_mmkgc.transforms import DropModality

KINDS = ('model', 'sampler', 'adversary', 'loss')
# The first link of a docstring; a title or an address may go over lines.
LINK = re.compile(r'`"?([^`<"]+)"?\s*<([^>`]+)>`_')
MODALITIES = ('visual', 'text')


@dataclass
class Entry:
    r"""One line of what can be named in a configuration.

    Args:
        section (str): The section that names it.
        name (str): Its name.
        kind (str): What it is: structural, multi-modal, adversarial
            training, negative sampler or loss.
        needs (str): The modalities that a model needs, the models that a
            sampler or an adversary serves, the scores that a loss takes.
        paper (str): The title of its paper.
        link (str): Where the paper is.
        configs (list): The shipped configurations that use it.
        trained_with (list): Samplers, losses and adversaries that the
            shipped configurations of a model name.
    """

    section: str
    name: str
    kind: str
    needs: str
    paper: str
    link: str
    configs: list[str] = field(default_factory=list)
    trained_with: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        needs = {'model': 'modalities: ', 'loss': 'of '}.get(self.section,
                                                             'for ')
        lines = [f'{self.name}: {self.kind}; {needs}{self.needs}']
        if self.link:
            lines += [self.paper, self.link]
        if self.trained_with:
            lines.append(f'trained with: {", ".join(self.trained_with)}')
        if self.configs and self.section == 'model':
            lines.append(f'mmkgc train {" | ".join(self.configs)}')
        elif self.configs:
            users = {name.partition('/')[0]: None for name in self.configs}
            lines.append(f'in: {", ".join(users)}')
        return '\n    '.join(lines)


def catalogue() -> list[Entry]:
    r"""Every model, sampler, adversary and loss, with the configurations that
    the package has of it.
    """
    entries = {(section, name): _entry(section, name, target)
               for section in KINDS
               for name, target in valid_names(section).items()}
    for config_name in shipped_configs():
        config = load_config(config_name)
        parts = [(section, getattr(config, section)) for section in KINDS]
        used = [(section, part.name) for section, part in parts if part]
        for key in used:
            entries[key].configs.append(config_name)
        model = entries[used[0]]
        names = [name for _, name in used[1:]] or ['its own loss']
        model.trained_with += [name for name in names
                               if name not in model.trained_with]
    return list(entries.values())


def paper_of(target: Any) -> tuple[str, str]:
    r"""Title and link of the first paper that a docstring names; of a class
    without one, that of the class that it extends.
    """
    for cls in inspect.getmro(_class_of(target)):
        found = LINK.search(vars(cls).get('__doc__') or '')
        if found:
            title, link = found.groups()
            return ' '.join(title.split()), ''.join(link.split())
    return '', ''


def _class_of(target: Any) -> type:
    # An adversary is named by the method that builds it for a model.
    return target if inspect.isclass(target) else target.__self__


def _entry(section: str, name: str, target: Callable[..., Any]) -> Entry:
    describe = {'model': _model, 'sampler': _sampler,
                'adversary': _adversary, 'loss': _loss}[section]
    return Entry(section, name, *describe(target), *paper_of(target))


def _model(target: Any) -> tuple[str, str]:
    if issubclass(target, PathModel):
        return 'paths', 'none'
    if not issubclass(target, MMKGEModel):
        return 'structural, of PyG', 'none'
    taken = [size for size in range(3)
             if any(_builds(target, names)
                    for names in combinations(MODALITIES, size))]
    if 'modalities' not in arguments_of(target):
        return 'structural', 'none'
    needs = {0: 'any number, or none', 1: 'at least one', 2: 'at least two'}
    return 'multi-modal', needs[min(taken, default=2)]


def _sampler(target: Any) -> tuple[str, str]:
    def use(graph: Any, model: KGEModel) -> None:
        build = getattr(target, 'from_data', None)
        found = target() if build is None else build(graph, model)
        found.check(model)

    if _serves(use, ()):
        return 'negative sampler', 'any model'
    return 'negative sampler', ('any model, a graph with modalities'
                                if _serves(use, MODALITIES) else
                                'a model with modalities')


def _adversary(target: Any) -> tuple[str, str]:
    def use(graph: Any, model: KGEModel) -> None:
        target(model).check(model)

    return 'adversarial training', ('any model' if _serves(use, ()) else
                                    'a model with modalities')


def _loss(target: Any) -> tuple[str, str]:
    return 'loss', ('the scores of all nodes, no sampler'
                    if issubclass(target, AllNodesLoss) else
                    'the scores of positives and negatives')


def _graph(names: tuple[str, ...]) -> Any:
    drop = [name for name in MODALITIES if name not in names]
    return DropModality(*drop)(FakeMMKG(
        num_nodes=16, num_relations=2, num_edges=20,
        modalities=dict.fromkeys(MODALITIES, 4))[0])


def _builds(target: Any, names: tuple[str, ...]) -> bool:
    with torch.random.fork_rng(devices=[]):
        try:
            target.from_data(_graph(names), 8)
        except ModelError:
            return False
    return True


def _serves(use: Callable[[Any, KGEModel], Any],
            names: tuple[str, ...]) -> bool:
    r"""Whether something takes a model without modalities, and a graph."""
    with torch.random.fork_rng(devices=[]):
        graph = _graph(names)
        try:
            use(graph, RotatE(graph.num_nodes, graph.num_relations, 4))
        except ModelError:
            return False
    return True
