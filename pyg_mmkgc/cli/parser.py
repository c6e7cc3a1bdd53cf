r"""The parser of the command line."""
from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Sequence
from typing import Any, Optional

from pyg_mmkgc import __version__
from pyg_mmkgc.cli import (
    audit,
    compare,
    completion,
    ensemble,
    evaluate,
    explain,
    explore,
    export,
    features,
    models,
    predict,
    profile,
    search,
    similar,
    train,
)


class Parser(argparse.ArgumentParser):
    r"""A parser that suggests the nearest command if a command is unknown."""
    commands: Any = None

    def add_subparsers(self, **kwargs: Any) -> Any:
        self.commands = super().add_subparsers(**kwargs)
        return self.commands

    def parse_known_args(  # type: ignore[override]
            self, args: Optional[Sequence[str]] = None,
            namespace: Any = None) -> Any:
        given = list(sys.argv[1:] if args is None else args)
        if self.commands is not None and given and (
                not given[0].startswith('-')
                and given[0] not in self.commands.choices):
            valid = list(self.commands.choices)
            close = difflib.get_close_matches(given[0], valid, 1, 0.5)
            hint = f" Did you mean '{close[0]}'?" if close else ''
            self.error(f'Expected {self.commands.metavar} to be one of '
                       f"{', '.join(valid)} (got {given[0]!r:.60}).{hint}")
        return super().parse_known_args(given, namespace)


def make_parser() -> argparse.ArgumentParser:
    r"""Returns the parser of ``mmkgc``. Every command is a module with a
    function :obj:`add`, and delays its imports until it is run.
    """
    parser = Parser(
        prog='mmkgc', description='Multi-modal knowledge graph completion.')
    parser.add_argument('--version', action='version',
                        version=f'mmkgc {__version__}')
    commands = parser.add_subparsers(dest='command', required=True,
                                     metavar='COMMAND')
    for command in (train, ensemble, search, evaluate, predict, explain,
                    similar, explore, export, compare, audit, profile, models,
                    features, completion):
        command.add(commands)
    return parser
