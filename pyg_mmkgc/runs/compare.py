r"""Comparisons of runs or saved rankings."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

from pyg_mmkgc.config.loader import dump_config
from pyg_mmkgc.config.schema import Config
from pyg_mmkgc.errors import ConfigError, DataError, FormatError
from pyg_mmkgc.evaluation import Comparison, RankingResult, compare
from pyg_mmkgc.evaluation.compare import compare_rankings
from pyg_mmkgc.io.tensors import load_tensors
from pyg_mmkgc.runs.run import Run
from pyg_mmkgc.runs.seeds import SeedRuns, is_seeds


def compare_paths(paths: Sequence[str], reference: str | None = None,
                  data_root: str | None = None,
                  device: str | None = None) -> Comparison:
    r"""Compares runs, or the methods in a file of rankings.

    Runs that only differ in the seed belong to one method. Methods are named
    after their models, or after the folders of their first runs if two methods
    have the same model.

    Args:
        paths (list[str]): The folders of two or more runs with one or several
            seeds, or one :obj:`.safetensors` file of the benchmarks with the
            reciprocal ranks :obj:`[num_rankings]` of each method, averaged
            over seeds.
        reference (str, optional): The name of the method to compare with.
            (default: :obj:`None`, the first)
        data_root (str, optional): The current folder of the dataset's files.
            (default: :obj:`None`, the folder at training time)
        device (str, optional): The device to evaluate runs without saved
            rankings on. (default: :obj:`None`)

    Raises:
        ConfigError: If there are fewer than two methods, or if none of them is
            the reference.
        DataError: If runs differ in their graphs or ranked triples.
    """
    if len(paths) == 1 and pathlib.Path(paths[0]).is_file():
        return _compare_file(paths[0], reference)
    paths = [part for path in paths for part in _runs_in(path)]
    if len(set(paths)) < len(paths):
        raise ConfigError(f'Expected different runs (got {list(paths)})')
    methods: dict[str, list[tuple[str, Config, RankingResult]]] = {}
    graphs: dict[str, dict[str, Any]] = {}
    for path in paths:
        run = Run.open(path, data_root, device)
        graphs[path] = run.trained_with()
        _check_same_graph(paths[0], graphs[paths[0]], path, graphs[path])
        methods.setdefault(_method(run.config), []).append(
            (path, run.config, run.rankings()))
    if len(methods) < 2:
        raise ConfigError('Expected runs of two or more methods (got '
                          f'{len(paths)} of one)')
    names = _names(methods)
    if reference is not None:
        if reference not in names:
            raise ConfigError('Expected the reference to be one of '
                              f"{', '.join(map(repr, names))} (got "
                              f'{reference!r})')
        # Equal keys keep their order.
        order = sorted(range(len(names)), key=lambda i: names[i] != reference)
    else:
        order = list(range(len(names)))
    results: list[Any] = [[result for *_, result in runs]
                          for runs in methods.values()]
    return compare(*(results[i] for i in order),
                   names=[names[i] for i in order])


def _runs_in(path: str) -> list[str]:
    if not is_seeds(path):
        return [path]
    return [str(run.folder) for run in SeedRuns.open(path).runs]


def _compare_file(path: str, reference: str | None) -> Comparison:
    tensors, _ = load_tensors(path)
    if len(tensors) < 2 or any(
            x.dim() != 1 or not x.is_floating_point() or x.numel() == 0
            or not bool(((x > 0) & (x <= 1)).all()) for x in tensors.values()):
        raise FormatError(
            f'Expected the reciprocal ranks of two or more methods in '
            f"'{path}', each a vector of numbers in (0, 1] (got "
            f'{list(tensors)})')
    return compare_rankings(
        {name: {'mrr': x.numpy()} for name, x in tensors.items()},
        next(iter(tensors)) if reference is None else reference)


def _check_same_graph(first: str, one: dict[str, Any], second: str,
                      other: dict[str, Any]) -> None:
    # Runs by earlier versions have no record of their graph.
    differ = [part for part in {**one, **other}
              if one and other and one.get(part) != other.get(part)]
    if differ:
        raise DataError(f"Expected runs on one graph (got '{first}' and "
                        f"'{second}', which differ in the "
                        f"{', the '.join(differ)})")


def _method(config: Config) -> str:
    training = dataclasses.replace(config.training, seed=0, device='cpu',
                                   track=None)
    dataset = dataclasses.replace(config.dataset, options={
        **config.dataset.options, 'root': None})
    return dump_config(dataclasses.replace(config, training=training,
                                           dataset=dataset))


def _names(methods: dict[str, list[tuple[str, Config, RankingResult]]]
           ) -> list[str]:
    paths = [runs[0][0] for runs in methods.values()]
    return distinct_names(
        [runs[0][1].model.name for runs in methods.values()],
        [pathlib.Path(path).name for path in paths], paths)


def distinct_names(*choices: list[str]) -> list[str]:
    r"""Returns the first of several lists of names without duplicates, or the
    last list.
    """
    return next((names for names in choices
                 if len(set(names)) == len(names)), choices[-1])
