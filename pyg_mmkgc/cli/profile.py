r"""``mmkgc profile``."""
from __future__ import annotations

import argparse
from typing import Any

from pyg_mmkgc.cli import options
from pyg_mmkgc.cli.output import show


def add(commands: Any) -> None:
    r"""Adds the command."""
    sub = commands.add_parser(
        'profile', parents=[options.config(), options.data(),
                            options.device()],
        help='show the time and memory of the parts of a training step')
    sub.add_argument('name', metavar='NAME|FILE', nargs='?')
    sub.add_argument('--steps', type=int, default=10, help='number of '
                     'steps (10)')
    sub.set_defaults(call=call)


def call(args: argparse.Namespace) -> None:
    r"""Runs the command."""
    from pyg_mmkgc.config import check_config

    check_config(options.name_of(args), args.overrides)
    from pyg_mmkgc.runs import profile_config

    show(profile_config(args.name, args.overrides, args.steps,
                        args.data_root, args.device))
