r"""``mmkgc evaluate``."""
from __future__ import annotations

import argparse
from typing import Any

from pyg_mmkgc.cli import options
from pyg_mmkgc.cli.output import show


def add(commands: Any) -> None:
    r"""Adds the command."""
    sub = commands.add_parser(
        'evaluate', parents=[options.run(), options.pretrained(),
                             options.data(), options.device()],
        help='rank the triples of a split')
    sub.add_argument('--split', default='test',
                     choices=['train', 'val', 'test'])
    sub.set_defaults(call=call)


def call(args: argparse.Namespace) -> None:
    r"""Runs the command."""
    from pyg_mmkgc.runs import PretrainedRun, Run

    run = (Run.open(args.run, args.data_root, args.device)
           if args.model is None else
           PretrainedRun(args.run, args.model, args.data_root, args.device))
    show(run.evaluate(args.split))
