"""Random search over the few settings of a method that matter most."""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from study.budgets import settings
from study.cells import Cell
from study.runner import run_cells

#: The share of the epochs that each trial is trained for.
SHARE = 0.25


@dataclass
class Method:
    """A row of a table: a configuration and its search space."""

    row: str
    config: str
    space: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()

    def trials(self, number: int) -> list[tuple[str, ...]]:
        """Returns the shipped configuration, followed by up to
        ``number - 1`` distinct points of the space. All values of a setting
        occur about equally often. Methods that share a setting try the same
        values in the same order, up to the first point that would be a
        repetition in a smaller space.
        """
        size = math.prod(len(x) for x in self.space.values())
        wanted = min(number - 1, size) if self.space else 0
        draws = zip(*(_draws(key, values) for key, values
                      in self.space.items()), strict=False)
        points: dict[tuple[str, ...], None] = {}
        while len(points) < wanted:
            points[next(draws)] = None
        return [(), *points]


def _draws(key: str, values: tuple[Any, ...]) -> Iterator[str]:
    generator = random.Random(key)
    while True:
        for value in generator.sample(values, len(values)):
            yield f'{key}={value}'


def tune(methods: list[Method], dataset: str, args: argparse.Namespace
         ) -> tuple[dict[str, tuple[str, ...]], list[dict[str, Any]]]:
    """Selects the settings of each method on validation with the same
    budget: each trial runs a share of the epochs with the first seed.

    Returns the selected overrides by row, and all trials.
    """
    trials: dict[str, list[tuple[str, ...]]] = {
        m.row: [(*m.overrides, *settings(args, m.row), *trial)
                for trial in m.trials(args.trials)] for m in methods}
    if args.trials == 1:
        return {row: options[0] for row, options in trials.items()}, []
    cells = []
    for m in methods:
        for options in trials[m.row]:
            cell = Cell(m.row, f'{m.config}/{dataset}', options,
                        args.seeds[0])
            if cell.resolved.training.valid_every is None:
                raise SystemExit(
                    f"Expected 'training.valid_every' of {m.row} to select "
                    f'one of {args.trials} trials by validation MRR (got '
                    'null). Pass --trials 1 to train without a search.')
            epochs = max(1, round(SHARE * cell.resolved.training.epochs))
            cells.append(cell.set(f'training.epochs={epochs}'))
    found = {x['digest']: x for x in run_cells(cells, args)}
    tried: list[dict[str, Any]] = []
    scores: dict[str, list[float]] = {m.row: [] for m in methods}
    for cell in cells:
        result = found.get(cell.digest)
        if result is None:
            raise SystemExit(f'Expected the finished trial {cell.name} to '
                             f'select the settings of {cell.row} (got none)')
        # Diverged trials are never selected.
        score = result['val']['mrr'] if 'val' in result else -1.0
        scores[cell.row].append(score)
        tried.append({
            'row': cell.row, 'overrides': list(cell.overrides),
            'seed': cell.seed, 'val_mrr': score if score >= 0 else None,
            'error': result.get('error'), 'minutes': result.get('minutes')})
    return {row: trials[row][max(range(len(x)), key=x.__getitem__)]
            for row, x in scores.items()}, tried
