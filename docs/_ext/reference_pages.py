r"""The references of configurations and of the command line, read off the
schema, the signatures and the parser.
"""
from __future__ import annotations

import argparse
import dataclasses
import inspect
import re
import typing
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pages import generate, heading, indent

from pyg_mmkgc.cli.parser import make_parser
from pyg_mmkgc.config import EvaluationConfig, TrainingConfig
from pyg_mmkgc.config.components import options_of, valid_names

if TYPE_CHECKING:  # The tests have no Sphinx.
    from sphinx.application import Sphinx

#: What stands on the page of a section.
SECTIONS = {
    'dataset': 'The graph. ``--data-root DIR`` replaces ``root``. '
               '``modalities`` keeps some of the modalities, and '
               '``drop_features`` drops a share of the rows of each, as in '
               '``{visual: 0.5}``.',
    'model': 'The model. Number of nodes, number of relations and features '
             'come from the graph.',
    'sampler': 'The negatives of each step. Without this section, a model '
               'trains on its own loss and negatives, or on a loss of the '
               'scores of all nodes.',
    'loss': 'The loss of positives and negatives, or of all nodes. The '
            'default is ``SelfAdversarialLoss``.',
    'adversary': 'What trains against the model in each step. ``lr`` is the '
                 'learning rate of the adversary.',
}
#: Keywords that a configuration adds to the signatures.
ADDED = {
    'root': 'The folder of the files. (default: :obj:`None`)',
    'modalities': 'The modalities to keep. (default: :obj:`None`, all)',
    'drop_features': 'The share of the rows to drop, by modality. '
                     '(default: :obj:`None`)',
    'lr': 'The learning rate of the adversary.',
}
ARGUMENT = re.compile(r'^(\**\w+) \((.*?)\): ', re.DOTALL)


def argument_texts(item: Any) -> dict[str, str]:
    r"""Returns the text of each argument in the Google-style docstrings of a
    function, a method, or a class and its bases.
    """
    owner = getattr(item, '__self__', None)
    items = [item, *inspect.getmro(owner)] if inspect.isclass(
        owner) else inspect.getmro(item) if inspect.isclass(item) else [item]
    out: dict[str, str] = {}
    # A bare name refers to the class, which is not around it here.
    bare = re.compile(r':(?:attr|class|func|meth):`(\w+)`')
    for part in items:
        doc = inspect.cleandoc(getattr(part, '__doc__', '') or '')
        block = re.search(r'^Args:\n(.*?)(?=^\S|\Z)', doc,
                          re.MULTILINE | re.DOTALL)
        for entry in re.split(r'^    (?=\S)', block[1] if block else '',
                              flags=re.MULTILINE):
            found = ARGUMENT.match(entry)
            if found:
                text = inspect.cleandoc(' ' * 4 + entry[found.end():])
                out.setdefault(found[1].lstrip('*'),
                               bare.sub(r'``\1``', text.strip()))
    return out


def type_name(annotation: Any) -> str:
    r"""Returns a type as a configuration would call it."""
    if isinstance(annotation, str) or annotation is inspect.Parameter.empty:
        return str(annotation)
    if typing.get_origin(annotation) is typing.Literal:
        return ' | '.join(str(x) for x in typing.get_args(annotation))
    text = re.sub(r'\b(typing|collections\.abc|pathlib)\.', '',
                  inspect.formatannotation(annotation))
    text = re.sub(r'Optional\[(.*)\]$', r'\1 | None', text)
    text = re.sub(r'Union\[(.*)\]$', lambda x: ' | '.join(
        part.strip() for part in x[1].split(',')), text)
    text = re.sub(r'Literal\[(.*?)\]', lambda x: x[1].replace("'", '')
                  .replace(', ', ' | '), text)
    return text.replace('NoneType', 'None')


def _plain(value: Any) -> str:
    # As in YAML. A number is not looked up, since 1.0 equals True.
    if value is None or isinstance(value, bool):
        return {None: 'null', True: 'true', False: 'false'}[value]
    if isinstance(value, (int, float, str)):
        return str(value)
    return str(list(value))


def _options(options: Mapping[str, inspect.Parameter],
             texts: Mapping[str, str]) -> str:
    out = []
    for name, param in options.items():
        default = ('required' if param.default is param.empty else
                   f'default ``{_plain(param.default)}``')
        text = texts.get(name) or ADDED.get(name, '')
        text = re.sub(r'\s*\(default:\s+:obj:`[^`]*`\)$', '', text)
        out.append(f'``{name}`` : {type_name(param.annotation)}; {default}\n'
                   + indent(text or '\\ '))
    return '\n\n'.join(out) + '\n'


def _fields(cls: Any) -> dict[str, inspect.Parameter]:
    hints = typing.get_type_hints(cls)
    return {field.name: inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default,
        annotation=hints[field.name]) for field in dataclasses.fields(cls)}


def _section(section: str) -> str:
    parts = [f'.. _config-{section}:\n', heading(section),
             SECTIONS[section] + '\n']
    for name, target in valid_names(section).items():
        shown = getattr(target, '__self__', target)
        role = 'func' if inspect.isfunction(shown) else 'class'
        place = _place(shown)
        options = options_of(section, target)
        parts += [heading(name, '-'), f':{role}:`~{place}`\n',
                  _options(options, argument_texts(target))
                  if options else 'No keywords.\n']
    return '\n'.join(parts)


