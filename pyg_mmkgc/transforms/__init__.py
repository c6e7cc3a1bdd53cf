from pyg_mmkgc.transforms.drop_features import DropFeatures
from pyg_mmkgc.transforms.drop_modality import DropModality

__all__ = classes = [
    'DropFeatures',
    'DropModality',
]
