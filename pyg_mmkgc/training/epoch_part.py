r"""The finished part of an interrupted epoch."""
from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Generator, Tensor

from pyg_mmkgc.errors import CheckpointError


@dataclass
class EpochPart:
    r"""The progress within an epoch: the finished steps, the sums of their
    losses, and the states of the random number generators.

    Args:
        steps (int): The number of finished steps.
        count (int): The number of positives in these steps.
        seconds (float): The duration of these steps.
        sums (dict): The sum of each loss over the positives.
        rng (dict): The states of the generators. Empty in a new epoch.
    """
    steps: int = 0
    count: int = 0
    seconds: float = 0.0
    sums: dict[str, Tensor] = field(default_factory=dict)
    rng: dict[str, Tensor] = field(default_factory=dict)

    def add(self, losses: dict[str, Tensor], size: int) -> None:
        r"""Adds the losses of a step on :obj:`size` positives."""
        for key, value in losses.items():
            self.sums[key] = self.sums.get(key, value.new_zeros(())) + (
                value * size)
        self.count += size
        self.steps += 1

    def means(self) -> dict[str, float]:
        r"""Returns the mean of each loss."""
        return {key: float(value) / self.count
                for key, value in self.sums.items()}

    def take(self, draw: Generator, noise: Generator,
             device: torch.device) -> None:
        r"""Registers the generators of an epoch. If there are saved states,
        restores the states of these and of the global generators.
        """
        self._generators = {'draw': draw, 'noise': noise}
        for key, generator in self._generators.items():
            if key in self.rng:
                generator.set_state(self.rng[key].cpu())
        if 'cpu' in self.rng:
            torch.set_rng_state(self.rng['cpu'].cpu())
        if 'cuda' in self.rng and device.type == 'cuda':
            torch.cuda.set_rng_state(self.rng['cuda'].cpu(), device)

    def keep(self, seconds: float, device: torch.device) -> None:
        r"""Records the duration and the current states of the generators."""
        self.seconds = seconds
        self.rng = {key: generator.get_state()
                    for key, generator in self._generators.items()}
        self.rng['cpu'] = torch.get_rng_state()
        if device.type == 'cuda':
            self.rng['cuda'] = torch.cuda.get_rng_state(device)

    def state_dict(self) -> dict[str, Tensor]:
        r"""Returns the progress as tensors."""
        return {
            'steps': torch.tensor(self.steps),
            'count': torch.tensor(self.count),
            'seconds': torch.tensor(self.seconds, dtype=torch.double),
            **{f'sum.{key}': value for key, value in self.sums.items()},
            **{f'rng.{key}': value for key, value in self.rng.items()}}

    @classmethod
    def from_state(cls, state: dict[str, Tensor], device: torch.device,
                   path: Path) -> EpochPart:
        r"""Restores the progress from the result of :meth:`state_dict`.

        Raises:
            CheckpointError: If :obj:`state` is broken.
        """
        parts: dict[str, dict[str, Tensor]] = {'sum': {}, 'rng': {}}
        try:
            steps, count, seconds = (state[key].item() for key in (
                'steps', 'count', 'seconds'))
            for key, value in state.items():
                kind, _, name = key.partition('.')
                if kind in parts:
                    parts[kind][name] = value
            for value in parts['sum'].values():
                value.item()
            for key, value in parts['rng'].items():
                if key != 'cuda':
                    torch.Generator().set_state(value)
            if not 0 < steps <= count:
                raise ValueError(f'{steps} steps on {count} triples')
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise CheckpointError("Expected the state of a partial epoch in "
                                  f"'{path}' (got {error!s:.200})") from error
        sums = {key: value.to(device) for key, value in parts['sum'].items()}
        return cls(int(steps), int(count), float(seconds), sums, parts['rng'])
