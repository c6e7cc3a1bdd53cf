"""Results with and without torch-scatter, which PyG uses if installed."""

import pytest
import torch
from torch_geometric.testing import withoutExtensions, withPackage

from pyg_mmkgc.datasets import FakeMMKG
from pyg_mmkgc.evaluation import evaluate
from pyg_mmkgc.nn import AdaMFMAT
from pyg_mmkgc.training import MAT, AdversarialTrainer

pytestmark = pytest.mark.scatter


def train_and_evaluate() -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    """Weights and metrics of a short adversarial training."""
    torch.manual_seed(0)
    kg = FakeMMKG(num_nodes=60, seed=0)[0]
    model = AdaMFMAT.from_data(kg, hidden_channels=8)
    AdversarialTrainer(model, kg, adversary=MAT.from_model(model), epochs=2,
                       batch_size=64, seed=0, progress=False).fit()
    return model.state_dict(), evaluate(model, kg, split='test').metrics()


@pytest.fixture(scope='module')
def reference() -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    """The result with PyG as it is installed."""
    return train_and_evaluate()


@withoutExtensions
def test_same_result_without_extensions(reference, without_extensions) -> None:
    import torch_geometric.typing
    if without_extensions:
        assert not torch_geometric.typing.WITH_TORCH_SCATTER
    weights, metrics = train_and_evaluate()
    assert metrics == reference[1]
    assert weights.keys() == reference[0].keys()
    for name, weight in weights.items():
        assert torch.equal(weight, reference[0][name]), name


@withPackage('torch_scatter')
def test_torch_scatter_is_in_use() -> None:
    """If torch-scatter is installed, the test above compares two backends."""
    import torch_geometric.typing
    assert torch_geometric.typing.WITH_TORCH_SCATTER


@withoutExtensions
def test_scatter_of_pyg(without_extensions) -> None:
    """The scatter function of PyG, as in models of users."""
    from torch_geometric.utils import scatter
    value = torch.tensor([[1., 5.], [2., 4.], [3., 3.]], requires_grad=True)
    index = torch.tensor([0, 2, 0])
    out = scatter(value, index, dim=0, dim_size=3, reduce='max')
    assert out.tolist() == [[3., 5.], [0., 0.], [2., 4.]]
    out.sum().backward()
    assert value.grad.tolist() == [[0., 1.], [1., 1.], [1., 0.]]