def _place(item: Any) -> str:
    if item.__name__ == 'from_tsv':
        return 'pyg_mmkgc.data.KnowledgeGraph.from_tsv'
    return f'{item.__module__}.{item.__qualname__}'.replace(
        'torch_geometric.nn.kge.' + item.__module__.rpartition('.')[2],
        'torch_geometric.nn.kge')


def configuration_pages() -> dict[str, str]:
    r"""Returns a page for each section of a configuration."""
    out = {f'reference/configuration/{section}.rst': _section(section)
           for section in SECTIONS}
    for section, cls, intro in (
            ('training', TrainingConfig, 'The training of the model.'),
            ('evaluation', EvaluationConfig, 'The ranking of the test '
             'triples after the training, and by ``mmkgc evaluate``.')):
        out[f'reference/configuration/{section}.rst'] = '\n'.join([
            f'.. _config-{section}:\n', heading(section), f'{intro}\n',
            _options(_fields(cls), argument_texts(cls))])
    return out


CONFIGURATION = """\
A configuration is a YAML file with a section per subject. Only ``dataset`` and
``model`` are required. ``mmkgc train NAME`` takes a shipped one,
``mmkgc train FILE`` yours, and ``--set SECTION.KEY=VALUE`` changes a key.

.. code-block:: yaml

   dataset: {name: TSV, root: ., train: triples.tsv, val_ratio: 0.1,
             test_ratio: 0.1, features: {visual: images.npz}}
   model: {name: AdaMFMAT, hidden_channels: 100, margin: 6.0}
   sampler: {name: PooledSampler, num_negatives: 128}
   loss: {name: SelfAdversarialLoss, temperature: 2.0}
   adversary: {name: MAT, weight: 0.01}
   training: {lr: 1e-3, epochs: 100}
   evaluation: {ties: realistic}

Names, keywords, types and defaults come from the constructors, except for what
the graph decides. An unknown key, a wrong type or a value
out of range ends with an error that names the key, before anything is trained.
The section ``search`` of ``mmkgc search`` is described in
:doc:`/guides/training`.

.. toctree::
   :maxdepth: 2

"""


def configuration_page() -> str:
    r"""Returns the page that lists the sections."""
    links = ''.join(f'   configuration/{section}\n' for section in (
        *SECTIONS, 'training', 'evaluation'))
    return f'{heading("Configuration")}\n{CONFIGURATION}{links}'


def _usage(parser: argparse.ArgumentParser) -> str:
    text = parser.format_usage().removeprefix('usage: ').replace(
        '\n' + ' ' * len('usage: '), '\n')
    return '.. code-block:: text\n\n' + indent(text.rstrip()) + '\n'


def _invocation(action: argparse.Action) -> str:
    metavar = action.metavar or (
        '{' + ','.join(map(str, action.choices)) + '}' if action.choices
        else action.dest.upper())
    if not action.option_strings:
        return f'``{metavar}``'
    value = '' if action.nargs == 0 else f' {metavar}' + (
        ' ...' if action.nargs in ('+', '*') else '')
    return ', '.join(f'``{name}{value}``' for name in action.option_strings)


def _arguments(actions: Iterable[argparse.Action]) -> str:
    out = []
    for action in actions:
        if isinstance(action, (argparse._HelpAction,
                               argparse._SubParsersAction)):
            continue
        # A quotation mark or a star in a text is no markup.
        text = re.sub(r'([*`|_])', r'\\\1', action.help or '') % vars(action)
        out.append(f'{_invocation(action)}\n' + indent(text or '\\ '))
    return '\n\n'.join(out) + '\n'


def _commands(parser: argparse.ArgumentParser,
              line: str = '-') -> list[str]:
    out = []
    for action in parser._actions:
        if not isinstance(action, argparse._SubParsersAction):
            continue
        helps = {x.dest: x.help for x in action._choices_actions}
        for name, sub in action.choices.items():
            text = helps.get(name) or ''
            label = sub.prog.replace(' ', '-')
            out += [f'.. _{label}:\n', heading(sub.prog, line),
                    f'{text[:1].upper()}{text[1:]}.\n', _usage(sub),
                    _arguments(sub._actions), *_commands(sub, '~')]
    return out


def command_line_page() -> str:
    r"""Returns the page of all commands."""
    return '\n'.join([
        heading('Command line'),
        'The commands and their options, as ``mmkgc COMMAND --help`` prints '
        'them. A failure of\nthe input ends with status 2 and one line that '
        'names what was expected, what came\nand where. An interruption ends '
        'with 130, SIGTERM with 143 and SIGHUP with 129.\n',
        *_commands(make_parser())])


def pages() -> dict[str, str]:
    r"""Returns all pages."""
    return {**configuration_pages(),
            'reference/configuration.rst': configuration_page(),
            'reference/command_line.rst': command_line_page()}


def setup(app: Sphinx) -> dict[str, bool]:
    r"""Writes the pages before a build."""
    generate(app, pages, 'reference')
    return {'parallel_read_safe': True}
