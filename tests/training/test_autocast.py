"""Tests of projections in bfloat16 on hardware that multiplies it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.errors import CheckpointError, ModelError
from pyg_mmkgc.nn import AdaMF
from pyg_mmkgc.sampler import UniformSampler
from pyg_mmkgc.training import Trainer
from pyg_mmkgc.training.trainer import CHECKPOINT


def test_autocast(kg: KnowledgeGraph,
                  monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses are close to full precision; other hardware issues a warning."""
    def losses(autocast: bool) -> list[float]:
        torch.manual_seed(0)
        model = AdaMF.from_data(kg, 8)
        trainer = Trainer(model, kg, sampler=UniformSampler(8), lr=1e-2,
                          epochs=15, valid_every=None, autocast=autocast,
                          progress=False)
        assert trainer.autocast is autocast
        return [entry['loss'] for entry in trainer.fit().epochs]

    monkeypatch.setattr('pyg_mmkgc.training.trainer.multiplies_bfloat16',
                        lambda device: True)
    full, half = losses(False), losses(True)
    assert full != half
    assert half == pytest.approx(full, rel=0.02)
    monkeypatch.setattr('pyg_mmkgc.training.trainer.multiplies_bfloat16',
                        lambda device: False)
    with pytest.warns(UserWarning, match="off, .*Pass autocast='auto'"):
        trainer = Trainer(AdaMF.from_data(kg, 8), kg, autocast=True)
    assert trainer.autocast is False


@pytest.mark.parametrize('hardware', [True, False])
def test_autocast_that_follows_the_hardware(
        hardware: bool, kg: KnowledgeGraph,
        monkeypatch: pytest.MonkeyPatch) -> None:
    """It equals the setting that it resolves to, without a warning."""
    monkeypatch.setattr('pyg_mmkgc.training.trainer.multiplies_bfloat16',
                        lambda device: hardware)

    def train(autocast: Any) -> tuple[Trainer, list[Tensor]]:
        torch.manual_seed(0)
        trainer = Trainer(AdaMF.from_data(kg, 8), kg, epochs=2,
                          sampler=UniformSampler(8), valid_every=None,
                          autocast=autocast, progress=False)
        trainer.fit()
        return trainer, list(trainer.model.parameters())

    (trainer, ours), (_, same), (_, full) = map(
        train, ('auto', hardware, False))
    assert trainer.autocast is hardware
    assert all(map(torch.equal, ours, same))
    assert all(map(torch.equal, ours, full)) is not hardware
    with pytest.raises(ModelError, match=r"boolean or 'auto' \(got 'on'\)"):
        train('on')
    with pytest.raises(ModelError, match=r"boolean or 'auto' \(got 1\)"):
        train(1)


@pytest.mark.parametrize('before', [True, False])
def test_a_training_goes_on_in_its_precision(
        before: bool, kg: KnowledgeGraph, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    """A training with 'auto' does not resume on other hardware."""
    def make(hardware: bool, autocast: Any) -> Trainer:
        monkeypatch.setattr(
            'pyg_mmkgc.training.trainer.multiplies_bfloat16',
            lambda device: hardware)
        torch.manual_seed(0)
        return Trainer(AdaMF.from_data(kg, 8), kg, epochs=2,
                       sampler=UniformSampler(8), valid_every=None,
                       autocast=autocast, folder=tmp_path, progress=False)

    make(before, 'auto').fit()
    content = (tmp_path / CHECKPOINT).read_bytes()
    with pytest.raises(CheckpointError, match=(
            f'autocast: saved {before}, now {not before} '
            rf'\(resume it with autocast={before}')):
        make(not before, 'auto').fit(resume=True)
    assert (tmp_path / CHECKPOINT).read_bytes() == content
    # The advice in the message works.
    assert len(make(True, before).fit(resume=True).epochs) == 2
