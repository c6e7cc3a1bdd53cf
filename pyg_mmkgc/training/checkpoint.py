r"""Checkpoints, which hold the state of a training in one verified file."""
from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any, Optional

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer

from pyg_mmkgc.distributed.checkpoint import (
    LATEST,
    load_sharded,
    read_latest,
    remove_sharded,
    save_sharded,
)
from pyg_mmkgc.distributed.group import is_main, world_size
from pyg_mmkgc.distributed.table import ShardedEmbedding, sharded_tables
from pyg_mmkgc.errors import CheckpointError
from pyg_mmkgc.io.schema import NUMBER, check_schema
from pyg_mmkgc.io.tensors import load_tensors, mapped_copies, save_tensors

State = dict[str, Tensor]

#: The file of a checkpoint of one process.
CHECKPOINT = 'checkpoint.safetensors'
#: The folder of the checkpoints of several processes.
CHECKPOINTS = 'checkpoint'
MOMENTS = {'step', 'exp_avg', 'exp_avg_sq'}
STATE = re.compile(r'state/([a-z_]+)/(.+)', re.DOTALL)
SLOT = re.compile(r'optimizer/([a-z_]+)/(0|[1-9][0-9]{0,8})/([a-z_]+)')
HISTORY = {'epochs': [{str: NUMBER}], 'best_epoch': (int, None),
           'best_metrics': {str: NUMBER}, 'stopped_early': bool}
SCHEMA = {'fingerprint': {str: object}, 'history': HISTORY,
          'param_groups': {str: [{str: object}]}, 'numbers': {str: object}}


def copy_state(module: torch.nn.Module, folder: Optional[Path]) -> State:
    r"""Returns a copy of the weights and buffers of a module. It takes no
    memory if there is a folder for a temporary file.
    """
    tables = {f'{name}.weight' if name else 'weight': x
              for name, x in module.named_modules()
              if isinstance(x, ShardedEmbedding)}
    # An operation on a distributed tensor would keep the process group, in a
    # cache of PyTorch.
    rows = {name: tables[name].weight if name in tables else x
            for name, x in module.state_dict().items()}
    copies = ({name: x.detach().clone() for name, x in rows.items()}
              if folder is None else mapped_copies(rows, folder))
    return {name: tables[name].distribute(x) if name in tables else x
            for name, x in copies.items()}


def find_checkpoint(folder: Path) -> Path:
    r"""Returns the checkpoint of a folder, or the file that a checkpoint would
    have.
    """
    places = {folder / CHECKPOINT: folder / CHECKPOINT,
              folder / CHECKPOINTS / LATEST: folder / CHECKPOINTS,
              folder / LATEST: folder}
    found = [file for file in places if file.is_file()]
    # There are two if a process was killed before it removed the old one.
    return places[max(found, default=folder / CHECKPOINT,
                      key=lambda file: file.stat().st_mtime_ns)]


def save_checkpoint(folder: Path, states: dict[str, State],
                    optimizers: dict[str, Optimizer],
                    metadata: dict[str, Any],
                    module: torch.nn.Module) -> Path:
    r"""Writes states, optimizers and JSON values to one file, or to a folder
    in several processes. They are replaced atomically, such that an
    interruption keeps the old checkpoint. Returns the path.

    Args:
        folder (pathlib.Path): The folder of the training.
        states (dict): The states by name.
        optimizers (dict): The optimizers by name.
        metadata (dict): The JSON values.
        module (torch.nn.Module): The module whose tables may be distributed
            over processes.
    """
    tables = sharded_tables(module)
    tensors = {f'state/{group}/{name}': x for group, state in states.items()
               for name, x in state.items()}
    groups: dict[str, Any] = {}
    numbers: dict[str, Any] = {}
    for name, optimizer in optimizers.items():
        params = parameters(optimizer)
        state = optimizer.state_dict()
        groups[name] = state['param_groups']
        for index, slots in state['state'].items():
            for slot, value in slots.items():
                key = f'optimizer/{name}/{index}/{slot}'
                if isinstance(value, Tensor):
                    table = tables.get(id(params[index]))
                    tensors[key] = (table.distribute(value) if table and
                                    value.dim() > 0 else value)
                else:  # Sparse Adam counts its steps as a Python number.
                    numbers[key] = value
    metadata = {**metadata, 'param_groups': groups, 'numbers': numbers}
    if world_size() == 1:
        save_tensors(folder / CHECKPOINT, tensors, metadata)
        remove_sharded(folder / CHECKPOINTS)
        return folder / CHECKPOINT
    save_sharded(folder / CHECKPOINTS, tensors, metadata)
    if is_main():
        (folder / CHECKPOINT).unlink(missing_ok=True)
    return folder / CHECKPOINTS


def parameters(optimizer: Optimizer) -> list[Tensor]:
    r"""Returns the parameters of an optimizer in the order of its state."""
    return [p for group in optimizer.param_groups for p in group['params']]


def load_checkpoint(path: Path, fingerprint: dict[str, Any]
                    ) -> tuple[dict[str, State], dict[str, Any],
                               dict[str, Any]]:
    r"""Reads the states, optimizer states and metadata of a checkpoint.

    Raises:
        CheckpointError: If there is no file, or if it belongs to another run.
            The message then names each field that differs.
    """
    if path.is_dir():
        tensors, metadata = load_sharded(path)
    elif not path.is_file():
        raise CheckpointError(f"Expected a checkpoint at '{path}' (got none)")
    else:
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


def saved_history(path: Path) -> dict[str, Any]:
    r"""Returns the history in a checkpoint as plain values."""
    metadata = (read_latest(path)['metadata'] if path.is_dir() else
                load_tensors(path)[1])
    check_schema(metadata, SCHEMA, f"'{path}'", CheckpointError)
    return metadata['history']


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
                      path: Path, module: torch.nn.Module) -> None:
    r"""Loads the state of an optimizer, whose :obj:`module` may have tables
    that are distributed over processes.

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
        for key in ('lr', 'initial_lr'):
            check_schema(group.get(key, 0.0), NUMBER, str(wrong(key)),
                         CheckpointError)
        mine, group = _initial(mine), _initial(group)
        for key in {**mine, **group}:
            if plain(mine.get(key)) != plain(group.get(key)):
                raise wrong(f'{group.get(key)!r:.80} for {key!r:.80} instead '
                            f'of {mine.get(key)!r:.80}')
    params = parameters(optimizer)
    tables = sharded_tables(module)
    for index, slots in saved['state'].items():
        if index >= len(params):
            raise wrong(f'the unknown parameter {index}')
        table = tables.get(id(params[index]))
        for slot, value in slots.items():
            if table and isinstance(value, Tensor):
                slots[slot] = table.own_rows(value)
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


def _initial(group: dict[str, Any]) -> dict[str, Any]:
    r"""Returns a group of parameters with its initial learning rate, which a
    schedule stores when it changes the rate.
    """
    out = {**group, 'lr': group.get('initial_lr', group.get('lr'))}
    out.pop('initial_lr', None)
    return out


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
