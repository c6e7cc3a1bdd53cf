r"""Runs of one configuration with several seeds.

===================  ======================================================
``seeds.json``       the seeds
``seed0/``, ...      the run of each seed, as :class:`Run` describes it
``metrics.json``     the metrics of each seed, their means and standard
                     deviations, written last
===================  ======================================================
"""

from __future__ import annotations

import pathlib
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pyg_mmkgc.config.loader import load_config
from pyg_mmkgc.distributed import on_main
from pyg_mmkgc.errors import CheckpointError, check_whole
from pyg_mmkgc.evaluation import RankingResult
from pyg_mmkgc.io.atomic import read_json, write_json
from pyg_mmkgc.io.reading import user_path
from pyg_mmkgc.io.schema import check_schema
from pyg_mmkgc.report import Report, Table
from pyg_mmkgc.runs.folder import empty_folder, new_folder
from pyg_mmkgc.runs.run import RANKINGS, Run, extend_runs

SEEDS = 'seeds.json'
# The metrics of the table.
METRICS = ('mrr', 'hits@1', 'hits@3', 'hits@10', 'mr')


@dataclass(repr=False)
class SeedResult(Report):
    r"""The results of one configuration with several seeds.

    Args:
        metrics (dict): The metrics on the test triples, by seed.
    """
    metrics: dict[int, dict[str, float]]

    table_names = ('seeds', )

    def summary(self) -> dict[str, Any]:
        return {'seeds': list(self.metrics), **{
            f'{kind}_mrr': value['mrr']
            for kind, value in self.spread().items()}}

    def spread(self) -> dict[str, dict[str, float]]:
        r"""Returns the mean and the sample standard deviation of each
        metric.
        """
        columns = {name: [x[name] for x in self.metrics.values()]
                   for name in METRICS}
        out = {'mean': {name: statistics.mean(x)
                        for name, x in columns.items()}}
        if len(self.metrics) > 1:
            out['std'] = {name: statistics.stdev(x)
                          for name, x in columns.items()}
        return out

    def make_table(self, name: str) -> Table:
        rows = {f'seed {seed}': x for seed, x in self.metrics.items()}
        return Table(['', *METRICS], [
            [label, *(x[metric] for metric in METRICS)]
            for label, x in {**rows, **self.spread()}.items()],
            'test triples')

    def to_dict(self) -> dict[str, Any]:
        r"""Returns the metrics and their spread as plain values, ready for
        JSON.
        """
        return {'seeds': {str(seed): x for seed, x in self.metrics.items()},
                **self.spread()}

    def __str__(self) -> str:
        return self.make_table('seeds').text()


def is_seeds(folder: str) -> bool:
    r"""Returns :obj:`True` if a folder holds the runs of several seeds."""
    return (user_path(folder) / SEEDS).is_file()


class SeedRuns:
    r"""The runs of one configuration with several seeds, in one folder.

    Args:
        folder (pathlib.Path): The folder.
        seeds (list[int]): The seeds.
        runs (list[Run]): The runs that exist already.
        data_root (str, optional): As for :meth:`Run.create`.
        device (str, optional): As for :meth:`Run.create`.
    """
    def __init__(self, folder: pathlib.Path, seeds: Sequence[int],
                 runs: list[Run], data_root: str | None = None,
                 device: str | None = None) -> None:
        self.folder, self.seeds = folder, list(seeds)
        self.runs, self._options = runs, (data_root, device)

    @classmethod
    def create(cls, count: int, name: str, overrides: Sequence[str] = (),
               folder: str | None = None, data_root: str | None = None,
               device: str | None = None) -> SeedRuns:
        r"""Checks a configuration and creates a new folder for its runs.

        Args:
            count (int): The number of seeds, which follow
                :obj:`training.seed`.
            name (str): As for :meth:`Run.create`.
            overrides (list, optional): As for :meth:`Run.create`.
            folder (str, optional): The folder, which must be empty or not
                exist. (default: the first of :obj:`runs/NAME-seedsN`,
                :obj:`runs/NAME-seedsN-2`, ... that does not exist)
            data_root (str, optional): As for :meth:`Run.create`.
            device (str, optional): As for :meth:`Run.create`.
        """
        check_whole(seeds=count)
        config = load_config(name, overrides)
        first = config.training.seed
        seeds = list(range(first, first + count))
        run = Run.prepare(config, data_root, device)
        path = (new_folder(name, f'seeds{count}') if folder is None else
                empty_folder(folder))
        write_json(path / SEEDS, {'seeds': seeds})
        run.save(path / f'seed{first}')
        return cls(path, seeds, [run], data_root, device)

    @classmethod
    def open(cls, folder: str, data_root: str | None = None,
             device: str | None = None) -> SeedRuns:
        r"""Opens the folder of earlier runs.

        Args:
            folder (str): The folder.
            data_root (str, optional): As for :meth:`Run.open`.
            device (str, optional): As for :meth:`Run.open`.

        Raises:
            CheckpointError: If the folder is not the folder of several seeds,
                or contains no run.
        """
        path = user_path(folder)
        if not (path / SEEDS).is_file():
            raise CheckpointError(f"Expected '{folder}' to be the folder of "
                                  f'several seeds (got no {SEEDS})')
        saved = read_json(path / SEEDS)
        check_schema(saved, {'seeds': [int]}, f"'{path / SEEDS}'")
        runs = []
        for seed in saved['seeds']:
            if (path / f'seed{seed}' / 'config.yaml').is_file():
                runs.append(Run.open(str(path / f'seed{seed}'), data_root,
                                     device))
        if not runs:
            raise CheckpointError(f"Expected a run in '{folder}' (got none)")
        return cls(path, saved['seeds'], runs, data_root, device)

    def extend(self, overrides: Sequence[str]) -> None:
        r"""Extends the run of each seed, see :meth:`Run.extend`. If one of
        them cannot be extended, none is changed.
        """
        extend_runs(self.runs, overrides)
        # It has the means of the shorter runs.
        on_main(lambda: (self.folder / 'metrics.json').unlink(
            missing_ok=True))

    def train(self, progress: bool = True) -> SeedResult | None:
        r"""Trains and evaluates the unfinished runs, one after the other, and
        writes the table of all runs. Returns :obj:`None` if the graph has no
        test triples.

        Args:
            progress (bool, optional): If set to :obj:`False`, shows no
                progress bar. (default: :obj:`True`)
        """
        first = str(self.runs[0].folder / 'config.yaml')
        metrics: dict[int, dict[str, float]] = {}
        for seed in self.seeds:
            folder = self.folder / f'seed{seed}'
            run = next((x for x in self.runs if x.folder == folder), None)
            if run is None:
                run = Run.prepare(load_config(
                    first, [f'training.seed={seed}']), *self._options)
                run.save(folder)
            result: RankingResult | None = None
            if not run.finished:
                result = run.train(progress)
            elif (folder / RANKINGS).is_file() or (
                    'test' in run.graph.splits()):
                result = run.rankings()
            if result is not None:
                metrics[seed] = result.metrics()
        if not metrics:
            return None
        found = SeedResult(metrics)
        write_json(self.folder / 'metrics.json', found.to_dict())
        return found
