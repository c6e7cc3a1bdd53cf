r"""``mmkgc ensemble``."""
from __future__ import annotations

import argparse
from typing import Any

from pyg_mmkgc.cli import options
from pyg_mmkgc.cli.output import show


def add(commands: Any) -> None:
    r"""Adds the command."""
    sub = commands.add_parser(
        'ensemble', parents=[options.data(), options.device()],
        help='combine trained models',
        description='Learns the weights of several models on validation '
        'triples, evaluates their weighted sum on test triples, and writes a '
        'folder that other commands accept like a run.')
    sub.add_argument('members', nargs='+', metavar='RUN|NAME|FOLDER',
                     help='the folders of runs, the first of which has the '
                     'graph, and models that need no training, as for --model '
                     "of 'mmkgc evaluate'")
    sub.add_argument('--output', metavar='FOLDER', required=True,
                     help='the new folder')
    sub.add_argument('--per', choices=['relation', 'graph'],
                     default='relation', help='weights for each relation, '
                     'shrunk towards common weights, or common weights only '
                     '(relation)')
    sub.add_argument('--queries', type=int, metavar='N', help='learn from a '
                     'sample of the queries of validation triples (all)')
    sub.add_argument('--seed', type=int, default=0,
                     help='the seed of the sample (0)')
    sub.set_defaults(call=call)


def call(args: argparse.Namespace) -> None:
    r"""Runs the command."""
    from pyg_mmkgc.runs import EnsembleRun

    run, fit = EnsembleRun.combine(args.members, args.output, args.per,
                                   args.queries, args.seed, args.data_root,
                                   args.device)
    show(fit)
    if 'test' in run.graph.splits():
        show(run.rankings())
    show(f'ensemble: {run.folder}')
