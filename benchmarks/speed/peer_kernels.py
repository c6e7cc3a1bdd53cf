"""A side of the comparison of compiled loops with plain PyTorch. The argument
``plain`` hides the compilers.
"""

import sys

if sys.argv[1] == 'plain':
    sys.modules['numba'] = None  # type: ignore[assignment]
    sys.modules['triton'] = None  # type: ignore[assignment]

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peer
import torch
from protocol import Setup
from workloads import Size, build, db15k, mkg_w, steps, trainer

from pyg_mmkgc import evaluate
from pyg_mmkgc.kernels.candidates import candidate_scores
from pyg_mmkgc.kernels.dense import dense_scores

QUERIES = 64


class Side:
    """The calls of a side, with inputs from a seed that both sides share."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.size = Size.of(setup)
        self.steps: dict[str, Callable[[], list[float]]] = {}

    def _inputs(self, group: int) -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(0)
        size, rows = self.size, 50 if self.setup.quick else 3000
        args = [torch.randn(n, 2 * size.channels, generator=generator)
                for n in (size.batch_size, size.batch_size, rows)]
        shape = size.batch_size, size.num_negatives
        args += [torch.randint(rows, shape, generator=generator),
                 torch.rand(shape, generator=generator) < 0.5]
        return [x.to(self.setup.device).requires_grad_(i < 3)
                for i, x in enumerate(args)]

    def candidates(self, group: int) -> dict[str, Any]:
        """Computes the distances of negatives, forward and backward."""
        args = self._inputs(group)
        found: dict[str, Any] = {}

        def forward() -> None:
            query = torch.stack(args[:2])
            found['out'] = candidate_scores(query, *args[2:], group)

        def backward() -> None:
            found['out'].square().sum().backward()

        seconds = [self.setup.seconds(task)[0] for task in (forward, backward)]
        sums = [float(x.double().abs().sum()) for x in
                (found['out'].detach(), *(x.grad for x in args[:3]))]
        return {'seconds': seconds, 'sums': sums}

    def dense(self, group: int) -> dict[str, Any]:
        """Computes the distances of queries to all rows without gradients."""
        query, _, table = self._inputs(group)[:3]
        query = query.detach()[:QUERIES]
        table = table.detach().repeat(5, 1)
        out = []
        seconds = self.setup.seconds(
            lambda: out.append(dense_scores(query, table, group)))
        return {'seconds': seconds, 'sums': [float(out[0].double().sum())]}

    def step(self, sampler: str) -> dict[str, Any]:
        """Runs a training step of AdaMF-MAT at the full size of DB15K."""
        if sampler not in self.steps:
            kg = db15k(self.setup, torch.float16)
            size = Size.of(self.setup, 250)
            run = trainer(self.setup, build('AdaMF-MAT', kg, size.channels),
                          kg, sampler, size)
            self.steps[sampler] = steps(run, self.setup)
        return {'seconds': self.steps[sampler]()}

    def loss(self) -> dict[str, Any]:
        """Returns the loss of an epoch on MKG-W."""
        kg = mkg_w(self.setup)
        run = trainer(self.setup, build('AdaMF-MAT', kg, self.size.channels),
                      kg, 'pooled', self.size)
        return {'loss': run.fit().epochs[-1]['loss']}

    def ranks(self) -> dict[str, Any]:
        """Returns the ranks of the test triples of MKG-W before training."""
        kg = mkg_w(self.setup)
        model = build('AdaMF', kg, self.size.channels).to(self.setup.device)
        ranks = evaluate(model, kg).ranks.by_ties('realistic')
        return {'ranks': ranks.tolist()}

    def has_numba(self) -> bool:
        return sys.modules.get('numba') is not None


def main() -> None:
    kind, device, threads, quick, root = sys.argv[1:]
    warnings.simplefilter('ignore')  # Warnings about a faster path.
    torch.set_num_threads(int(threads))
    side = Side(Setup(quick == 'True', 1, torch.device(device), Path(),
                      Path(root) if root else None))
    peer.serve({name: getattr(side, name) for name in (
        'candidates', 'dense', 'step', 'loss', 'ranks', 'has_numba')})


if __name__ == '__main__':
    main()
