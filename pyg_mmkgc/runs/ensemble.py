r"""Ensembles of trained models, in their own folders."""
from __future__ import annotations

import dataclasses
import hashlib
import pathlib
import time
from collections.abc import Sequence

import torch

from pyg_mmkgc.config.build import build_graph, find_device
from pyg_mmkgc.config.components import Component
from pyg_mmkgc.config.loader import dump_config
from pyg_mmkgc.config.schema import Config, TrainingConfig
from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.data.fingerprint import differences, fingerprint
from pyg_mmkgc.data.numbering import renumber
from pyg_mmkgc.errors import ConfigError, DataError
from pyg_mmkgc.evaluation import RankingResult
from pyg_mmkgc.io.atomic import write_json
from pyg_mmkgc.io.provenance import provenance
from pyg_mmkgc.nn import Ensemble
from pyg_mmkgc.runs.compare import distinct_names
from pyg_mmkgc.runs.folder import check_empty, empty_folder
from pyg_mmkgc.runs.pretrained import load_model
from pyg_mmkgc.runs.run import RANKINGS, Run
from pyg_mmkgc.training import WeightFit, fit_weights


class EnsembleRun(Run):
    r"""An ensemble of the models of runs and of models that need no training,
    with weights learned on the validation triples of the first run's graph.
    Its folder is the folder of a run, without a history.

    .. code-block:: python

        run, fit = EnsembleRun.combine(['runs/a', 'runs/b', 'ultra_3g'],
                                       'runs/all')
        print(fit.weight, run.rankings())
    """
    @classmethod
    def combine(cls, members: Sequence[str], folder: str,
                per: str = 'relation', num_queries: int | None = None,
                seed: int = 0, data_root: str | None = None,
                device: str | None = None
                ) -> tuple[EnsembleRun, WeightFit]:
        r"""Learns the weights, evaluates on the test triples if there are
        any, and writes all files.

        Args:
            members (list[str]): The folders of runs, at least one, and the
                names, files and folders of models as for
                :class:`~pyg_mmkgc.runs.PretrainedRun`.
            folder (str): The folder, which must be empty or not exist.
            per (str, optional): See
                :func:`~pyg_mmkgc.training.fit_weights`.
                (default: :obj:`"relation"`)
            num_queries (int, optional): See
                :func:`~pyg_mmkgc.training.fit_weights`.
                (default: :obj:`None`, all)
            seed (int, optional): See
                :func:`~pyg_mmkgc.training.fit_weights`. (default: :obj:`0`)
            data_root (str, optional): The current folder of the dataset's
                files. (default: :obj:`None`)
            device (str, optional): The name of a :class:`torch.device`.
                (default: :obj:`None`)

        Returns:
            The run and the learned weights.

        Raises:
            ConfigError: If there are fewer than two members, or if none of
                them is a run.
            DataError: If the graphs of the runs differ, or no weights may be
                learned on their validation triples.
        """
        check_empty(folder)  # Before the computation.
        model, run = load_members(members, data_root, device)
        start = time.perf_counter()
        fit = fit_weights(model, run.graph, per=per, num_queries=num_queries,
                          seed=seed)
        fitted = time.perf_counter()
        out = cls(_config(run.config, model, seed, device), pathlib.Path())
        out.graph = run.graph
        out.save(empty_folder(folder))
        out._save_model(model)
        result: RankingResult | None = None
        if 'test' in out.graph.splits():
            result = out._evaluate(model, 'test')
            result.save(out.folder / RANKINGS)
        write_json(out.folder / 'metrics.json', {
            'test': result and result.to_dict(), 'val': None,
            'members': dict(zip(model.names, members, strict=True)),
            'fit': {'per': per, **fit.to_dict()}, 'seed': seed,
            'modalities': {name: x.size(-1) for name, x
                           in out.graph.features().items()},
            'seconds': {'fit': fitted - start,
                        'evaluate': time.perf_counter() - fitted},
            'device': str(model.weight.device),
            'parameters': sum(p.numel() for p in model.parameters()),
            'config_sha256': hashlib.sha256(
                dump_config(out.config).encode()).hexdigest(),
            **provenance()})
        return out, fit


