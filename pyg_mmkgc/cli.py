r"""The command line: parse, build, call."""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from pyg_mmkgc import config as lib
from pyg_mmkgc.errors import (
    ConfigError,
    MMKGCError,
    Terminated,
    is_out_of_memory,
    printable,
)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='mmkgc', description='Multi-modal knowledge graph completion.')
    commands = parser.add_subparsers(dest='command', required=True,
                                     metavar='COMMAND')
    config = argparse.ArgumentParser(add_help=False)
    config.add_argument('--set', nargs='+', action='extend', default=[],
                        metavar='KEY=VALUE', dest='overrides',
                        help='set keys, as in training.epochs=100')
    data = argparse.ArgumentParser(add_help=False)
    data.add_argument('--data-root', metavar='DIR',
                      help="the folder of the dataset's files")
    data.add_argument('--debug', action='store_true',
                      help='show where in the code an error came up')
    device = argparse.ArgumentParser(add_help=False)
    device.add_argument('--device', help='cpu, cuda, cuda:1, ...')
    run = argparse.ArgumentParser(add_help=False)
    run.add_argument('run', metavar='RUN', help='the folder of a run')

    sub = commands.add_parser(
        'train', parents=[config, data, device],
        help='train a model, evaluate it, and leave all in one folder')
    sub.add_argument('name', metavar='NAME|FILE', nargs='?',
                     help="a dataset ('countries'), a model and a dataset "
                     "('rotate/mkg_w'), or a YAML file; see 'mmkgc models'")
    sub.add_argument('--output', metavar='DIR',
                     help='the new folder (default: runs/NAME-seedN)')
    sub.add_argument('--seed', type=int)
    sub.add_argument('--resume', metavar='RUN',
                     help='continue an interrupted run')
    sub.add_argument('--quiet', action='store_true', help='no progress bar')
    sub.set_defaults(call=_train)

    pretrained = argparse.ArgumentParser(add_help=False)
    pretrained.add_argument(
        '--model', metavar='NAME|FOLDER', help='a model that needs no '
        'training on the graph: ultra_3g, ultra_4g or ultra_50g, which are '
        "downloaded, 'neighbors', which compares features, or a folder of "
        'save_pretrained; then RUN is a graph, as '
        "for 'mmkgc train'")

    sub = commands.add_parser('evaluate',
                              parents=[run, pretrained, data, device],
                              help='rank the triples of a split')
    sub.add_argument('--split', default='test',
                     choices=['train', 'val', 'test'])
    sub.set_defaults(call=_evaluate)

    _add_answers(commands, pretrained, data, device)
    _add_compare(commands, data, device)

    sub = commands.add_parser('audit', parents=[config, data],
                              help='look for faults in a dataset')
    sub.add_argument('name', metavar='NAME|FILE', nargs='?')
    sub.set_defaults(call=_audit)

    sub = commands.add_parser(
        'profile', parents=[config, data, device],
        help='show where the time and memory of a training step go')
    sub.add_argument('name', metavar='NAME|FILE', nargs='?')
    sub.add_argument('--steps', type=int, default=10, help='how many (10)')
    sub.set_defaults(call=_profile)

    sub = commands.add_parser(
        'models', help='list models, samplers, adversaries and losses, with '
        'their papers and what to train them with')
    sub.add_argument('--json', action='store_true', help='as one JSON list')
    sub.set_defaults(call=_models, debug=False)

    sub = commands.add_parser(
        'features', help='make features of images, texts and numbers',
        description='Make features of images, texts and numbers, for the key '
        "'features' of a dataset or for the folder of a benchmark. An "
        'interrupted run goes on with the same command.')
    _add_features(sub.add_subparsers(dest='what', required=True,
                                     metavar='WHAT'), data, device)
    return parser


