"""Random search over the few settings of a method that matter most."""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pyg_mmkgc.config.space import Choice
from pyg_mmkgc.runs.study import Study, Trial
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
        """Returns the overrides of each trial of :meth:`study`."""
        return [tuple(trial.overrides) for trial in self.study(number)[1]]

    def study(self, number: int) -> tuple[Study, list[Trial]]:
        """Returns a study of the space, and its trials: the shipped
        configuration, followed by up to ``number - 1`` distinct points. All
        values of a setting occur about equally often. Methods that share a
        setting try the same values in the same order, up to the first point
        that would be a repetition in a smaller space.
        """
        size = math.prod(len(x) for x in self.space.values())
        wanted = min(number - 1, size) if self.space else 0
        draws = zip(*(_draws(key, values) for key, values
                      in self.space.items()), strict=False)
        points: dict[tuple[Any, ...], None] = {}
        while len(points) < wanted:
            points[next(draws)] = None
        study = Study({key: Choice(values) for key, values
                       in self.space.items()},
                      points=[dict(zip(self.space, point, strict=True))
                              for point in points])
        return study, [study.ask() for _ in range(1 + wanted)]


def _draws(key: str, values: tuple[Any, ...]) -> Iterator[Any]:
    generator = random.Random(key)
    while True:
        yield from generator.sample(values, len(values))


def tune(methods: list[Method], dataset: str, args: argparse.Namespace
         ) -> tuple[dict[str, tuple[str, ...]], list[dict[str, Any]]]:
    """Selects the settings of each method on validation with the same
    budget: each trial runs a share of the epochs with the first seed.

    Returns the selected overrides by row, and all trials.
    """
    fixed = {m.row: (*m.overrides, *settings(args, m.row)) for m in methods}
    if args.trials == 1:
        return dict(fixed), []
    studies = {m.row: m.study(args.trials) for m in methods}
    trials: dict[str, list[tuple[str, ...]]] = {
        row: [(*fixed[row], *trial.overrides) for trial in asked]
        for row, (_, asked) in studies.items()}
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
    waiting = {row: list(asked) for row, (_, asked) in studies.items()}
    for cell in cells:
        result = found.get(cell.digest)
        if result is None:
            raise SystemExit(f'Expected the finished trial {cell.name} to '
                             f'select the settings of {cell.row} (got none)')
        # Diverged trials have no score, and are never selected.
        score = result['val']['mrr'] if 'val' in result else None
        studies[cell.row][0].tell(waiting[cell.row].pop(0), score)
        tried.append({
            'row': cell.row, 'overrides': list(cell.overrides),
            'seed': cell.seed, 'val_mrr': score,
            'error': result.get('error'), 'minutes': result.get('minutes')})
    return {row: trials[row][study.best.place]
            for row, (study, _) in studies.items()}, tried