def load_members(members: Sequence[str], data_root: str | None = None,
                 device: str | None = None) -> tuple[Ensemble, Run]:
    r"""Returns an ensemble with equal weights, and the first run with the
    modalities of all runs in its graph.

    Args:
        members (list[str]): As for :meth:`EnsembleRun.combine`.
        data_root (str, optional): The current folder of the datasets' files.
            (default: :obj:`None`)
        device (str, optional): The name of a :class:`torch.device`.
            (default: :obj:`None`)
    """
    if len(members) < 2:
        raise ConfigError(f'Expected two or more members (got {len(members)})')
    runs = {path: Run.open(path, data_root, device) for path in members
            if (pathlib.Path(path).expanduser() / 'config.yaml').is_file()}
    if not runs:
        raise ConfigError('Expected the folder of a run among the members, '
                          f'which has the graph (got {list(members)})')
    models = [runs[path].load_model() if path in runs else
              load_model(path).to(find_device(device, 'device'))
              for path in members]
    first = next(iter(runs.values()))
    for run in runs.values():
        differ = differences(fingerprint(first.graph), run.graph)
        if differ:
            raise DataError(
                f"Expected runs on one graph (got '{first.folder}' and "
                f"'{run.folder}', which differ in {', '.join(differ)})")
    joined = Run(dataclasses.replace(first.config, dataset=_join(runs)),
                 first.folder)
    labels = [first.graph.get(key) for key in (
        'node_names', 'relation_names', 'node_ids')]
    joined.graph = renumber(build_graph(joined.config), *labels)
    for path, run in runs.items():  # Each member needs its own modalities.
        _check_features(path, run.graph, joined.graph)
    names = distinct_names(
        [runs[path].config.model.name if path in runs else
         pathlib.Path(path).name for path in members],
        [pathlib.Path(path).name for path in members], list(members))
    return Ensemble(models, first.graph.num_relations, names), joined


def _join(runs: dict[str, Run]) -> Component:
    r"""Returns the dataset of several runs, with the modalities of all."""
    first, *others = (run.config.dataset for run in runs.values())
    options = dict(first.options)
    for path, other in zip(list(runs)[1:], others, strict=True):
        for key, value in other.options.items():
            mine = options.get(key)
            if key == 'root' or value == mine:
                continue
            both = mine, value
            if key not in ('modalities', 'features'):
                raise ConfigError(
                    f"Expected 'dataset.{key}' of '{path}' to be {mine!r}, as "
                    f'in the first run (got {value!r})')
            lists = [x for x in both if isinstance(x, list)]
            if len(lists) == 2:
                options[key] = list(dict.fromkeys(lists[0] + lists[1]))
            else:  # Paths, or all available features.
                paths = [x for x in both if isinstance(x, dict)]
                options[key] = {**paths[0], **paths[-1], **paths[0]
                                } if paths else None
    return Component(first.name, options)


def _check_features(path: str, mine: KnowledgeGraph,
                    joined: KnowledgeGraph) -> None:
    features, masks = joined.features(), joined.masks()
    for name, x in mine.features().items():
        if name not in features or not (
                torch.equal(x, features[name])
                and torch.equal(mine.masks()[name], masks[name])):
            raise DataError(
                f"Expected the features of {name!r} of '{path}' in the "
                'dataset of all runs (got '
                f'{"others" if name in features else "none"})')


def _config(config: Config, model: Ensemble, seed: int,
            device: str | None) -> Config:
    return Config(
        config.dataset, Component('Ensemble', {'names': model.names}),
        training=TrainingConfig(seed=seed, device=device, valid_every=None),
        evaluation=config.evaluation)
