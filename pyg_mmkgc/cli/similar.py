r"""``mmkgc similar``."""
from __future__ import annotations

import argparse
from typing import Any

from pyg_mmkgc.cli import options
from pyg_mmkgc.cli.answers import open_model
from pyg_mmkgc.cli.output import show


def add(commands: Any) -> None:
    r"""Adds the command."""
    sub = commands.add_parser(
        'similar', parents=[options.run_or_model(), options.pretrained(),
                            options.data(), options.device()],
        help='list the nodes that are most similar to a node')
    sub.add_argument('node', metavar='NODE', help=options.LABEL)
    sub.add_argument('-k', type=int, default=10, help='number of nodes (10)')
    sub.set_defaults(call=call)


def call(args: argparse.Namespace) -> None:
    r"""Runs the command."""
    show(open_model(args).most_similar(args.node, args.k))
