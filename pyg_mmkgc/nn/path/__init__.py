r"""Models that score nodes by the paths to them, without node embeddings."""
from pyg_mmkgc.nn.path.base import PathModel
from pyg_mmkgc.nn.path.conv import RelationalConv
from pyg_mmkgc.nn.path.explain import Path, best_paths
from pyg_mmkgc.nn.path.nbfnet import NBFNet
from pyg_mmkgc.nn.path.ultra import ULTRA

__all__ = classes = [
    'PathModel',
    'RelationalConv',
    'NBFNet',
    'ULTRA',
    'Path',
    'best_paths',
]
