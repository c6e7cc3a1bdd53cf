"""A single training of a study, and its results."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shlex
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pyg_mmkgc.config import Config, dump_config, load_config


@dataclass(frozen=True)
class Cell:
    """A configuration of the package with overrides and a seed.

    Cells with the same resolved configuration share one training, also
    across studies.
    """

    row: str
    config: str
    overrides: tuple[str, ...]
    seed: int

    @property
    def options(self) -> list[str]:
        """All overrides, including the seed."""
        return [*self.overrides, f'training.seed={self.seed}']

    @cached_property
    def resolved(self) -> Config:
        """The resolved and checked configuration."""
        return load_config(self.config, self.options)

    @cached_property
    def digest(self) -> str:
        """The hash of the resolved configuration without its paths."""
        return digest(self.resolved)

    @property
    def name(self) -> str:
        """The name of the cell's folder."""
        model, dataset = self.config.split('/')
        return f'{dataset}-{model}-seed{self.seed}-{self.digest}'

    def command(self, data_root: str | None) -> str:
        """Returns the command that trains this cell alone."""
        words = ['mmkgc', 'train', self.config]
        for option in self.options:
            words += ['--set', option]
        if data_root is not None:
            words += ['--data-root', 'DATA']
        return shlex.join(words)

    def set(self, *overrides: str) -> Cell:
        """Returns the same cell with further overrides."""
        return dataclasses.replace(self,
                                   overrides=(*self.overrides, *overrides))


def digest(config: Config) -> str:
    """Returns a short hash of everything in a configuration that affects its
    result.
    """
    options = {**config.dataset.options, 'root': None}
    dataset = dataclasses.replace(config.dataset, options=options)
    training = dataclasses.replace(config.training, device=None)
    same = dataclasses.replace(config, dataset=dataset, training=training)
    return hashlib.sha256(dump_config(same).encode()).hexdigest()[:12]


def read_run(cell: Cell, folder: Path, data_root: str | None
             ) -> dict[str, Any]:
    """Returns a finished run as one line of a result file."""
    done = json.loads((folder / 'cell.json').read_text())
    out = {'row': cell.row, 'config': cell.config, 'seed': cell.seed,
           'overrides': list(cell.overrides), 'digest': cell.digest,
           'command': cell.command(data_root), **done}
    if 'error' in done:
        return out
    found = json.loads((folder / 'metrics.json').read_text())
    history = json.loads((folder / 'history.json').read_text())
    out |= {key: found[key] for key in (
        'best_epoch', 'epochs', 'parameters', 'modalities', 'commit',
        'versions', 'device')}
    # Runs of earlier versions record only the requested precision.
    out['autocast'] = found.get('autocast', cell.resolved.training.autocast)
    out['protocol'] = found['test']['protocol']
    out['test'] = found['test']['metrics']
    out['val'] = found['val']
    out['minutes'] = sum(x['seconds'] for x in history['epochs']) / 60
    seconds = 0.0
    out['curve'] = []  # Epochs, seconds of training so far, validation MRR.
    for x in history['epochs']:
        seconds += x['seconds']
        if 'val_mrr' in x:
            out['curve'].append([x['epoch'], seconds, x['val_mrr']])
    return out
