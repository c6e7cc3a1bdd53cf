"""The features that a cell is trained with: its configuration only holds
their paths, not their content.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from pyg_mmkgc.config import Config, build_graph
from pyg_mmkgc.errors import DataError
from pyg_mmkgc.io import read_json
from pyg_mmkgc.training.inputs import features_digest

#: The file in the folder of a run that is written when its training starts.
RECORD = 'features.json'
_seen: dict[str, dict[str, dict[str, Any]]] = {}


def features_of(config: Config, data_root: str | None
                ) -> dict[str, dict[str, Any]]:
    """Returns the number of channels and a hash of each modality of the
    current dataset that a configuration uses. Features that are dropped at
    random are covered by the digest of the configuration.
    """
    chosen = config.dataset.options['modalities']
    if chosen == []:
        return {}
    options = {**config.dataset.options, 'modalities': None,
               'drop_features': None}
    key = json.dumps([config.dataset.name, options, data_root], default=str)
    if key not in _seen:  # Read large tables only once for all cells.
        graph = build_graph(dataclasses.replace(
            config, dataset=dataclasses.replace(config.dataset,
                                                options=options)), data_root)
        hashes = features_digest(graph)
        _seen[key] = {name: {'channels': x.size(-1), 'sha256': hashes[name]}
                      for name, x in graph.features().items()}
    return {name: x for name, x in _seen[key].items()
            if chosen is None or name in chosen}


def check_features(config: Config, folder: Path, data_root: str | None
                   ) -> None:
    """Checks that the training in a folder used the current features.

    Older runs have no record of them, so only names and channels are
    compared.
    """
    now = features_of(config, data_root)
    if (folder / RECORD).is_file():
        then = read_json(folder / RECORD)
        same = then == now
    elif (folder / 'metrics.json').is_file():
        then = {name: {'channels': x} for name, x in read_json(
            folder / 'metrics.json')['modalities'].items()}
        same = then == {name: {'channels': x['channels']}
                        for name, x in now.items()}
    else:  # An interrupted or diverged run from before the record.
        return
    if not same:
        raise DataError(
            f"Expected the training in '{folder}' to have the dataset's "
            f'features {_words(now)} (got {_words(then)}). Delete the folder '
            'to train again, pass another --runs, or restore the former '
            'features.')


def _words(features: dict[str, dict[str, Any]]) -> str:
    return ', '.join(
        f"{name} ({x['channels']} channels"
        + (f", sha256 {x['sha256'][:8]}" if 'sha256' in x else '') + ')'
        for name, x in sorted(features.items())) or 'none'
