r"""Multi-modal knowledge graphs."""
from pyg_mmkgc.datasets.base import MMKGDataset
from pyg_mmkgc.datasets.benchmark import DB15K, MKGW, MKGY

__all__ = classes = [
    'MMKGDataset',
    'DB15K',
    'MKGW',
    'MKGY',
]
