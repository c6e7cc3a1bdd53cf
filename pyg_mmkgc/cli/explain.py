r"""``mmkgc explain``."""
from __future__ import annotations

import argparse
from typing import Any

from pyg_mmkgc.cli import options
from pyg_mmkgc.cli.answers import open_model
from pyg_mmkgc.cli.output import show, show_json


def add(commands: Any) -> None:
    r"""Adds the command."""
    sub = commands.add_parser(
        'explain', parents=[options.run(), options.pretrained(),
                            options.data(), options.device()],
        help='show why a triple has its score')
    sub.add_argument('--head', required=True, help=options.LABEL)
    sub.add_argument('--relation', required=True, help=options.LABEL)
    sub.add_argument('--tail', required=True, help=options.LABEL)
    sub.add_argument('-k', type=int, default=5,
                     help='number of similar training triples (5)')
    sub.add_argument('--json', action='store_true', help='as JSON')
    sub.add_argument('--plot', metavar='FILE', help='write a plot as well')
    sub.set_defaults(call=call)


def call(args: argparse.Namespace) -> None:
    r"""Runs the command."""
    from pyg_mmkgc.visualization import plot_explanation

    answers = open_model(args, triples=True)
    found = answers.explain(args.head, args.relation, args.tail, args.k)
    if args.json:
        show_json(found.to_dict())
    else:
        show(found)
    if args.plot is not None:
        plot_explanation(found, args.plot)
