import pytest
import torch

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.datasets.fake import FakeMMKG
from pyg_mmkgc.errors import DataError
from pyg_mmkgc.transforms import DropFeatures


@pytest.mark.parametrize('ratio', [0.0, 0.25, 0.5, 0.999])
def test_drop_features(ratio: float) -> None:
    transform = DropFeatures('visual', ratio, seed=2)
    assert str(transform) == f"DropFeatures('visual', ratio={ratio}, seed=2)"
    kg = FakeMMKG(num_edges=300)[0]  # 160 of 200 rows are present.
    x, mask = kg.x_visual.clone(), kg.mask_visual.clone()
    out = transform(kg)
    assert out.validate()
    assert out.mask_visual.sum() == 160 - min(round(ratio * 160), 159)
    assert not (out.mask_visual & ~mask).any()  # No row is added.
    assert not out.x_visual[~out.mask_visual].any()
    assert torch.equal(out.x_visual[out.mask_visual], x[out.mask_visual])
    assert out.x_text is kg.x_text
    # The input is unchanged.
    assert torch.equal(kg.x_visual, x) and torch.equal(kg.mask_visual, mask)
    assert torch.equal(transform(kg).mask_visual, out.mask_visual)


def test_drop_features_seed_and_nesting() -> None:
    kg = FakeMMKG(num_edges=300)[0]
    del kg.mask_text  # All rows are present.
    less = DropFeatures('text', 0.25)(kg).mask_text
    more = DropFeatures('text', 0.5)(kg).mask_text
    other = DropFeatures('text', 0.5, seed=1)(kg).mask_text
    assert less.sum() == 150 and more.sum() == 100
    assert not (more & ~less).any()
    assert not torch.equal(more, other)


def test_the_same_nodes_lose_every_modality() -> None:
    kg = FakeMMKG(num_edges=300)[0]
    kg.x_audio, kg.mask_audio = torch.ones(200, 3), kg.mask_visual.clone()
    out = DropFeatures('audio', 0.5)(DropFeatures('visual', 0.5)(kg))
    assert torch.equal(out.mask_audio, out.mask_visual)
    # Modalities lose nodes in the same order.
    text = DropFeatures('text', 0.5)(kg)
    both = kg.mask_visual & kg.mask_text
    lost = both & ~out.mask_visual, both & ~text.mask_text
    assert (lost[0] ^ lost[1]).sum() < 0.2 * both.sum()


@pytest.mark.parametrize('dims', [1, 2])
def test_drop_features_of_nodes_with_several_rows(dims: int) -> None:
    x, mask = torch.ones(40, 3, 2), torch.rand(40, 3) < 0.5
    mask = mask if dims == 2 else mask[:, 0]
    kg = KnowledgeGraph(torch.tensor([[0], [1]]), torch.tensor([0]),
                        num_nodes=40, x_v=x, mask_v=mask)
    out = DropFeatures('v', 0.5)(kg)
    left = out.mask_v.reshape(40, -1).any(dim=1)
    had = mask.reshape(40, -1).any(dim=1)
    assert left.sum() == had.sum() - round(0.5 * int(had.sum()))
    assert torch.equal(out.mask_v[left], mask[left])  # All rows of a node.
    assert torch.equal(out.x_v, out.mask_v.view(40, -1, 1).expand(x.shape) * x)


def test_drop_features_errors() -> None:
    for ratio in [1.0, -0.1, float('nan')]:
        with pytest.raises(DataError, match=f"'ratio' to lie.*got {ratio}"):
            DropFeatures('visual', ratio)
    with pytest.raises(DataError, match="modality 'image' .got"):
        DropFeatures('image', 0.5)(FakeMMKG(num_edges=300)[0])
