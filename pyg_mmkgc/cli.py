r"""The command line: parse, build, call."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Sequence

from pyg_mmkgc import config as lib
from pyg_mmkgc.errors import ConfigError, MMKGCError


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='mmkgc', description='Multi-modal knowledge graph completion.')
    commands = parser.add_subparsers(dest='command', required=True,
                                     metavar='COMMAND')
    config = argparse.ArgumentParser(add_help=False)
    config.add_argument('--set', nargs='+', action='extend', default=[],
                        metavar='KEY=VALUE', dest='overrides',
                        help='set keys, as in training.epochs=100')
    data = argparse.ArgumentParser(add_help=False)
    data.add_argument('--data-root', metavar='DIR',
                      help="the folder of the dataset's files")
    data.add_argument('--debug', action='store_true',
                      help='show where in the code an error came up')
    device = argparse.ArgumentParser(add_help=False)
    device.add_argument('--device', help='cpu, cuda, cuda:1, ...')
    run = argparse.ArgumentParser(add_help=False)
    run.add_argument('run', metavar='RUN', help='the folder of a run')

    sub = commands.add_parser(
        'train', parents=[config, data, device],
        help='train a model, evaluate it, and leave all in one folder')
    sub.add_argument('name', metavar='NAME|FILE', nargs='?',
                     help="a dataset ('countries'), a model and a dataset "
                     "('rotate/mkg_w'), or a YAML file; see 'mmkgc models'")
    sub.add_argument('--output', metavar='DIR',
                     help='the new folder (default: runs/NAME-seedN)')
    sub.add_argument('--seed', type=int)
    sub.add_argument('--resume', metavar='RUN',
                     help='continue an interrupted run')
    sub.add_argument('--quiet', action='store_true', help='no progress bar')
    sub.set_defaults(call=_train)

    sub = commands.add_parser('evaluate', parents=[run, data, device],
                              help='rank the triples of a split')
    sub.add_argument('--split', default='test',
                     choices=['train', 'val', 'test'])
    sub.set_defaults(call=_evaluate)

    sub = commands.add_parser('predict', parents=[run, data, device],
                              help='complete a triple')
    side = sub.add_mutually_exclusive_group(required=True)
    side.add_argument('--head', help='label or id; predicts tails')
    side.add_argument('--tail', help='label or id; predicts heads')
    sub.add_argument('--relation', required=True, help='label or id')
    sub.add_argument('-k', type=int, default=10, help='how many (10)')
    sub.add_argument('--new', action='store_true',
                     help='leave out the triples that are known already')
    sub.set_defaults(call=_predict)

    sub = commands.add_parser('audit', parents=[config, data],
                              help='look for faults in a dataset')
    sub.add_argument('name', metavar='NAME|FILE')
    sub.set_defaults(call=_audit)

    sub = commands.add_parser(
        'profile', parents=[config, data, device],
        help='show where the time and memory of a training step go')
    sub.add_argument('name', metavar='NAME|FILE')
    sub.add_argument('--steps', type=int, default=10, help='how many (10)')
    sub.set_defaults(call=_profile)

    sub = commands.add_parser(
        'models', help='list models, samplers, adversaries and losses, with '
        'their papers and what to train them with')
    sub.add_argument('--json', action='store_true', help='as one JSON list')
    sub.set_defaults(call=_models, debug=False)
    return parser


def _train(args: argparse.Namespace) -> None:
    if (args.name is None) == (args.resume is None):
        raise ConfigError('expected either what to train or --resume RUN')
    if args.resume is not None:
        given = [flag for flag, value in [
            ('--set', args.overrides), ('--output', args.output),
            ('--seed', args.seed)] if value not in (None, [])]
        if given:
            raise ConfigError(f'{given[0]} cannot change a run that is '
                              'resumed')
        run = lib.Run.open(args.resume, args.data_root, args.device)
    else:
        overrides = list(args.overrides)
        if args.seed is not None:
            overrides.append(f'training.seed={args.seed}')
        run = lib.Run.create(args.name, overrides, args.output,
                             args.data_root, args.device)
    try:
        result = run.train(progress=not args.quiet)
    except KeyboardInterrupt:
        print(f'\ninterrupted; to continue: mmkgc train --resume '
              f'{run.folder}', file=sys.stderr)
        raise
    print(result)
    print(f'run: {run.folder}')


def _evaluate(args: argparse.Namespace) -> None:
    run = lib.Run.open(args.run, args.data_root, args.device)
    print(run.evaluate(args.split))


def _predict(args: argparse.Namespace) -> None:
    run = lib.Run.open(args.run, args.data_root, args.device)
    print(run.predict(args.head, args.relation, args.tail, args.k, args.new))


def _audit(args: argparse.Namespace) -> None:
    config = lib.load_config(args.name, args.overrides)
    print(lib.build_graph(config, args.data_root).audit())


def _profile(args: argparse.Namespace) -> None:
    print(lib.profile_config(args.name, args.overrides, args.steps,
                             args.data_root, args.device))


def _models(args: argparse.Namespace) -> None:
    entries = lib.catalogue()
    if args.json:
        print(json.dumps([dataclasses.asdict(entry) for entry in entries],
                         indent=2))
        return
    for entry in entries:
        print(entry)
    print(f"'mmkgc train countries' is {lib.DEFAULT_MODEL}/countries")


def main(argv: Sequence[str] | None = None) -> int:
    r"""Runs one command.

    Args:
        argv (list, optional): The arguments, without the program's name.

    Returns:
        The exit status: 0, 2 for bad input, 130 when interrupted.
    """
    args = _parser().parse_args(argv)
    try:
        args.call(args)
    except BrokenPipeError:  # The reader, such as `head`, has enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (MMKGCError, OSError) as error:
        if args.debug:
            raise
        print(f'mmkgc: error: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == '__main__':
    sys.exit(main())
