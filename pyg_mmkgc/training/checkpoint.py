r"""Checkpoints, which hold the state of a training in one verified file."""
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
    r"""Returns a copy of the weights and buffers of a module."""
    return {name: x.detach().clone()
            for name, x in module.state_dict().items()}


def save_checkpoint(path: Path, states: dict[str, State],
                    optimizers: dict[str, Optimizer],
                    metadata: dict[str, Any]) -> None:
    r"""Writes states, optimizers and JSON values to one file. The file is
    replaced atomically, so an interruption leaves the old file intact.
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
                else:  # Sparse Adam counts its steps as a Python number.
                    numbers[key] = value
    save_tensors(path, tensors, {**metadata, 'param_groups': groups,
                                 'numbers': numbers})


def load_checkpoint(path: Path, fingerprint: dict[str, Any]
                    ) -> tuple[dict[str, State], dict[str, Any],
                               dict[str, Any]]:
    r"""Reads the states, optimizer states and metadata of a checkpoint.

    Raises:
        CheckpointError: If there is no file, or if it belongs to another run.
            The message then names each field that differs.
    """
    if not path.is_file():
        raise CheckpointError(f"Expected a checkpoint at '{path}' (got none)")
    tensors, metadata = load_tensors(path)
    if 'fingerprint' not in metadata:
        raise CheckpointError(f"Expected a training checkpoint in '{path}' "
                              '(got a file without a fingerprint)')
    check_schema(metadata, SCHEMA, f"'{path}'", CheckpointError)
    saved = metadata['fingerprint']
    unknown = [x for x in ('features', 'graph') if x in fingerprint
               and x not in saved]
    if unknown:
        warnings.warn(f"'{path}' was written by an earlier version and does "
                      f"not record which {' and '.join(unknown)} it was "
                      'trained with. They may have changed since.',
                      stacklevel=5)
        fingerprint = {**fingerprint, **{x: {} for x in unknown}}
    # Earlier versions also saved attributes derived from the arguments.
    options = fingerprint.get('options', {})
    saved = {**saved, 'options': {
        name: value for name, value in saved.get('options', {}).items()
        if name in options}}
    was, now = saved.get('steps'), fingerprint.get('steps')
    if isinstance(was, int) and isinstance(now, int) and was < now:
        warnings.warn(
            f"The training in '{path}' is extended from {was:,} to {now:,} "
            'steps. Its learning rate follows a schedule that decays to zero, '
            'and continues on the longer schedule, so it rises again. The '
            f'result differs from a training of {now:,} steps from the start.',
            stacklevel=5)
        saved = {**saved, 'steps': now}
    differ = _differences(_flat(saved), _flat(fingerprint))
    if differ:
        raise CheckpointError(f"Expected a checkpoint of this run in '{path}' "
                              f"(got one of another run: {'; '.join(differ)})")
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
            raise CheckpointError("Expected only parts of a checkpoint in "
                                  f"'{path}' (got {key!r:.80})")
    return states, optimizers, metadata


# Hints for a different precision, which 'auto' derives from the hardware.
_PRECISION = {
    True: 'resume it with autocast=True on hardware that multiplies bfloat16 '
          'matrices',
    False: 'resume it with autocast=False'}
def restore(module: torch.nn.Module, states: dict[str, State], name: str,
            path: Path) -> None:
    r"""Loads one of the states into a module.

    Raises:
        CheckpointError: If the state does not fit the module.
    """
    # Files do not contain states without tensors.
    try:
        module.load_state_dict(states.get(name, {}))
    except (RuntimeError, TypeError, ValueError) as error:
        reason = ' '.join(str(error).split())
        raise CheckpointError(f"Expected weights that fit the {name} in "
                              f"'{path}' (got {reason:.500})") from error


def restore_optimizer(optimizer: Optimizer, saved: Any, name: str,
                      path: Path) -> None:
    r"""Loads the state of an optimizer.

    Raises:
        CheckpointError: If the state does not fit the optimizer. Fused
            optimizers do not check the shapes of their moments, and would
            write out of bounds.
    """
    def wrong(what: str) -> CheckpointError:
        return CheckpointError('Expected a state that fits the optimizer of '
                               f"the {name} in '{path}' (got {what})")

    if saved is None:
        raise wrong('none')
    ours = optimizer.state_dict()['param_groups']
    theirs = saved['param_groups']
    if len(ours) != len(theirs):
        raise wrong(f'{len(theirs)} instead of {len(ours)} groups of '
                    'parameters')
    for mine, group in zip(ours, theirs, strict=True):
        for key in {**mine, **group}:
            # Schedules change the learning rate and store the initial one.
            if key in ('lr', 'initial_lr'):
                check_schema(group.get(key, 0.0), NUMBER, str(wrong(key)),
                             CheckpointError)
            elif plain(mine.get(key)) != plain(group.get(key)):
                raise wrong(f'{group.get(key)!r:.80} for {key!r:.80} instead '
                            f'of {mine.get(key)!r:.80}')
    params = [p for group in optimizer.param_groups for p in group['params']]
    for index, slots in saved['state'].items():
        if index >= len(params):
            raise wrong(f'the unknown parameter {index}')
        if not isinstance(optimizer, Adam):
            continue
        if not MOMENTS <= set(slots):
            raise wrong(f'{sorted(slots)} for parameter {index} instead of '
                        f'{sorted(MOMENTS)}')
        for slot, value in slots.items():
            shape = getattr(value, 'shape', None)
            if shape != (() if slot == 'step' else params[index].shape):
                raise wrong(f"another shape of '{slot}' for parameter {index}")
    optimizer.load_state_dict(saved)


def plain(value: Any) -> Any:
    r"""Returns a value in the form that it has after a round trip via JSON."""
    return list(value) if isinstance(value, tuple) else value


def _differences(saved: dict[str, Any], now: dict[str, Any]) -> list[str]:
    return ['the training triples, their order or the order of the labels '
            'changed' if key == 'data' else
            f"the {key.removeprefix('graph.')} changed"
            if key.startswith('graph.') else
            f'{key}: saved {saved.get(key)!r}, now {now.get(key)!r}'
            + (f' ({_PRECISION[saved[key]]})' if key == 'autocast'
               and saved.get(key) in _PRECISION else '')
            for key in {**saved, **now} if saved.get(key) != now.get(key)]


def _flat(fingerprint: dict[str, Any]) -> dict[str, Any]:
    # Messages then name a single option, table or modality.
    out: dict[str, Any] = {}
    for key, value in fingerprint.items():
        if isinstance(value, dict):
            out |= {f"{key} of '{name}'" if key == 'features' else
                    f'{key}.{name}': part for name, part in value.items()}
        else:
            out[key] = value
    return out
