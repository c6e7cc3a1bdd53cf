r"""``mmkgc explore``."""
from __future__ import annotations

import argparse
from typing import Any

from pyg_mmkgc.cli import options
from pyg_mmkgc.cli.output import show
from pyg_mmkgc.errors import ConfigError


def add(commands: Any) -> None:
    r"""Adds the command."""
    sub = commands.add_parser(
        'explore', parents=[options.data(), options.device()],
        help='show a graph and its predictions on a page in the browser',
        description='Shows a graph and its predictions on a page in the '
        'browser of this machine, or writes it as a site of files.')
    sub.add_argument('models', nargs='+', metavar='RUN|MODEL',
                     help='the folder of a run or of a saved model; pass two '
                     'to compare them')
    sub.add_argument('--kg', metavar='NAME|FILE', help='the graph of saved '
                     "models, as for 'mmkgc train'; MODEL may then also be "
                     'ultra_3g, ultra_4g or ultra_50g')
    sub.add_argument('--images', metavar='FOLDER|TABLE', help='images to '
                     "show, as for 'mmkgc features images'")
    sub.add_argument('--texts', metavar='TABLE', help="texts to show, as for "
                     "'mmkgc features texts'")
    sub.add_argument('--port', type=int, default=8765,
                     help='the port on 127.0.0.1, 0 for any free port (8765)')
    sub.add_argument('--export', metavar='FOLDER', help='write a site of '
                     'files instead, for any web server')
    sub.add_argument('--queries', metavar='FILE', help='the questions that '
                     "--export answers, as for 'mmkgc predict' (default: "
                     'one for each frequent relation)')
    sub.add_argument('-k', type=int, default=10,
                     help='number of answers that --export writes (10)')
    sub.set_defaults(call=call)


def call(args: argparse.Namespace) -> None:
    r"""Runs the command."""
    if args.export is None and args.queries is not None:
        raise ConfigError('Expected --export with --queries (got no '
                          '--export). The page answers any question.')
    from pyg_mmkgc import explore

    def opened() -> explore.Explorer:
        return explore.open_explorer(args.models, args.kg, args.data_root,
                                     args.device, args.images, args.texts)

    if args.export is None:
        explore.serve(opened, args.port, ' and '.join(args.models))
        return
    queries = (None if args.queries is None else
               explore.read_queries(args.queries))
    count = explore.export_site(opened(), args.export, queries, args.k)
    show(f'{count:,} pages: {args.export}')
