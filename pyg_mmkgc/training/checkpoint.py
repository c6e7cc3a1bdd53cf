r"""A training state in one verified file, and back."""
from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from pyg_mmkgc.errors import CheckpointError
from pyg_mmkgc.io.tensors import load_tensors, save_tensors

State = dict[str, Tensor]


def clone_state(module: torch.nn.Module) -> State:
    r"""A copy of the weights and buffers of a module."""
    return {name: x.detach().clone()
            for name, x in module.state_dict().items()}


def save_checkpoint(path: Path, states: dict[str, State],
                    optimizers: dict[str, Optimizer],
                    metadata: dict[str, Any]) -> None:
    r"""Writes states, optimizers and JSON values to one file, which is either
    the old one or the whole new one.
    """
    tensors = {f'state/{group}/{name}': x for group, state in states.items()
               for name, x in state.items()}
    groups: dict[str, Any] = {}
    numbers: dict[str, Any] = {}
    for name, optimizer in optimizers.items():
        state = optimizer.state_dict()
        groups[name] = state['param_groups']
        for index, slots in state['state'].items():
            for slot, value in slots.items():
                key = f'optimizer/{name}/{index}/{slot}'
                if isinstance(value, Tensor):
                    tensors[key] = value
                else:  # Sparse Adam counts its steps in a Python number.
                    numbers[key] = value
    save_tensors(path, tensors, {**metadata, 'param_groups': groups,
                                 'numbers': numbers})


def load_checkpoint(path: Path, fingerprint: dict[str, Any]
                    ) -> tuple[dict[str, State], dict[str, Any],
                               dict[str, Any]]:
    r"""Reads states, optimizer states and metadata.

    Raises:
        CheckpointError: If there is no file, or one of another run: the
            message names each field that differs.
    """
    if not path.is_file():
        raise CheckpointError(f"expected a checkpoint at '{path}', got none")
    tensors, metadata = load_tensors(path)
    saved = metadata.get('fingerprint')
    if not isinstance(saved, dict):
        raise CheckpointError(f"'{path}' is not a checkpoint of a training")
    unknown = [x for x in ('features', 'graph') if x in fingerprint
               and x not in saved]
    if unknown:
        warnings.warn(f"'{path}' is of an earlier version and does not say "
                      f"which {' and '.join(unknown)} it was trained with: "
                      'they may have changed since', stacklevel=4)
        fingerprint = {**fingerprint, **{x: {} for x in unknown}}
    # Earlier versions also kept attributes that follow from the arguments.
    options = fingerprint.get('options', {})
    saved = {**saved, 'options': {
        name: value for name, value in saved.get('options', {}).items()
        if name in options}}
    differ = _differences(_flat(saved), _flat(fingerprint))
    if differ:
        raise CheckpointError(f"cannot resume from '{path}', which is of "
                              f"another run: {'; '.join(differ)}")
    states: dict[str, State] = {}
    optimizers: dict[str, Any] = {
        name: {'state': {}, 'param_groups': groups}
        for name, groups in metadata['param_groups'].items()}
    for key, value in {**tensors, **metadata['numbers']}.items():
        kind, name, rest = key.split('/', 2)
        if kind == 'state':
            states.setdefault(name, {})[rest] = value
        else:
            index, slot = rest.split('/')
            optimizers[name]['state'].setdefault(int(index), {})[slot] = value
    return states, optimizers, metadata


def _differences(saved: dict[str, Any], now: dict[str, Any]) -> list[str]:
    return ['the training triples, or their order or that of the labels, '
            'have changed' if key == 'data' else
            f"the {key.removeprefix('graph.')} have changed"
            if key.startswith('graph.') else
            f'{key}: saved {saved.get(key)!r}, now {now.get(key)!r}'
            for key in {**saved, **now} if saved.get(key) != now.get(key)]


def _flat(fingerprint: dict[str, Any]) -> dict[str, Any]:
    # So that a message names one option, one table, one modality.
    out: dict[str, Any] = {}
    for key, value in fingerprint.items():
        if isinstance(value, dict):
            out |= {f"{key} of '{name}'" if key == 'features' else
                    f'{key}.{name}': part for name, part in value.items()}
        else:
            out[key] = value
    return out
