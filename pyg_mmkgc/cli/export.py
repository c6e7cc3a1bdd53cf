r"""``mmkgc export``."""
from __future__ import annotations

import argparse
from typing import Any

from pyg_mmkgc.cli import options
from pyg_mmkgc.cli.answers import open_model
from pyg_mmkgc.cli.output import show


def add(commands: Any) -> None:
    r"""Adds the command."""
    sub = commands.add_parser(
        'export', parents=[options.run_or_model(), options.pretrained(),
                           options.data(), options.device()],
        help='write the embeddings of all nodes')
    sub.add_argument('--out', required=True, metavar='FILE|DIR',
                     help='.npz, .parquet, or a folder for the projector of '
                     'TensorBoard')
    sub.set_defaults(call=call)


def call(args: argparse.Namespace) -> None:
    r"""Runs the command."""
    open_model(args).export(args.out)
    show(f'embeddings: {args.out}')
