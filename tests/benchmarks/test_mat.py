"""The distance of synthetic embeddings from real embeddings."""

from types import SimpleNamespace

import pytest
import torch

from pyg_mmkgc.datasets import FakeMMKG
from pyg_mmkgc.runs import Run


class Twice(torch.nn.Module):
    noise_channels = 3

    def forward(self, structure, noise):
        assert noise.shape == (structure.size(0), 3)
        return 2 * structure


def test_only_real_features_are_compared(study, monkeypatch):
    """Embeddings of nodes without features point in the opposite direction."""
    import mat

    kg = FakeMMKG(num_nodes=40, num_edges=160, seed=1)[0]
    structure = torch.randn(40, 8)
    assert not kg.mask_visual.all() and not kg.mask_text.all()
    views = {name: torch.where(kg.masks()[name].view(40, -1).any(1)[:, None],
                               structure, -5 * structure)
             for name in ('visual', 'text')}
    views['structure'] = structure
    model = SimpleNamespace(
        embed=lambda index: {name: x[index] for name, x in views.items()},
        generators={name: Twice() for name in ('visual', 'text')})
    monkeypatch.setattr(Run, 'open', lambda *_: SimpleNamespace(
        graph=kg, load_model=lambda: model))
    found = mat.measure('run', None)
    assert found['length'] == pytest.approx({'visual': 2.0, 'text': 2.0})
    assert found['cosine'] == pytest.approx({'visual': 1.0, 'text': 1.0})