def _add_answers(commands: Any, *parents: argparse.ArgumentParser) -> None:
    model = argparse.ArgumentParser(add_help=False)
    model.add_argument('run', metavar='RUN|MODEL', help='the folder of a run, '
                       'or of a saved model, as RUN/model, which needs no '
                       'graph')
    note = 'a label, or an id if no label is a number'

    sub = commands.add_parser(
        'predict', parents=[model, *parents], help='complete triples',
        description='Completes a triple: give two of --head, --relation and '
        '--tail; or the triples of a file.')
    sub.add_argument('--head', help=note)
    sub.add_argument('--relation', help=note)
    sub.add_argument('--tail', help=note)
    sub.add_argument('--queries', metavar='FILE', help='lines of head, '
                     "relation and tail with tabs between, one of which is "
                     "'?'")
    sub.add_argument('--out', metavar='FILE', help='where the answers to '
                     '--queries go: .tsv, .jsonl or .parquet')
    sub.add_argument('-k', type=int, default=10, help='how many (10)')
    sub.add_argument('--new', action='store_true',
                     help='leave out the triples that are known already')
    sub.add_argument('--self-loops', action='store_true', help='keep the '
                     'given node among the answers, which is left out unless '
                     'a training triple of the relation is a loop')
    sub.add_argument('--new-entity', metavar='NAME', help='an entity that '
                     'came after training, which is the head unless --head '
                     'or --tail says otherwise; the model represents it by '
                     'its texts and images')
    sub.add_argument('--text', action='append', default=[],
                     metavar='[MODALITY=]TEXT', help='a text of the new '
                     'entity')
    sub.add_argument('--image', action='append', default=[],
                     metavar='[MODALITY=]FILE', help='an image of the new '
                     'entity')
    sub.add_argument('--encoder', action='append', default=[],
                     metavar='MODALITY=NAME', help='where the encoder of the '
                     'training is, if its name is not enough')
    sub.set_defaults(call=_predict)

    run = argparse.ArgumentParser(add_help=False)
    run.add_argument('run', metavar='RUN', help='the folder of a run')
    sub = commands.add_parser(
        'explain', parents=[run, *parents],
        help='show why a triple has its score')
    sub.add_argument('--head', required=True, help=note)
    sub.add_argument('--relation', required=True, help=note)
    sub.add_argument('--tail', required=True, help=note)
    sub.add_argument('-k', type=int, default=5,
                     help='how many similar training triples (5)')
    sub.add_argument('--json', action='store_true', help='as JSON')
    sub.add_argument('--plot', metavar='FILE', help='draw it, too')
    sub.set_defaults(call=_explain)

    sub = commands.add_parser('similar', parents=[model, *parents],
                              help='list the nodes most similar to one')
    sub.add_argument('node', metavar='NODE', help=note)
    sub.add_argument('-k', type=int, default=10, help='how many (10)')
    sub.set_defaults(call=_similar)

    sub = commands.add_parser(
        'export', parents=[model, *parents],
        help='write the embeddings of all nodes')
    sub.add_argument('--out', required=True, metavar='FILE|DIR',
                     help='.npz, .parquet, or a folder for the projector of '
                     'TensorBoard')
    sub.set_defaults(call=_export)


def _add_compare(commands: Any, *parents: argparse.ArgumentParser) -> None:
    sub = commands.add_parser(
        'compare', parents=parents, help='compare the results of runs',
        description='Compares the rankings of the test triples. Runs that '
        'differ in the seed only are the seeds of one method.')
    sub.add_argument('runs', nargs='+', metavar='RUN', help='the folders of '
                     'runs, or one .safetensors file with the reciprocal '
                     'ranks of several methods')
    sub.add_argument('--reference', metavar='NAME', help='the method that the '
                     'others are compared with (default: the first)')
    sub.add_argument('--latex', action='store_true', help='in LaTeX')
    sub.add_argument('--json', action='store_true', help='as JSON')
    sub.set_defaults(call=_compare)


