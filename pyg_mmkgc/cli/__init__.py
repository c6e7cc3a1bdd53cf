r"""The command line: parse, build, call. Every command is a module here."""
from __future__ import annotations

import argparse
import io
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pyg_mmkgc.cli.parser import make_parser
from pyg_mmkgc.errors import (
    MMKGCError,
    Terminated,
    is_out_of_memory,
    printable,
)
from pyg_mmkgc.termination import catch_signals


def main(argv: Sequence[str] | None = None) -> int:
    r"""Runs one command.

    Args:
        argv (list, optional): The arguments, without the program's name.
            (default: :obj:`None`)

    Returns:
        The exit status: 0, 2 for bad input, 130 when interrupted, 143 after
        SIGTERM, 129 after SIGHUP.
    """
    for stream in (sys.stdout, sys.stderr):  # Labels may be in any script.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors='backslashreplace')
    args = make_parser().parse_args(argv)
    with _plain_warnings():
        return _run(args)


@contextmanager
def _plain_warnings() -> Iterator[None]:
    # Omits the line of code, which is of no use on a command line.
    def plain(message: Warning | str, *args: Any, **kwargs: Any) -> str:
        return printable(f'mmkgc: warning: {message}\n', lines=True)

    before = warnings.formatwarning
    warnings.formatwarning = plain
    try:
        yield
    finally:
        warnings.formatwarning = before


def _run(args: argparse.Namespace) -> int:
    overrides = getattr(args, 'overrides', [])
    if overrides and args.name is None and '=' not in overrides[-1]:
        args.name = overrides.pop()  # As in '--set KEY=VALUE NAME'.
    try:
        with catch_signals(immediate=True):
            args.call(args)
    except Terminated as error:
        return 128 + error.signal
    except BrokenPipeError:  # The reader, such as `head`, closed the pipe.
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
        print('mmkgc: error: out of memory: reduce training.batch_size, '
              f'sampler.num_negatives or model.hidden_channels '
              f'({error})', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0
