import pytest
import torch

from pyg_mmkgc.errors import ConfigError, MMKGCError
from pyg_mmkgc.explore import projection
from pyg_mmkgc.explore.projection import project


def test_pca_is_that_of_a_singular_value_decomposition() -> None:
    x = torch.randn(50, 6) * torch.tensor([9., 1., 4., 1., 1., 1.])
    nodes = torch.arange(0, 50, 3)
    centred = x - x.mean(dim=0)
    axes = torch.linalg.svd(centred, full_matrices=False).Vh[:2].t()
    expected = (centred @ axes)[nodes]
    found = project(x, nodes)
    for i in range(2):
        column = expected[:, i]
        column = (column - column.min()) / (column.max() - column.min())
        assert (torch.allclose(found[:, i], column, atol=1e-4)
                or torch.allclose(found[:, i], 1 - column, atol=1e-4))


@pytest.mark.parametrize('method', projection.available())
def test_positions_fill_the_unit_square(method: str) -> None:
    found = project(torch.randn(40, 5), torch.arange(40), method)
    assert found.shape == (40, 2)
    assert found.amin(dim=0).tolist() == [0, 0]
    assert found.amax(dim=0).tolist() == [1, 1]


@pytest.mark.parametrize('x', [torch.ones(5, 3), torch.randn(5, 1)])
def test_a_direction_without_spread_is_in_the_middle(x: torch.Tensor) -> None:
    assert project(x, torch.arange(5))[:, 1].tolist() == [0.5] * 5


def test_the_same_map_in_every_process() -> None:
    x = torch.randn(40, 5)
    assert torch.equal(project(x, torch.arange(40)),
                       project(x.clone(), torch.arange(40)))


def test_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="'pca', 't-sne', 'umap' .got 'x'"):
        project(torch.randn(3, 2), torch.arange(3), 'x')
    monkeypatch.setattr(projection, 'find_spec', lambda name: None)
    assert projection.available() == ['pca']
    with pytest.raises(MMKGCError, match='pip install umap-learn'):
        project(torch.randn(3, 2), torch.arange(3), 'umap')