def _add_features(commands: Any, data: argparse.ArgumentParser,
                  device: argparse.ArgumentParser) -> None:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument('--out', metavar='DIR',
                        help='the folder of the features (default: the path '
                        'of a table without its suffix)')
    common.add_argument('--graph', metavar='NAME|FILE',
                        help="whose nodes the entities are: as for 'mmkgc "
                        "train', or a file .txt with one label a line "
                        '(default: every entity is a node)')
    common.add_argument('--match', choices=['label', 'id'], default='label',
                        help='what entities are to the graph (label)')
    common.add_argument('--no-header', action='store_true',
                        help='the table has no header, but only the columns '
                        'that are read, in their order')
    common.add_argument('--dtype', choices=list(lib.DTYPES),
                        default='float32', help='the type to store (float32)')
    encoding = argparse.ArgumentParser(add_help=False)
    encoding.add_argument('--revision', help='the version of the weights')
    encoding.add_argument('--pool', choices=['mean', 'all'], default='mean',
                          help='keep the mean of all images or texts of an '
                          'entity, or all of them, as IKRL takes (mean)')
    encoding.add_argument('--batch-size', type=int, default=32,
                          help='images or texts per batch (32)')
    encoding.add_argument('--workers', type=int, default=2,
                          help='processes that read and prepare (2)')
    encoding.add_argument('--quiet', action='store_true',
                          help='no progress bar')

    table = "a .tsv, .csv or .jsonl with the columns 'entity'"
    for kind, metavar, source in [
        ('image', 'FOLDER|TABLE', 'a folder with one subfolder of images per '
         f"entity, or {table} and 'image', which is a path"),
        ('text', 'TABLE', f"{table} and 'text'"),
    ]:
        sub = commands.add_parser(
            f'{kind}s', parents=[common, encoding, data, device],
            help=f'encode {kind}s')
        sub.add_argument('source', metavar=metavar, help=source)
        sub.add_argument('--encoder', required=True, metavar='NAME',
                         help=lib.encoder_help(kind))
        if kind == 'image':
            sub.add_argument('--root', metavar='DIR', help='the folder that '
                             "paths are relative to (default: the table's)")
        sub.set_defaults(call=_features, kind=kind, root=None)

    sub = commands.add_parser('numbers', parents=[common, data],
                              help='standardize numbers and dates')
    sub.add_argument('source', metavar='TABLE', help=f"{table}, 'attribute' "
                     "and 'value', which is a number or a date")
    sub.set_defaults(call=_numbers, kind='number', root=None)

    sub = commands.add_parser(
        'inspect', help='show coverage, norms, duplicates, dead channels and '
        'neighbours, the latter in one picture')
    sub.add_argument('folder', metavar='DIR', help='the folder of features')
    sub.add_argument('--entity', nargs='+', metavar='LABEL',
                     help='whose neighbours to show (default: six nodes)')
    sub.add_argument('--output', metavar='FILE',
                     help='the picture (default: DIR/inspect.png)')
    sub.add_argument('--source', metavar='FOLDER|TABLE',
                     help='where the images or texts are now')
    sub.add_argument('--debug', action='store_true',
                     help='show where in the code an error came up')
    sub.set_defaults(call=_inspect)


def _train(args: argparse.Namespace) -> None:
    if (args.name is None) == (args.resume is None):
        raise ConfigError('expected either what to train or --resume RUN')
    if args.resume is not None:
        given = [flag for flag, value in [
            ('--set', args.overrides), ('--output', args.output),
            ('--seed', args.seed)] if value not in (None, [])]
        if given:
            raise ConfigError(f'{given[0]} cannot change a run that is '
                              'resumed')
        run = lib.Run.open(args.resume, args.data_root, args.device)
    else:
        overrides = list(args.overrides)
        if args.seed is not None:
            overrides.append(f'training.seed={args.seed}')
        run = lib.Run.create(args.name, overrides, args.output,
                             args.data_root, args.device)
    try:
        result = run.train(progress=not args.quiet)
    except (KeyboardInterrupt, Terminated):
        print(f'\ninterrupted; to continue: mmkgc train --resume '
              f'{run.folder}', file=sys.stderr)
        raise
    _print('no test triples to evaluate on' if result is None else result)
    _print(f'run: {run.folder}')


def _evaluate(args: argparse.Namespace) -> None:
    run = (lib.Run.open(args.run, args.data_root, args.device)
           if args.model is None else lib.PretrainedRun(
               args.run, args.model, args.data_root, args.device))
    _print(run.evaluate(args.split))


def _open(args: argparse.Namespace, triples: bool = False) -> lib.Answers:
    if args.model is None:
        return lib.open_answers(args.run, args.data_root, args.device,
                                triples)
    return lib.PretrainedRun(args.run, args.model, args.data_root,
                             args.device).answers()


def _predict(args: argparse.Namespace) -> None:
    if args.new_entity is None and (args.text or args.image or args.encoder):
        raise ConfigError('--text, --image and --encoder describe the entity '
                          'of --new-entity NAME')
    asked = [args.head, args.relation, args.tail]
    if args.new_entity is not None and args.queries is None and (
            asked.count(None) == 2):
        place = 0 if args.head is None else 2
        asked[place] = args.new_entity
    if args.queries is None and args.out is not None:
        raise ConfigError('--out needs the file of --queries; a single answer '
                          'is printed')
    if args.queries is not None:
        if asked != [None] * 3 or args.out is None:
            raise ConfigError('--queries needs --out, and no --head, '
                              '--relation or --tail')
    elif asked.count(None) != 1:
        raise ConfigError('expected two of --head, --relation and --tail, or '
                          '--queries')
    answers = _open(args)
    if args.new_entity is not None:
        answers.add_entity(args.new_entity, args.text, args.image,
                           args.encoder, args.device)
    if args.queries is not None:
        count = answers.predict_file(args.queries, args.out, args.k, args.new,
                                     args.self_loops)
        _print(f'answers to {count:,} queries: {args.out}')
        return
    _print(answers.predict(asked[0], asked[1], asked[2], args.k, args.new,
                           args.self_loops))


