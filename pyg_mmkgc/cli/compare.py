r"""``mmkgc compare``."""
from __future__ import annotations

import argparse
from typing import Any

from pyg_mmkgc.cli import options
from pyg_mmkgc.cli.output import show, show_json


def add(commands: Any) -> None:
    r"""Adds the command."""
    sub = commands.add_parser(
        'compare', parents=[options.data(), options.device()],
        help='compare the results of runs',
        description='Compares the rankings of the test triples. Runs that '
        'differ only in their seed are the seeds of one method.')
    sub.add_argument('runs', nargs='+', metavar='RUN', help='the folders of '
                     'runs, or one .safetensors file with the reciprocal '
                     'ranks of several methods')
    sub.add_argument('--reference', metavar='NAME', help='the method that the '
                     'others are compared with (default: the first)')
    sub.add_argument('--latex', action='store_true', help='in LaTeX')
    sub.add_argument('--json', action='store_true', help='as JSON')
    sub.set_defaults(call=call)


def call(args: argparse.Namespace) -> None:
    r"""Runs the command."""
    from pyg_mmkgc.runs import compare_paths

    found = compare_paths(args.runs, args.reference, args.data_root,
                          args.device)
    if args.json:
        show_json(found.to_dict())
    else:
        show(found.to_latex() if args.latex else found)
