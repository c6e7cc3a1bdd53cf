r"""A list of all models, samplers, adversaries and losses that a configuration
can name, based on their classes and the shipped files.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from pyg_mmkgc.config.components import valid_names
from pyg_mmkgc.config.loader import load_config, shipped_configs
from pyg_mmkgc.datasets import FakeMMKG
from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.io.arguments import arguments_of
from pyg_mmkgc.nn import AllNodesLoss, Ensemble
from pyg_mmkgc.nn.kge import MMKGEModel, RotatE
from pyg_mmkgc.nn.path import PathModel
from pyg_mmkgc.transforms import DropModality

KINDS = ('model', 'sampler', 'adversary', 'loss')
# The first link of a docstring. Its title and address may span lines.
LINK = re.compile(r'`"?([^`<"]+)"?\s*<([^>`]+)>`_')
MODALITIES = ('visual', 'text')


@dataclass
class Entry:
    r"""A model, sampler, adversary or loss that a configuration can name. It
    prints as a short description.

    Args:
        section (str): The section, such as :obj:`"model"`.
        name (str): The name.
        kind (str): The kind, such as :obj:`"multi-modal"`.
        needs (str): The modalities that a model requires, the models that a
            sampler or an adversary supports, or the scores that a loss takes.
        paper (str): The title of the paper.
        link (str): The link of the paper.
        configs (list[str], optional): The shipped configurations that name it,
            such as :obj:`"rotate/mkg_w"`. (default: :obj:`[]`)
        trained_with (list[str], optional): For a model, the samplers, losses
            and adversaries in its shipped configurations. (default: :obj:`[]`)
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
    r"""Returns all models, samplers, adversaries and losses with their shipped
    configurations.
    """
    entries = {(section, name): Entry(
                   section, name, *_describe(section, target),
                   *paper_of(target))
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
    r"""Returns the title and the link of the first paper in the docstring of a
    class or of its base classes.
    """
    # A class method builds an adversary for a model.
    for cls in inspect.getmro(getattr(target, '__self__', target)):
        found = LINK.search(vars(cls).get('__doc__') or '')
        if found:
            title, link = found.groups()
            return ' '.join(title.split()), ''.join(link.split())
    return '', ''


def _describe(section: str, target: Any) -> tuple[str, str]:
    if section == 'loss':
        return 'loss', ('the scores of all nodes, no sampler'
                        if issubclass(target, AllNodesLoss) else
                        'the scores of positives and negatives')
    if section != 'model':
        kind = {'sampler': 'negative sampler',
                'adversary': 'adversarial training'}[section]
        if _works(partial(_check, target, _graph(()))):
            return kind, 'any model'
        if _works(partial(_check, target, _graph(MODALITIES))):
            return kind, 'any model, a graph with modalities'
        return kind, 'a model with modalities'
    if target is Ensemble:
        return 'ensemble of trained models', 'none'
    if issubclass(target, PathModel):
        return 'paths', 'any number, or none'
    if not issubclass(target, MMKGEModel):
        return 'structural, of PyG', 'none'
    if 'modalities' not in arguments_of(target):
        return 'structural', 'none'
    for names, needs in (((), 'any number, or none'),
                         (MODALITIES[:1], 'at least one'),
                         (MODALITIES[1:], 'at least one')):
        if _works(partial(target.from_data, _graph(names), 8)):
            return 'multi-modal', needs
    return 'multi-modal', 'at least two'


def _graph(names: tuple[str, ...]) -> Any:
    return DropModality(*set(MODALITIES) - set(names))(FakeMMKG(
        num_nodes=16, num_relations=2, num_edges=20,
        modalities=dict.fromkeys(MODALITIES, 4))[0])


def _check(target: Any, graph: Any) -> None:
    # A sampler or an adversary, with a model that has no modalities.
    model = RotatE(graph.num_nodes, graph.num_relations, 4)
    if hasattr(target, 'from_data'):
        target.from_data(graph, model).check(model)
    else:
        part: Any = target() if inspect.isclass(target) else target(model)
        part.check(model)


def _works(call: Callable[[], Any]) -> bool:
    with torch.random.fork_rng(devices=[]):
        try:
            call()
        except ModelError:
            return False
    return True
