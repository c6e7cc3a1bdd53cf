"""One training of a study: what it is, and what it left."""

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
    """A configuration of the package, what is set in it, and a seed.

    Two cells with the same resolved configuration are one training, whatever
    study asks for it.
    """

    row: str
    config: str
    overrides: tuple[str, ...]
    seed: int

    @property
    def options(self) -> list[str]:
        """All that is set, the seed with it."""
        return [*self.overrides, f'training.seed={self.seed}']

    @cached_property
    def resolved(self) -> Config:
        """The checked configuration."""
        return load_config(self.config, self.options)

    @cached_property
    def digest(self) -> str:
        """Of the resolved configuration, but for where its files are."""
        return digest(self.resolved)

    @property
    def name(self) -> str:
        """A file name."""
        model, dataset = self.config.split('/')
        return f'{dataset}-{model}-seed{self.seed}-{self.digest}'

    def command(self, data_root: str | None) -> str:
        """What trains this cell alone."""
        words = ['mmkgc', 'train', self.config]
        for option in self.options:
            words += ['--set', option]
        if data_root is not None:
            words += ['--data-root', 'DATA']
        return shlex.join(words)

    def set(self, *overrides: str) -> Cell:
        """The same, with more set."""
        return dataclasses.replace(self,
                                   overrides=(*self.overrides, *overrides))


def digest(config: Config) -> str:
    """A short hash of what decides about the result of a configuration."""
    options = {**config.dataset.options, 'root': None}
    dataset = dataclasses.replace(config.dataset, options=options)
    training = dataclasses.replace(config.training, device=None)
    same = dataclasses.replace(config, dataset=dataset, training=training)
    return hashlib.sha256(dump_config(same).encode()).hexdigest()[:12]


def read_run(cell: Cell, folder: Path, data_root: str | None
             ) -> dict[str, Any]:
    """What a finished run says, as one line of a result file."""
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
    # Runs of an earlier version say only what was asked for.
    out['autocast'] = found.get('autocast', cell.resolved.training.autocast)
    out['protocol'] = found['test']['protocol']
    out['test'] = found['test']['metrics']
    out['val'] = found['val']
    out['minutes'] = sum(x['seconds'] for x in history['epochs']) / 60
    seconds = 0.0
    out['curve'] = []  # Epoch, seconds of training so far, validation MRR.
    for x in history['epochs']:
        seconds += x['seconds']
        if 'val_mrr' in x:
            out['curve'].append([x['epoch'], seconds, x['val_mrr']])
    return out
