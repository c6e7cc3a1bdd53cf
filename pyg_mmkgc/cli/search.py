r"""``mmkgc search``."""
from __future__ import annotations

import argparse
import sys
from typing import Any

from pyg_mmkgc.cli import options
from pyg_mmkgc.cli.output import show
from pyg_mmkgc.errors import ConfigError, Terminated


def add(commands: Any) -> None:
    r"""Adds the command."""
    sub = commands.add_parser(
        'search', parents=[options.config(), options.data(),
                           options.device()],
        help='search settings by validation MRR',
        description="Searches the settings that the section 'search' of a "
        'YAML file names, as in search: {training: {lr: {low: 1e-4, high: '
        '1e-2, log: true}}, model: {margin: [3.0, 6.0, 9.0]}}. Trials that '
        'fall behind are pruned. --resume continues an interrupted search.')
    sub.add_argument('name', metavar='NAME|FILE', nargs='?',
                     help="as for 'mmkgc train'")
    sub.add_argument('--trials', type=int, metavar='N', help='total number of '
                     'trials, the first of which is the configuration itself '
                     '(20)')
    sub.add_argument('--output', metavar='DIR',
                     help='the new folder (default: runs/NAME-search)')
    sub.add_argument('--resume', metavar='DIR', help='continue the search in '
                     'a folder')
    sub.add_argument('--quiet', action='store_true', help='no progress')
    sub.set_defaults(call=call)


def call(args: argparse.Namespace) -> None:
    r"""Runs the command."""
    if (args.name is None) == (args.resume is None):
        raise ConfigError('Expected either NAME|FILE, the configuration to '
                          'search, or --resume DIR (got '
                          f'{"neither" if args.name is None else "both"})')
    if args.resume is not None:
        if args.output is not None or args.overrides:
            given = '--set' if args.overrides else '--output'
            raise ConfigError(f'Expected no {given} for a search that is '
                              'resumed (got one)')
        from pyg_mmkgc.runs import Search

        search = Search.open(args.resume, args.trials, args.data_root,
                             args.device)
    else:
        from pyg_mmkgc.config import check_search

        check_search(args.name, args.overrides)
        from pyg_mmkgc.runs import Search

        search = Search.create(
            args.name, 20 if args.trials is None else args.trials,
            args.overrides, args.output, args.data_root, args.device)
    try:
        result = search.run(progress=not args.quiet)
    except (KeyboardInterrupt, Terminated):
        print(f'\ninterrupted; to continue: mmkgc search --resume '
              f'{search.folder}', file=sys.stderr)
        raise
    show(result)
    show(f'search: {search.folder}; to train the best: mmkgc train '
         f'{search.folder / "best.yaml"}')
