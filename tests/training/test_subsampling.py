"""Tests that frequent queries weigh less."""

import math
from collections import Counter

import pytest
import torch

from pyg_mmkgc.errors import CheckpointError, ModelError
from pyg_mmkgc.nn import OneVsAllLoss, SelfAdversarialLoss
from pyg_mmkgc.sampler import UniformSampler
from pyg_mmkgc.training.batch import complete
from pyg_mmkgc.training.inputs import subsampling_weight


def test_weights_by_counting() -> None:
    head, rel, tail = (torch.randint(high, (60, )) for high in (5, 2, 7))
    got = subsampling_weight(head, rel, tail)
    h, r, t = head.tolist(), rel.tolist(), tail.tolist()
    tails, heads = Counter(zip(h, r)), Counter(zip(r, t))
    for i in range(60):
        count = tails[h[i], r[i]] + 3 + heads[r[i], t[i]] + 3
        assert float(got[i]) == pytest.approx(1 / math.sqrt(count))
    assert len(set(got.tolist())) > 5


@pytest.mark.parametrize('training', ['pyg_sampler', 'adamf'])
def test_the_trainer_weighs_each_positive(training, make) -> None:
    trainer = make(training, subsampling=True)
    weights = dict(zip(zip(*(x.tolist() for x in trainer.triples)),
                       subsampling_weight(*trainer.triples).tolist()))
    loss = SelfAdversarialLoss(2.0)
    for batch in trainer._batches(1):
        expected = [weights[triple] for triple in zip(
            batch.head_index.tolist(), batch.rel_type.tolist(),
            batch.tail_index.tolist())]
        torch.testing.assert_close(batch.weight, torch.tensor(expected))
        done = complete(trainer.model, loss, batch)
        pos, neg = done.scored.pos, done.scored.neg
        assert done.loss.item() == pytest.approx(
            sum(w * loss(pos[b:b + 1], neg[b:b + 1]).item()
                for b, w in enumerate(expected)) / sum(expected), rel=1e-5)


def test_is_part_of_a_run(make, interrupted, tmp_path) -> None:
    interrupted(tmp_path, 'adamf', 5, subsampling=True)
    with pytest.raises(CheckpointError, match=r'\bsubsampling: saved True'):
        make('adamf', folder=tmp_path).fit(resume=True)


def test_needs_a_sampler(make) -> None:
    with pytest.raises(ModelError, match='sampler for subsampling.*none'):
        make('pyg', subsampling=True)
    with pytest.raises(ModelError, match='sampler for subsampling.*none'):
        make('adamf', subsampling=True, sampler=None, loss=OneVsAllLoss())
    make('adamf', subsampling=True, sampler=UniformSampler(2))
