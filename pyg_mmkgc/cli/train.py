r"""``mmkgc train``."""
from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from pyg_mmkgc.cli import options
from pyg_mmkgc.cli.output import show
from pyg_mmkgc.errors import ConfigError, Terminated


def add(commands: Any) -> None:
    r"""Adds the command."""
    sub = commands.add_parser(
        'train', parents=[options.config(), options.data(), options.device()],
        help='train and evaluate a model, with all files in one folder')
    sub.add_argument('name', metavar='NAME|FILE', nargs='?',
                     help="a dataset ('countries'), a model and a dataset "
                     "('rotate/mkg_w'), or a YAML file; see 'mmkgc models'")
    sub.add_argument('--output', metavar='DIR',
                     help='the new folder (default: runs/NAME-seedN)')
    sub.add_argument('--seed', type=int, help='training.seed')
    sub.add_argument('--seeds', type=int, metavar='N',
                     help='train with N seeds, in one folder with one table')
    sub.add_argument('--resume', metavar='RUN', help='continue an interrupted '
                     'run, or, with --set training.epochs=N, a finished one')
    sub.add_argument('--quiet', action='store_true', help='no progress bar')
    sub.set_defaults(call=call)


def call(args: argparse.Namespace) -> None:
    r"""Runs the command."""
    overrides = _check(args)
    from pyg_mmkgc.distributed import process_group

    with process_group():
        _train(args, overrides)


def _check(args: argparse.Namespace) -> list[str]:
    r"""Returns the overrides. Errors that need no graph come before torch is
    imported.
    """
    if (args.name is None) == (args.resume is None):
        raise ConfigError('Expected either NAME|FILE, the configuration to '
                          'train, or --resume RUN (got '
                          f'{"neither" if args.name is None else "both"})')
    if args.resume is not None:
        given = [flag for flag, value in [
            ('--output', args.output), ('--seed', args.seed),
            ('--seeds', args.seeds)] if value is not None]
        if given:
            raise ConfigError(f'Expected no {given[0]} for a run that is '
                              'resumed (got one)')
        return list(args.overrides)
    overrides = list(args.overrides)
    if args.seed is not None:
        overrides.append(f'training.seed={args.seed}')
    from pyg_mmkgc.config import check_config

    check_config(args.name, overrides)
    return overrides


def _train(args: argparse.Namespace, overrides: list[str]) -> None:
    from pyg_mmkgc.distributed import is_main, restarted, world_size
    from pyg_mmkgc.runs import Run, SeedRuns, is_seeds

    if args.seeds is not None and world_size() > 1:
        raise ConfigError("Expected no '--seeds' for several processes (got "
                          f'{args.seeds}). Train one seed after the other.')
    folder = args.resume
    if restarted() and args.output is not None and os.path.isfile(
            os.path.join(args.output, 'config.yaml')):
        # A process of the group failed after the run began.
        folder, overrides = args.output, []
    run: Any
    if folder is not None:
        opened: Any = SeedRuns if is_seeds(folder) else Run
        run = opened.open(folder, args.data_root, args.device)
        if overrides:
            run.extend(overrides)
    else:
        how = args.name, overrides, args.output, args.data_root, args.device
        run = (Run.create(*how) if args.seeds is None else
               SeedRuns.create(args.seeds, *how))
    try:
        result = run.train(progress=not args.quiet)
    except (KeyboardInterrupt, Terminated):
        print(f'\ninterrupted; to continue: mmkgc train --resume '
              f'{run.folder}', file=sys.stderr)
        raise
    if not is_main():
        return
    show('no test triples to evaluate on' if result is None else result)
    show(f'run: {run.folder}')
