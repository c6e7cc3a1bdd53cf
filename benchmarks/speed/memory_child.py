"""Measures the peak memory of a case in its own process and prints JSON."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from protocol import Setup
from workloads import Size, build, db15k, steps, synthetic, trainer

from pyg_mmkgc import evaluate
from pyg_mmkgc.training.profile import peak_memory


def now(device: torch.device) -> int:
    """Returns the number of bytes in use."""
    if device.type == 'cuda':
        return torch.cuda.memory_allocated(device)
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith('VmRSS'):
            return 1024 * int(line.split()[1])
    raise OSError('Expected a system that reports the memory of a process')


def reset(device: torch.device) -> None:
    """Resets the recorded peak."""
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)
    else:
        Path('/proc/self/clear_refs').write_text('5')


def step(setup: Setup, sampler: str, bits: int) -> Callable[[], Any]:
    """Returns three steps of AdaMF-MAT at the full size of DB15K."""
    kg = db15k(setup, {16: torch.float16, 32: torch.float32}[bits])
    size = Size.of(setup, 250)
    run = trainer(setup, build('AdaMF-MAT', kg, size.channels), kg, sampler,
                  size)
    return steps(run, setup, 3)


def ranking(setup: Setup, name: str, num_nodes: int) -> Callable[[], Any]:
    """Returns the ranking of 100 triples among many nodes, d=200."""
    kg = synthetic(num_nodes, 10_000, num_test=100)
    channels = Size.of(setup).channels
    if name == 'DistMult':
        from torch_geometric.nn import DistMult
        model: Any = DistMult(kg.num_nodes, kg.num_relations, channels)
    else:
        model = build(name, kg, channels)
    model = model.to(setup.device)
    return lambda: evaluate(model, kg, 'test')


def main() -> None:
    spec = json.loads(sys.argv[1])
    torch.set_num_threads(spec['threads'])
    setup = Setup(spec['quick'], 1, torch.device(spec['device']), Path(),
                  None if spec['data_root'] is None else
                  Path(spec['data_root']))
    started = now(setup.device)
    # Load the compiled loops, and compile them if necessary.
    ranking(setup, 'RotatE', 200)()
    case = {'step': step, 'ranking': ranking}[spec['case']]
    run = case(setup, **spec['options'])
    whole, ready = peak_memory(setup.device), now(setup.device)
    reset(setup.device)
    begin = time.perf_counter()
    run()
    seconds = time.perf_counter() - begin
    peak = peak_memory(setup.device)
    assert whole is not None and peak is not None
    print(json.dumps({'started': started, 'ready': ready, 'peak': peak,
                      'whole': max(whole, peak), 'seconds': seconds}))


if __name__ == '__main__':
    main()
