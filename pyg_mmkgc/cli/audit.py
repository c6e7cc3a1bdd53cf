r"""``mmkgc audit``."""
from __future__ import annotations

import argparse
from typing import Any

from pyg_mmkgc.cli import options
from pyg_mmkgc.cli.output import show


def add(commands: Any) -> None:
    r"""Adds the command."""
    sub = commands.add_parser(
        'audit', parents=[options.config(), options.data()],
        help='check a dataset for duplicates, leakage and other flaws')
    sub.add_argument('name', metavar='NAME|FILE', nargs='?')
    sub.set_defaults(call=call)


def call(args: argparse.Namespace) -> None:
    r"""Runs the command."""
    from pyg_mmkgc.config import check_config

    check_config(options.name_of(args), args.overrides)
    from pyg_mmkgc.config import build_graph, load_config

    config = load_config(args.name, args.overrides)
    show(build_graph(config, args.data_root).audit())
