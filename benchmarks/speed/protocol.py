"""The protocol of all measurements, and the facts recorded with them."""

import gc
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).resolve().parent
Row = dict[str, Any]
# A bar is '<=' or '>=' with a limit.
Bar = tuple[str, float]
TEXT = ('Each measurement is repeated in rounds, every side once in each, so '
        'that noise of the machine hits all of them; one round before is not '
        'counted. Values are medians, with the smallest and the largest. '
        'Nothing else should run.')


@dataclass(frozen=True)
class Setup:
    """The settings and resources of a part."""
    quick: bool
    repeat: int
    device: torch.device
    scratch: Path
    data_root: Path | None = None
    pykeen: Path | None = None

    def bar(self, cpu: Bar | None = None,
            cuda: Bar | None = None) -> Bar | None:
        """Returns the required bar, which only applies at full size."""
        if self.quick:
            return None
        return cuda if self.device.type == 'cuda' else cpu

    def synchronize(self) -> None:
        if self.device.type == 'cuda':
            torch.cuda.synchronize(self.device)

    def seconds(self, task: Callable[[], Any]) -> list[float]:
        """Returns the time of a task, or the time that it reports itself."""
        self.synchronize()
        start = time.perf_counter()
        own = task()
        self.synchronize()
        if isinstance(own, float):
            return [own]
        if isinstance(own, list):
            return own
        return [time.perf_counter() - start]

    def interleave(self, tasks: dict[str, Callable[[], Any]],
                   warmup: int | None = None) -> dict[str, list[float]]:
        """Runs tasks in turns (A B A B ...), so that noise affects all."""
        out: dict[str, list[float]] = {name: [] for name in tasks}
        if warmup is None:
            warmup = 0 if self.quick else 1
        for round_ in range(-warmup, self.repeat):
            for name, task in tasks.items():
                if not self.quick:
                    gc.collect()
                found = self.seconds(task)
                if round_ >= 0:
                    out[name] += found
        return out


def row(name: str, values: float | Iterable[float], unit: str = 's',
        bar: Bar | None = None, note: str = '', **detail: Any) -> Row:
    """Creates a line of a table with its required bar."""
    found = [float(values)] if isinstance(values, (int, float)) else [
        float(x) for x in values]
    median = statistics.median(found)
    out: Row = {'name': name, 'unit': unit, 'median': median,
                'min': min(found), 'max': max(found), 'n': len(found)}
    if bar is not None:
        out['bar'] = list(bar)
        out['met'] = (median <= bar[1] if bar[0] == '<=' else
                      median >= bar[1])
    if note:
        out['note'] = note
    if detail:
        out['detail'] = detail
    return out


def ratio(name: str, slow: list[float], fast: list[float],
          bar: Bar | None = None, note: str = '') -> Row:
    """Creates a line with the ratio of two median times."""
    return row(name, statistics.median(slow) / statistics.median(fast),
               'times', bar, note)


def git(*command: str) -> str:
    """Returns the output of git, or an empty text without a repository."""
    try:
        done = subprocess.run(['git', *command], cwd=HERE, text=True,
                              capture_output=True, check=False)
    except OSError:
        return ''
    return done.stdout.strip()


def machine(device: torch.device) -> dict[str, Any]:
    """Returns the hardware and its load."""
    model, memory = platform.processor(), None
    try:
        for line in Path('/proc/cpuinfo').read_text().splitlines():
            if line.startswith('model name'):
                model = line.partition(':')[2].strip()
                break
        line = Path('/proc/meminfo').read_text().splitlines()[0]
        memory = round(int(line.split()[1]) / 2**20, 1)
    except (OSError, IndexError, ValueError):
        pass
    out = {'processor': model, 'cores': os.cpu_count(),
           'threads': torch.get_num_threads(), 'memory_gib': memory,
           'capability': torch.backends.cpu.get_cpu_capability(),
           'load_average': [round(x, 2) for x in os.getloadavg()]}
    if device.type == 'cuda':
        out['gpu'] = torch.cuda.get_device_name(device)
    return out


def versions() -> dict[str, str]:
    """Returns the versions that a measurement may depend on."""
    out = {'python': platform.python_version(),
           'platform': platform.platform()}
    for name in ('torch', 'torch_geometric', 'numba', 'triton', 'numpy'):
        try:
            out[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            pass
    return out


def command(paths: dict[str, str]) -> str:
    """Returns the command line without the paths of this machine."""
    words = ['python', 'benchmarks/speed/run.py']
    return shlex.join(words + [paths.get(x, x) for x in sys.argv[1:]])


def save(path: Path, content: dict[str, Any]) -> None:
    """Writes JSON atomically."""
    part = path.with_suffix('.part')
    part.write_text(json.dumps(content, indent=1) + '\n')
    part.replace(path)
