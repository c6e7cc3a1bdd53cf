r"""``mmkgc predict``."""
from __future__ import annotations

import argparse
from typing import Any

from pyg_mmkgc.cli import options
from pyg_mmkgc.cli.answers import open_model
from pyg_mmkgc.cli.output import show
from pyg_mmkgc.errors import ConfigError


def add(commands: Any) -> None:
    r"""Adds the command."""
    sub = commands.add_parser(
        'predict', parents=[options.run_or_model(), options.pretrained(),
                            options.data(), options.device()],
        help='complete triples',
        description='Completes a triple, given two of --head, --relation and '
        '--tail, or the triples of a file.')
    sub.add_argument('--head', help=options.LABEL)
    sub.add_argument('--relation', help=options.LABEL)
    sub.add_argument('--tail', help=options.LABEL)
    sub.add_argument('--queries', metavar='FILE', help='a file with head, '
                     "relation and tail per line, separated by tabs, one of "
                     "which is '?'")
    sub.add_argument('--out', metavar='FILE', help='the file for the answers '
                     'to --queries: .tsv, .jsonl or .parquet')
    sub.add_argument('-k', type=int, default=10, help='number of answers (10)')
    sub.add_argument('--new', action='store_true',
                     help='leave out answers that are known triples')
    sub.add_argument('--self-loops', action='store_true', help='keep the '
                     'given node among the answers (default: only if the '
                     'relation has a self-loop in training)')
    sub.add_argument('--new-entity', metavar='NAME', help='an entity to add '
                     'after training, represented by its texts and images; it '
                     'is the head unless --head or --tail is given')
    sub.add_argument('--text', action='append', default=[],
                     metavar='[MODALITY=]TEXT', help='a text of the new '
                     'entity')
    sub.add_argument('--image', action='append', default=[],
                     metavar='[MODALITY=]FILE', help='an image of the new '
                     'entity')
    sub.add_argument('--encoder', action='append', default=[],
                     metavar='MODALITY=NAME', help='the encoder of a '
                     'modality, if its stored name does not locate it')
    sub.set_defaults(call=call)


def call(args: argparse.Namespace) -> None:
    r"""Runs the command."""
    if args.new_entity is None and (args.text or args.image or args.encoder):
        raise ConfigError('Expected --new-entity NAME with --text, --image '
                          'and --encoder (got none)')
    asked = [args.head, args.relation, args.tail]
    if args.new_entity is not None and args.queries is None and (
            asked.count(None) == 2):
        place = 0 if args.head is None else 2
        asked[place] = args.new_entity
    if (args.queries is None) != (args.out is None):
        one, other = (('--queries', '--out') if args.queries is None else
                      ('--out', '--queries'))
        raise ConfigError(f'Expected {one} with {other} (got none). A single '
                          'answer is printed.')
    given = 3 - asked.count(None)
    if args.queries is not None and given > 0:
        raise ConfigError('Expected no --head, --relation or --tail with '
                          f'--queries (got {given} of them)')
    if args.queries is None and given != 2:
        raise ConfigError('Expected two of --head, --relation and --tail, or '
                          f'--queries (got {given})')
    answers = open_model(args)
    if args.new_entity is not None:
        answers.add_entity(args.new_entity, args.text, args.image,
                           args.encoder, args.device)
    if args.queries is not None:
        count = answers.predict_file(args.queries, args.out, args.k, args.new,
                                     args.self_loops)
        show(f'answers to {count:,} queries: {args.out}')
        return
    show(answers.predict(asked[0], asked[1], asked[2], args.k, args.new,
                         args.self_loops))
