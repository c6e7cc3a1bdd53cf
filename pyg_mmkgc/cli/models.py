r"""``mmkgc models``."""
from __future__ import annotations

import argparse
import dataclasses
import json
from typing import Any


def add(commands: Any) -> None:
    r"""Adds the command."""
    sub = commands.add_parser(
        'models', help='list models, samplers, adversaries and losses, with '
        'their papers and configurations')
    sub.add_argument('--json', action='store_true', help='print a JSON list')
    sub.set_defaults(call=call, debug=False)


def call(args: argparse.Namespace) -> None:
    r"""Runs the command."""
    from pyg_mmkgc.config import DEFAULT_MODEL, catalogue

    entries = catalogue()
    if args.json:
        print(json.dumps([dataclasses.asdict(entry) for entry in entries],
                         indent=2))
        return
    for entry in entries:
        print(entry)
    print(f"'mmkgc train countries' is {DEFAULT_MODEL}/countries")
