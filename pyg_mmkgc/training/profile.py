r"""Profiles of the time and the memory of training steps."""
from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Optional

import torch
from torch.profiler import ProfilerActivity, record_function

from pyg_mmkgc.errors import check_whole
from pyg_mmkgc.training import batch as batch_module
from pyg_mmkgc.training.adversarial_trainer import AdversarialTrainer
from pyg_mmkgc.training.batch import Batch
from pyg_mmkgc.training.trainer import Trainer

Path = tuple[str, ...]
# The prefix identifies our ranges among the profiler's events.
PREFIX = 'mmkgc: '
BACKWARD, THEIRS = 'backward', 'adversary, its own side'


@dataclass
class Part:
    r"""A part of a training step, which may be nested in other parts.

    Args:
        path (tuple[str, ...]): The names of the enclosing parts, from the
            outermost, and the name of the part itself.
        seconds (float): The median duration over steps in seconds.
        share (float): The share of the median step.
        memory (int): The number of bytes that PyTorch allocated during the
            part and still held at its end, in one step.
    """
    path: Path
    seconds: float
    share: float
    memory: int


@dataclass
class Profile:
    r"""The result of :obj:`profile`, which prints as a table.

    Args:
        seconds (list[float]): The duration of each step in seconds.
        parts (list[Part]): The parts of a step, depth first.
        operators (list[tuple[str, int, float]]): The name of each of PyTorch's
            slowest operators, its number of calls and its own duration in
            seconds in one step. Recording them slows the step down.
        peak_memory (int, optional): The peak memory in bytes: the largest
            resident set of the process, or the memory held by PyTorch on a
            GPU. (default: :obj:`None`)
    """
    seconds: list[float]
    parts: list[Part]
    operators: list[tuple[str, int, float]]
    peak_memory: Optional[int] = None

    def to_dict(self) -> dict[str, Any]:
        r"""Returns the profile as plain values, ready for JSON."""
        return {
            'seconds': self.seconds,
            'parts': [vars(part) | {'path': list(part.path)}
                      for part in self.parts],
            'operators': [list(row) for row in self.operators],
            'peak_memory': self.peak_memory,
        }

    def __str__(self) -> str:
        lines = [f'{"part of a step":<38}{"ms":>10}{"%":>8}{"MB kept":>10}']
        for part in self.parts:
            name = '  ' * (len(part.path) - 1) + part.path[-1]
            lines.append(f'{name:<38}{1e3 * part.seconds:>10.2f}'
                         f'{100 * part.share:>8.1f}'
                         f'{part.memory / 1e6:>10.1f}')
        lines.append(f'{"step, median of " + str(len(self.seconds)):<38}'
                     f'{1e3 * statistics.median(self.seconds):>10.2f}'
                     f'{100:>8.1f}')
        if self.peak_memory is not None:
            lines.append(f'peak memory: {self.peak_memory / 1e6:.0f} MB')
        lines += ['', f'{"operator, in one recorded step":<38}{"ms":>10}'
                  f'{"calls":>8}']
        lines += [f'{name[:37]:<38}{1e3 * seconds:>10.2f}{count:>8}'
                  for name, count, seconds in self.operators]
        return '\n'.join(lines)


@dataclass
class _Clock:
    r"""A clock that adds up the time spent in nested ranges."""
    device: torch.device
    path: Path = ()
    seconds: dict[Path, float] = field(default_factory=dict)

    def now(self) -> float:
        if self.device.type == 'cuda':
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    @contextmanager
    def range(self, name: str) -> Iterator[None]:
        if name == BACKWARD and (THEIRS, ) in self.seconds:
            name = f'{BACKWARD} of the adversary'
        outer, self.path = self.path, (*self.path, name)
        self.seconds.setdefault(self.path, 0.0)  # Parents come first.
        start = self.now()
        try:
            with record_function(PREFIX + '/'.join(self.path)):
                yield
                end = self.now()
            self.seconds[self.path] += end - start
        finally:
            self.path = outer


def full_batches(trainer: Trainer) -> Iterator[Batch]:
    r"""Yields the batches of a trainer indefinitely, without the last batch
    of an epoch if it is smaller.
    """
    num_triples = trainer.triples[0].numel()
    size = min(trainer.batch_size, num_triples,
               trainer.triples_per_epoch or num_triples)
    for epoch in itertools.count(1):
        trainer.begin_epoch(epoch)
        for batch in trainer._batches(epoch):
            # One of several processes has a part of the batch.
            if (batch.whole or batch).head_index.numel() == size:
                yield batch


