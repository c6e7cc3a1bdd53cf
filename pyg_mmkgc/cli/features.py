r"""``mmkgc features``."""
from __future__ import annotations

import argparse
import sys
from typing import Any

from pyg_mmkgc.cli import options
from pyg_mmkgc.cli.output import show
from pyg_mmkgc.errors import Terminated

# Written out, since importing the encoders takes seconds.
ENCODERS = {
    'image': 'vgg16, beit, clip, siglip, dinov2, descriptor (without '
             'weights), or timm:MODEL or transformers:MODEL, where MODEL is a '
             'name or a folder',
    'text': 'bert, sentence-bert, hashing (without weights), or bert:MODEL '
            'or sentence-transformers:MODEL or word-pieces:MODEL, where MODEL '
            'is a name or a folder',
}


def add(commands: Any) -> None:
    r"""Adds the command."""
    group = commands.add_parser(
        'features', help='extract features from images, texts and numbers',
        description='Extracts features from images, texts and numbers, for '
        "the key 'features' of a dataset or for the folder of a benchmark. "
        'The same command continues an interrupted run.').add_subparsers(
            dest='what', required=True, metavar='WHAT')
    table = "a .tsv, .csv or .jsonl with the columns 'entity'"
    for kind, metavar, source in [
        ('image', 'FOLDER|TABLE', 'a folder with one subfolder of images per '
         f"entity, or {table} and 'image' (a path)"),
        ('text', 'TABLE', f"{table} and 'text'"),
    ]:
        sub = group.add_parser(
            f'{kind}s', parents=[_common(), _encoding(), options.data(),
                                 options.device()],
            help=f'encode {kind}s')
        sub.add_argument('source', metavar=metavar, help=source)
        sub.add_argument('--encoder', required=True, metavar='NAME',
                         help=ENCODERS[kind])
        if kind == 'image':
            sub.add_argument('--root', metavar='DIR', help='the folder that '
                             "paths are relative to (default: the table's)")
        sub.set_defaults(call=extract, kind=kind, root=None)

    sub = group.add_parser('numbers', parents=[_common(), options.data()],
                           help='standardize numbers and dates')
    sub.add_argument('source', metavar='TABLE', help=f"{table}, 'attribute' "
                     "and 'value' (a number or a date)")
    sub.set_defaults(call=extract_numbers, kind='number', root=None)

    sub = group.add_parser(
        'inspect', help='show coverage, norms, duplicates, dead channels and '
        'neighbours, and plot them')
    sub.add_argument('folder', metavar='DIR', help='the folder of features')
    sub.add_argument('--entity', nargs='+', metavar='LABEL',
                     help='the nodes whose neighbours are shown (default: '
                     'six nodes)')
    sub.add_argument('--output', metavar='FILE',
                     help='the picture (default: DIR/inspect.png)')
    sub.add_argument('--source', metavar='FOLDER|TABLE',
                     help='the current path of the images or texts')
    sub.add_argument('--debug', action='store_true',
                     help='show the traceback of an error')
    sub.set_defaults(call=inspect)


def _common() -> argparse.ArgumentParser:
    out = argparse.ArgumentParser(add_help=False)
    out.add_argument('--out', metavar='DIR',
                     help='the folder of the features (default: the path of a '
                     'table without its suffix)')
    out.add_argument('--graph', metavar='NAME|FILE',
                     help="the graph of the entities, as for 'mmkgc train', "
                     'or a .txt file with one label per line (default: every '
                     'entity is a node)')
    out.add_argument('--match', choices=['label', 'id'], default='label',
                     help='whether entities are labels or ids of nodes '
                     '(label)')
    out.add_argument('--no-header', action='store_true',
                     help='the table has no header, and only the required '
                     'columns, in this order')
    out.add_argument('--dtype', choices=['float32', 'float16', 'bfloat16'],
                     default='float32', help='data type to store (float32)')
    return out


def _encoding() -> argparse.ArgumentParser:
    out = argparse.ArgumentParser(add_help=False)
    out.add_argument('--revision', help='the version of the weights')
    out.add_argument('--pool', choices=['mean', 'all'], default='mean',
                     help='store the mean over the images or texts of an '
                     'entity, or all of them, as for IKRL (mean)')
    out.add_argument('--batch-size', type=int, default=32,
                     help='images or texts per batch (32)')
    out.add_argument('--workers', type=int, default=2,
                     help='number of processes that read and prepare (2)')
    out.add_argument('--quiet', action='store_true', help='no progress bar')
    return out


def extract(args: argparse.Namespace) -> None:
    r"""Runs ``mmkgc features images`` and ``texts``."""
    from pyg_mmkgc.runs import extract_features, table_folder

    out = args.out or table_folder(args.source)
    try:
        coverage = extract_features(
            _source(args), args.encoder, out, args.pool, args.dtype,
            args.batch_size, args.workers, args.device, args.revision,
            progress=not args.quiet)
    except (KeyboardInterrupt, Terminated):
        print('\ninterrupted; to continue: the same command',
              file=sys.stderr)
        raise
    show(coverage)
    show(f'features: {out}')


def extract_numbers(args: argparse.Namespace) -> None:
    r"""Runs ``mmkgc features numbers``."""
    from pyg_mmkgc.runs import extract_number_features, table_folder

    out = args.out or table_folder(args.source)
    show(extract_number_features(_source(args), out, args.dtype))
    show(f'features: {out}')


def _source(args: argparse.Namespace) -> Any:
    from pyg_mmkgc.runs import FeatureSource

    return FeatureSource(
        args.kind, args.source, args.root, not args.no_header, args.graph,
        args.data_root, args.match)


def inspect(args: argparse.Namespace) -> None:
    r"""Runs ``mmkgc features inspect``."""
    from pyg_mmkgc.runs import inspect_folder

    show(inspect_folder(args.folder, args.entity, args.output, args.source))
