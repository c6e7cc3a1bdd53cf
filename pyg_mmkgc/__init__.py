r"""Multi-modal knowledge graph completion on PyTorch Geometric."""
from typing import TYPE_CHECKING

from pyg_mmkgc.lazy import lazy_names

if TYPE_CHECKING:
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

if not TYPE_CHECKING:  # A checker would take any name for one of these.
    __getattr__ = lazy_names(__name__, __all__, [
        f'{__name__}.{package}' for package in (
            'errors', 'data', 'datasets', 'nn', 'evaluation', 'training')])


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