def profile(trainer: Trainer, steps: int = 10, warmup: int = 3) -> Profile:
    r"""Profiles the time and the memory of training steps. These steps train
    the model.

    Args:
        trainer (Trainer): The trainer.
        steps (int, optional): The number of measured steps.
            (default: :obj:`10`)
        warmup (int, optional): The number of preceding steps that are not
            measured. (default: :obj:`3`)
    """
    check_whole(steps=steps)
    clock, times = _Clock(trainer.device), []
    found: list[dict[Path, float]] = []
    batches = full_batches(trainer)
    trainer.model.train()

    def step() -> float:
        clock.seconds = {}
        start = clock.now()
        with clock.range('batch'):
            batch = next(batches)
        trainer.train_step(batch, 'a profiled step')
        return clock.now() - start

    with _measured(trainer, clock):
        for _ in range(warmup):
            step()
        for _ in range(steps):
            times.append(step())
            found.append(clock.seconds)
        activities = [ProfilerActivity.CPU]
        if trainer.device.type == 'cuda':
            activities.append(ProfilerActivity.CUDA)
        with torch.profiler.profile(activities=activities,
                                    profile_memory=True) as recorded:
            step()
    events = list(recorded.key_averages())
    memory = {event.key: event.device_memory_usage
              if trainer.device.type == 'cuda' else event.cpu_memory_usage
              for event in events}
    return Profile(times, _parts(times, found, memory), _operators(events),
                   peak_memory(trainer.device))


def _parts(times: list[float], found: list[dict[Path, float]],
           memory: dict[str, int]) -> list[Part]:
    median = statistics.median(times)
    total = {path: statistics.median([x.get(path, 0.0) for x in found])
             for path in found[-1]}
    total['the rest: checks, bookkeeping', ] = max(0.0, statistics.median(
        [seconds - sum(x for path, x in parts.items() if len(path) == 1)
         for seconds, parts in zip(times, found, strict=True)]))
    return [Part(path, seconds, seconds / median,
                 memory.get(PREFIX + '/'.join(path), 0))
            for path, seconds in total.items()]


def _operators(events: list[Any], limit: int = 10
               ) -> list[tuple[str, int, float]]:
    rows = [(event.key, event.count, 1e-6 * max(
        event.self_cpu_time_total, event.self_device_time_total))
            for event in events if not event.key.startswith(PREFIX)]
    return sorted(rows, key=lambda row: -row[2])[:limit]


@contextmanager
def _measured(trainer: Trainer, clock: _Clock) -> Iterator[None]:
    r"""Context manager that measures the calls that make up a step."""
    model: Any = trainer.model
    places: list[tuple[Any, str, str]] = [
        (trainer.sampler, 'sample', 'sampling'),
        (batch_module, 'encode', 'encode'),
        (model, 'embed', 'embed'),
        (model, 'fuse', 'fuse'),
        (model, 'score', 'score'),
        (model, 'score_candidates', 'score negatives'),
        (model, 'score_tails', 'score all tails'),
        (model, 'score_heads', 'score all heads'),
        (model, 'loss', "the model's own loss"),
        (model, 'regularization', 'regularization'),
        (model, 'before_step', 'before the step'),
        (model, 'after_step', 'after the step'),
        (trainer.loss, 'forward', 'loss'),
        (torch.autograd, 'backward', BACKWARD),
    ]
    if trainer.form is not model:  # One of PyG's own models.
        places.append((model, 'forward', 'score'))
    for name, encoder in getattr(model, 'encoders', {}).items():
        places.append((encoder, 'forward', f'project {name}'))
    for name, optimizer in trainer.optimizers.items():
        places.append((optimizer, 'step', f'optimizer of the {name}'))
    if isinstance(trainer, AdversarialTrainer):
        places += [
            (trainer.adversary, 'discriminator_loss', 'adversary, model side'),
            (trainer.adversary, 'generator_loss', THEIRS),
        ]
        for name, module in getattr(trainer.adversary, 'generators',
                                    {}).items():
            places.append((module, 'forward', f'generate {name}'))
    with ExitStack() as stack:
        for owner, attribute, name in places:
            if hasattr(owner, attribute):
                stack.enter_context(_wrapped(owner, attribute, clock, name))
        yield


@contextmanager
def _wrapped(owner: Any, attribute: str, clock: _Clock,
             name: str) -> Iterator[None]:
    function: Callable[..., Any] = getattr(owner, attribute)

    def measured(*args: Any, **kwargs: Any) -> Any:
        with clock.range(name):
            return function(*args, **kwargs)

    own = attribute in vars(owner)  # Otherwise, it is on the class.
    setattr(owner, attribute, measured)
    try:
        yield
    finally:
        if own:
            setattr(owner, attribute, function)
        else:
            delattr(owner, attribute)


def peak_memory(device: torch.device) -> Optional[int]:
    r"""Returns the peak memory in bytes: the memory held by PyTorch on a GPU,
    or the resident set of this process on a CPU. Returns :obj:`None` if the
    system does not provide it.
    """
    if device.type == 'cuda':
        return torch.cuda.max_memory_allocated(device)
    try:
        # A process inherits `ru_maxrss` from its parent, but not `VmHWM`.
        with open('/proc/self/status', encoding='ascii') as file:
            line = next(x for x in file if x.startswith('VmHWM'))
    except (OSError, StopIteration):
        return None
    return 1024 * int(line.split()[1])
