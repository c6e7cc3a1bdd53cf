r"""Multi-modal knowledge graph completion on PyTorch Geometric."""
from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.datasets import DB15K, MKGW, MKGY, Countries, FakeMMKG
from pyg_mmkgc.errors import MMKGCError
from pyg_mmkgc.evaluation import compare, evaluate, explain, predict
from pyg_mmkgc.nn import AdaMF, AdaMFMAT, MMKGEModel
from pyg_mmkgc.training import MAT, AdversarialTrainer, Trainer

__version__ = '0.1.0'

__all__ = [
    'KnowledgeGraph',
    'Countries',
    'DB15K',
    'MKGW',
    'MKGY',
    'FakeMMKG',
    'MMKGEModel',
    'AdaMF',
    'AdaMFMAT',
    'Trainer',
    'AdversarialTrainer',
    'MAT',
    'evaluate',
    'predict',
    'explain',
    'compare',
    'MMKGCError',
]
