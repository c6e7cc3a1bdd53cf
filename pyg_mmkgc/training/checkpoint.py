r"""A training state in one verified file, and back."""
from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer

from pyg_mmkgc.errors import CheckpointError
from pyg_mmkgc.io.schema import NUMBER, check_schema
from pyg_mmkgc.io.tensors import load_tensors, save_tensors

State = dict[str, Tensor]

MOMENTS = {'step', 'exp_avg', 'exp_avg_sq'}
STATE = re.compile(r'state/([a-z_]+)/(.+)', re.DOTALL)
SLOT = re.compile(r'optimizer/([a-z_]+)/(0|[1-9][0-9]{0,8})/([a-z_]+)')
HISTORY = {'epochs': [{str: NUMBER}], 'best_epoch': (int, None),
           'best_metrics': {str: NUMBER}, 'stopped_early': bool}
SCHEMA = {'fingerprint': {str: object}, 'history': HISTORY,
          'param_groups': {str: [{str: object}]}, 'numbers': {str: object}}


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
    if 'fingerprint' not in metadata:
        raise CheckpointError(f"'{path}' is not a checkpoint of a training")
    check_schema(metadata, SCHEMA, f"'{path}'", CheckpointError)
    saved = metadata['fingerprint']
    unknown = [x for x in ('features', 'graph') if x in fingerprint
               and x not in saved]
    if unknown:
        warnings.warn(f"'{path}' is of an earlier version and does not say "
                      f"which {' and '.join(unknown)} it was trained with: "
                      'they may have changed since', stacklevel=5)
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
        if (match := STATE.fullmatch(key)) and key in tensors:
            states.setdefault(match[1], {})[match[2]] = value
        elif (match := SLOT.fullmatch(key)) and match[1] in optimizers:
            slots = optimizers[match[1]]['state'].setdefault(int(match[2]), {})
            slots[match[3]] = value
        else:
            raise CheckpointError(f"'{path}': {key!r:.80} is no part of a "
                                  'checkpoint')
    return states, optimizers, metadata


# What to do where the precision differs; 'auto' follows the hardware.
_PRECISION = {
    True: 'resume it with autocast=True on hardware that multiplies bfloat16 '
          'matrices',
    False: 'resume it with autocast=False'}
def restore(module: torch.nn.Module, states: dict[str, State], name: str,
            path: Path) -> None:
    r"""Loads one of the states into a module.

    Raises:
        CheckpointError: If it does not fit.
    """
    # A state without tensors leaves no trace in a file.
    try:
        module.load_state_dict(states.get(name, {}))
    except (RuntimeError, TypeError, ValueError) as error:
        reason = ' '.join(str(error).split())
        raise CheckpointError(f"'{path}': the weights of the {name} do not "
                              f'fit: {reason:.500}') from error


def restore_optimizer(optimizer: Optimizer, saved: Any, name: str,
                      path: Path) -> None:
    r"""Loads the state of an optimizer.

    Raises:
        CheckpointError: If it does not fit. Compiled optimizers trust the
            shapes of their moments, and write where others would be.
    """
    def wrong(what: str) -> CheckpointError:
        return CheckpointError(f"'{path}': the state of the optimizer of the "
                               f'{name} does not fit: {what}')

    if saved is None:
        raise wrong('there is none')
    ours = optimizer.state_dict()['param_groups']
    theirs = saved['param_groups']
    if len(ours) != len(theirs):
        raise wrong(f'expected {len(ours)} groups of parameters, got '
                    f'{len(theirs)}')
    for mine, group in zip(ours, theirs, strict=True):
        for key in {**mine, **group}:
            # The schedule changes the rate, and notes the first one.
            if key in ('lr', 'initial_lr'):
                check_schema(group.get(key, 0.0), NUMBER, str(wrong(key)),
                             CheckpointError)
            elif plain(mine.get(key)) != plain(group.get(key)):
                raise wrong(f'{key!r:.80} is {group.get(key)!r:.80}, expected '
                            f'{mine.get(key)!r:.80}')
    params = [p for group in optimizer.param_groups for p in group['params']]
    for index, slots in saved['state'].items():
        if index >= len(params):
            raise wrong(f'there is no parameter {index}')
        if not isinstance(optimizer, Adam):
            continue
        if not MOMENTS <= set(slots):
            raise wrong(f'parameter {index} has {sorted(slots)}, expected '
                        f'{sorted(MOMENTS)}')
        for slot, value in slots.items():
            shape = getattr(value, 'shape', None)
            if shape != (() if slot == 'step' else params[index].shape):
                raise wrong(f"'{slot}' of parameter {index}")
    optimizer.load_state_dict(saved)


def plain(value: Any) -> Any:
    r"""A value as JSON gives it back."""
    return list(value) if isinstance(value, tuple) else value


def _differences(saved: dict[str, Any], now: dict[str, Any]) -> list[str]:
    return ['the training triples, or their order or that of the labels, '
            'have changed' if key == 'data' else
            f"the {key.removeprefix('graph.')} have changed"
            if key.startswith('graph.') else
            f'{key}: saved {saved.get(key)!r}, now {now.get(key)!r}'
            + (f' ({_PRECISION[saved[key]]})' if key == 'autocast'
               and saved.get(key) in _PRECISION else '')
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
