"""The side of PyKEEN: RotatE with NSSA and Bernoulli negatives.

It runs in a separate Python with the packages of ``requirements.txt``.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import peer
import pykeen
import torch
from pykeen.evaluation import RankBasedEvaluator
from pykeen.losses import NSSALoss
from pykeen.models import RotatE
from pykeen.training import SLCWATrainingLoop, TrainingCallback
from pykeen.triples import CoreTriplesFactory


class Clock(TrainingCallback):
    """Records the time at which each batch ends."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def post_batch(self, epoch: int, batch: Any, **kwargs: Any) -> None:
        self.times.append(time.perf_counter())


class Side:
    """A model with its training and its evaluator."""

    def __init__(self, folder: Path) -> None:
        self.spec = json.loads((folder / 'spec.json').read_text())
        torch.set_num_threads(self.spec['threads'])
        torch.manual_seed(0)
        self.triples = {name: self._load(folder, name)
                        for name in ('train', 'known', 'sample')}
        counts = {key: self.spec[key]
                  for key in ('num_entities', 'num_relations')}
        self.factory = CoreTriplesFactory(self.triples['train'], **counts)
        rows = self.spec['batch_size'] * self.spec['steps']
        self.few = CoreTriplesFactory(self.triples['train'][:rows], **counts)
        self.trained, self.ranked = self._model(), self._model()
        with torch.no_grad():
            for part, name in (
                    (self.ranked.entity_representations[0], 'nodes'),
                    (self.ranked.relation_representations[0], 'relations')):
                rows = torch.from_numpy(np.load(folder / f'{name}.npy'))
                weight = part._embeddings.weight
                weight.copy_(torch.view_as_real(torch.complex(
                    *rows.chunk(2, dim=-1))).view_as(weight))

    def _load(self, folder: Path, name: str) -> torch.Tensor:
        return torch.from_numpy(np.load(folder / f'{name}.npy'))

    def _model(self) -> RotatE:
        loss = NSSALoss(margin=12.0, adversarial_temperature=2.0)
        return RotatE(triples_factory=self.factory, loss=loss,
                      embedding_dim=self.spec['channels'],
                      random_seed=0).to(self.spec['device'])

    def train(self) -> list[float]:
        """Returns the seconds of each step except the first, which includes
        the setup.
        """
        clock = Clock()
        SLCWATrainingLoop(
            model=self.trained, triples_factory=self.few,
            optimizer=torch.optim.Adam(self.trained.parameters(), lr=1e-3),
            negative_sampler='bernoulli', negative_sampler_kwargs={
                'num_negs_per_pos': self.spec['num_negatives']},
        ).train(triples_factory=self.few, num_epochs=1, use_tqdm=False,
                batch_size=self.spec['batch_size'], callbacks=[clock])
        return [b - a for a, b in zip(clock.times, clock.times[1:],
                                      strict=False)]

    def rank(self, count: int) -> dict[str, Any]:
        """Returns the filtered ranks of the first triples of the sample on
        both sides, and the seconds needed.
        """
        evaluator = RankBasedEvaluator(filtered=True, clear_on_finalize=False)
        start = time.perf_counter()
        evaluator.evaluate(
            self.ranked, self.triples['sample'][:count], use_tqdm=False,
            additional_filter_triples=self.triples['known'])
        seconds = time.perf_counter() - start
        ranks = {side: np.concatenate(
            evaluator.ranks[side, 'realistic']).tolist()
            for side in ('head', 'tail')}
        return {'seconds': seconds, 'ranks': ranks}

    def version(self) -> dict[str, str]:
        return {'pykeen': pykeen.get_version(), 'torch': torch.__version__}


if __name__ == '__main__':
    side = Side(Path(sys.argv[1]))
    peer.serve({'train': side.train, 'rank': side.rank,
                'version': side.version})
