"""Training of a single cell in its own process."""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import resource
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from pyg_mmkgc.runs import Run
from study.cells import Cell


def run_cell(cell: Cell, folder: Path, data_root: str | None,
             device: str | None, threads: int) -> None:
    """Trains or resumes a cell, and writes ``cell.json`` at the end."""
    import torch

    torch.set_num_threads(threads)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Another study, or a process that outlived its study, may be training
    # the same cell. The second process waits and then finds it finished.
    with open(folder.with_suffix('.lock'), 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (folder / 'cell.json').is_file():
            return
        with (open(folder.with_suffix('.log'), 'a') as log,
              contextlib.redirect_stdout(log),
              contextlib.redirect_stderr(log)):
            try:
                _train(cell, folder, data_root, device, threads)
            except Exception:  # The runner reports the path of this log.
                traceback.print_exc()
                sys.exit(1)


def machine() -> str:
    return f'{platform.machine()}, {platform.system()}'


def open_run(cell: Cell, folder: Path, data_root: str | None,
             device: str | None) -> Run:
    """Opens the run of a cell, or creates it."""
    if (folder / 'config.yaml').is_file():
        return Run.open(str(folder), data_root, device)
    return Run.create(cell.config, cell.options, str(folder), data_root,
                      device)


def _train(cell: Cell, folder: Path, data_root: str | None,
           device: str | None, threads: int) -> None:
    from pyg_mmkgc.errors import NonFiniteError
    from pyg_mmkgc.io import save_tensors
    from pyg_mmkgc.io.atomic import write_json
    from pyg_mmkgc.training.trainer import CHECKPOINT
    from study.features import RECORD, check_features, features_of

    facts: dict[str, Any] = {
        'threads': threads, 'cores': os.cpu_count(),
        'machine': machine()}
    try:
        run = open_run(cell, folder, data_root, device)
        if (folder / CHECKPOINT).is_file():
            check_features(cell.resolved, folder, data_root)
        else:  # The run has no checkpoint yet.
            write_json(folder / RECORD, features_of(cell.resolved, data_root))
        result = (run.evaluate('test') if run.finished
                  else run.train(progress=False))
        assert result is not None  # All benchmarks have test triples.
        ranks = result.ranks.by_ties(result.protocol['ties'])
        save_tensors(folder / 'ranks.safetensors', {
            'rank': ranks, 'head_index': result.head_index,
            'rel_type': result.rel_type, 'tail_index': result.tail_index},
            {})
    except NonFiniteError as error:  # Divergence is a result of a trial.
        traceback.print_exc()
        facts['error'] = str(error)
    # The peak of resident memory, including libraries.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    facts['gigabytes'] = peak * (1 if sys.platform == 'darwin' else 1024) / 1e9
    if torch_cuda := _cuda_gigabytes():
        facts['gpu_gigabytes'] = torch_cuda
    facts['finished'] = time.strftime('%Y-%m-%d')
    write_json(folder / 'cell.json', facts)


def _cuda_gigabytes() -> float:
    import torch

    if not torch.cuda.is_available():
        return 0.0
    return torch.cuda.max_memory_allocated() / 1e9
