r"""Options that several commands share, as parents of their parsers."""
from __future__ import annotations

import argparse

from pyg_mmkgc.errors import ConfigError

Parent = argparse.ArgumentParser


def config() -> Parent:
    r"""``--set``: changes of a configuration."""
    out = Parent(add_help=False)
    out.add_argument('--set', nargs='+', action='extend', default=[],
                     metavar='KEY=VALUE', dest='overrides',
                     help='set keys, as in training.epochs=100')
    return out


def data() -> Parent:
    r"""``--data-root`` and ``--debug``."""
    out = Parent(add_help=False)
    out.add_argument('--data-root', metavar='DIR',
                     help="the folder of the dataset's files")
    out.add_argument('--debug', action='store_true',
                     help='show the traceback of an error')
    return out


def device() -> Parent:
    r"""``--device``."""
    out = Parent(add_help=False)
    out.add_argument('--device', help='cpu, cuda, cuda:1, ...')
    return out


def run() -> Parent:
    r"""``RUN``."""
    out = Parent(add_help=False)
    out.add_argument('run', metavar='RUN', help='the folder of a run')
    return out


def run_or_model() -> Parent:
    r"""``RUN|MODEL``."""
    out = Parent(add_help=False)
    out.add_argument('run', metavar='RUN|MODEL', help='the folder of a run, '
                     'or of a saved model such as RUN/model, which needs no '
                     'graph')
    return out


def pretrained() -> Parent:
    r"""``--model``: a model that needs no training."""
    out = Parent(add_help=False)
    out.add_argument(
        '--model', metavar='NAME|FOLDER', help='a model that needs no '
        'training on the graph: ultra_3g, ultra_4g or ultra_50g, which are '
        "downloaded, 'neighbors', which compares features, or a folder of "
        'save_pretrained; RUN is then a graph, as '
        "for 'mmkgc train'")
    return out


#: The help of a node or a relation.
LABEL = 'a label, or an id if no label is a number'


def name_of(args: argparse.Namespace) -> str:
    r"""Returns the name of the configuration to work on.

    Raises:
        ConfigError: If no configuration is given.
    """
    if args.name is None:
        raise ConfigError('Expected NAME|FILE, the configuration to '
                          f'{args.command} (got none)')
    return str(args.name)
