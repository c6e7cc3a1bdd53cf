from pyg_mmkgc.transforms.drop_features import DropFeatures
from pyg_mmkgc.transforms.drop_modality import DropModality
from pyg_mmkgc.transforms.inductive_split import InductiveSplit

__all__ = classes = [
    'DropFeatures',
    'DropModality',
    'InductiveSplit',
]
