import pytest

from pyg_mmkgc.datasets.fake import FakeMMKG
from pyg_mmkgc.errors import DataError
from pyg_mmkgc.transforms import DropModality


def test_drop_modality() -> None:
    transform = DropModality('visual')
    assert str(transform) == "DropModality('visual')"
    kg = FakeMMKG(num_edges=300)[0]
    out = transform(kg)
    assert out.modalities == ['text'] and out.validate()
    assert 'mask_visual' not in out and out.x_text is kg.x_text
    assert kg.modalities == ['visual', 'text']  # Unchanged.
    del kg.mask_text
    assert DropModality('visual', 'text')(kg).modalities == []
    assert FakeMMKG(num_edges=300, transform=transform)[0].modalities == [
        'text']
    with pytest.raises(DataError, match="graph with modality 'image' .got "
                       r"\['visual', 'text'\]"):
        DropModality('visual', 'image')(kg)
