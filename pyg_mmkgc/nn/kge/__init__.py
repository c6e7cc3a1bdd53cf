r"""Knowledge graph embedding models, one per file."""
from pyg_mmkgc.nn.kge.adamf import AdaMF
from pyg_mmkgc.nn.kge.adamf_mat import AdaMFMAT
from pyg_mmkgc.nn.kge.base import MMKGEModel

__all__ = classes = [
    'MMKGEModel',
    'AdaMF',
    'AdaMFMAT',
]