def _explain(args: argparse.Namespace) -> None:
    answers = _open(args, triples=True)
    found = answers.explain(args.head, args.relation, args.tail, args.k)
    _print(json.dumps(found.to_dict(), indent=2, ensure_ascii=False)
           if args.json else found)
    if args.plot is not None:
        lib.plot_explanation(found, args.plot)


def _similar(args: argparse.Namespace) -> None:
    _print(_open(args).most_similar(args.node, args.k))


def _export(args: argparse.Namespace) -> None:
    answers = _open(args)
    answers.export(args.out)
    _print(f'embeddings: {args.out}')


def _compare(args: argparse.Namespace) -> None:
    found = lib.compare_paths(args.runs, args.reference, args.data_root,
                              args.device)
    if args.json:
        _print(json.dumps(found.to_dict(), indent=2, ensure_ascii=False))
    else:
        _print(found.to_latex() if args.latex else found)


def _audit(args: argparse.Namespace) -> None:
    config = lib.load_config(_name_of(args), args.overrides)
    _print(lib.build_graph(config, args.data_root).audit())


def _profile(args: argparse.Namespace) -> None:
    _print(lib.profile_config(_name_of(args), args.overrides, args.steps,
                             args.data_root, args.device))


def _name_of(args: argparse.Namespace) -> str:
    if args.name is None:
        raise ConfigError(f'expected NAME|FILE, what to {args.command}')
    return str(args.name)


def _models(args: argparse.Namespace) -> None:
    entries = lib.catalogue()
    if args.json:
        print(json.dumps([dataclasses.asdict(entry) for entry in entries],
                         indent=2))
        return
    for entry in entries:
        print(entry)
    print(f"'mmkgc train countries' is {lib.DEFAULT_MODEL}/countries")


def _features(args: argparse.Namespace) -> None:
    out = args.out or lib.table_folder(args.source)
    try:
        coverage = lib.extract_features(
            _source_of(args), args.encoder, out, args.pool, args.dtype,
            args.batch_size, args.workers, args.device, args.revision,
            progress=not args.quiet)
    except (KeyboardInterrupt, Terminated):
        print('\ninterrupted; to continue: the same command',
              file=sys.stderr)
        raise
    _print(coverage)
    _print(f'features: {out}')


def _numbers(args: argparse.Namespace) -> None:
    out = args.out or lib.table_folder(args.source)
    _print(lib.extract_number_features(_source_of(args), out, args.dtype))
    _print(f'features: {out}')


def _source_of(args: argparse.Namespace) -> lib.FeatureSource:
    return lib.FeatureSource(
        args.kind, args.source, args.root, not args.no_header, args.graph,
        args.data_root, args.match)


def _inspect(args: argparse.Namespace) -> None:
    _print(lib.inspect_folder(args.folder, args.entity, args.output,
                             args.source))


def _print(value: Any) -> None:
    # Names of files and modalities may be anybody's.
    print(printable(str(value), lines=True))


def main(argv: Sequence[str] | None = None) -> int:
    r"""Runs one command.

    Args:
        argv (list, optional): The arguments, without the program's name.

    Returns:
        The exit status: 0, 2 for bad input, 130 when interrupted, 143 after
        SIGTERM, 129 after SIGHUP.
    """
    for stream in (sys.stdout, sys.stderr):  # Labels may be in any script.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors='backslashreplace')
    args = _parser().parse_args(argv)
    overrides = getattr(args, 'overrides', [])
    if overrides and args.name is None and '=' not in overrides[-1]:
        args.name = overrides.pop()  # As in '--set KEY=VALUE NAME'.
    try:
        with lib.catch_signals(immediate=True):
            args.call(args)
    except Terminated as error:
        return 128 + error.signal
    except BrokenPipeError:  # The reader, such as `head`, has enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (MMKGCError, OSError) as error:
        if args.debug:
            raise
        print(printable(f'mmkgc: error: {error}', lines=True),
              file=sys.stderr)
        return 2
    except (MemoryError, RuntimeError) as error:
        if args.debug or not is_out_of_memory(error):
            raise
        print('mmkgc: error: out of memory: a smaller training.batch_size, '
              f'sampler.num_negatives or model.hidden_channels needs less '
              f'({error})', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0
