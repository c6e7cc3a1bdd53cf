r"""``mmkgc completion``."""
from __future__ import annotations

import argparse
from typing import Any

from pyg_mmkgc.errors import MMKGCError

SHELLS = ('bash', 'zsh', 'tcsh')
# What an argument stands for, by the words of its metavar.
FILES = {'FILE', 'TABLE', 'MODEL', 'RUN', 'FOLDER', 'DIR'}


def add(commands: Any) -> None:
    r"""Adds the command."""
    sub = commands.add_parser(
        'completion', help='print a script that completes commands by the '
        'tab key', description='Prints a script for a shell. For bash: '
        'mmkgc completion bash > ~/.local/share/bash-completion/completions/'
        'mmkgc')
    sub.add_argument('shell', choices=SHELLS)
    sub.set_defaults(call=call, debug=False)


def call(args: argparse.Namespace) -> None:
    r"""Runs the command."""
    try:
        import shtab
    except ImportError as error:
        raise MMKGCError("Expected 'shtab' to be installed for tab "
                         'completion. Run: pip install shtab') from error
    # The parser knows this module.
    from pyg_mmkgc.cli.parser import make_parser

    parser = make_parser()
    _complete_files(parser, shtab)
    print(shtab.complete(parser, args.shell))


def _complete_files(parser: Any, shtab: Any) -> None:
    for action in parser._actions:
        words = set(str(action.metavar or '').split('|'))
        if isinstance(action.choices, dict):  # The parsers of commands.
            for sub in action.choices.values():
                _complete_files(sub, shtab)
        elif words & FILES:
            action.complete = (shtab.DIRECTORY if words <= {'RUN', 'DIR'}
                               else shtab.FILE)
