"""The defaults behind ``--budget``."""

from __future__ import annotations

import argparse
import fnmatch
from typing import NamedTuple


class Budget(NamedTuple):
    """Defaults that options of the command line override."""

    seeds: list[int]
    trials: int
    epochs: int | None  # None: the value of the configuration.


BUDGETS = {
    'full': Budget([0, 1, 2], 6, None),
    'quick': Budget([0], 1, 8),
    'smoke': Budget([0], 1, 2),
}


def apply_budget(args: argparse.Namespace) -> None:
    """Fills in the seeds and the number of trials."""
    budget = BUDGETS[args.budget]
    if args.seeds is None:
        args.seeds = budget.seeds
    if args.trials is None:
        args.trials = budget.trials


def settings(args: argparse.Namespace, row: str) -> tuple[str, ...]:
    """Returns the overrides for the cells of a row, from ``--budget`` and
    ``--set``.

    An item ``PATTERN:KEY=VALUE`` of ``--set`` applies to the rows that match.
    """
    epochs = BUDGETS[args.budget].epochs
    out = [] if epochs is None else [
        f'training.epochs={epochs}',
        f'training.valid_every={max(1, epochs // 2)}']
    for item in args.set:
        key = item.partition('=')[0]
        pattern, colon, _ = key.partition(':')
        if not colon:
            out.append(item)
        elif fnmatch.fnmatch(row, pattern):
            out.append(item[len(pattern) + 1:])
    return tuple(out)
