r"""Datasets of multi-modal knowledge graphs."""
from pyg_mmkgc.datasets.base import MMKGDataset
from pyg_mmkgc.datasets.benchmark import DB15K, MKGW, MKGY
from pyg_mmkgc.datasets.countries import Countries
from pyg_mmkgc.datasets.fake import FakeMMKG
from pyg_mmkgc.datasets.fb15k_237 import FB15k237

__all__ = [
    'MMKGDataset',
    'Countries',
    'DB15K',
    'FakeMMKG',
    'FB15k237',
    'MKGW',
    'MKGY',
]

# The base class cannot be loaded.
classes = __all__[1:]
