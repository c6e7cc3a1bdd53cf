r"""Multi-modal knowledge graph completion on PyTorch Geometric."""
from importlib import import_module
from typing import TYPE_CHECKING, Any

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

# The packages of these names. They are imported when a name is first used,
# since importing PyG takes seconds, which `mmkgc --help` does not need.
_PACKAGES = ('errors', 'data', 'datasets', 'nn', 'evaluation', 'training')


def __getattr__(name: str) -> Any:
    if name in __all__:
        for package in _PACKAGES:
            value = getattr(import_module(f'{__name__}.{package}'), name, None)
            if value is not None:
                globals()[name] = value
                return value
    elif name in _PACKAGES:
        return import_module(f'{__name__}.{name}')
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_PACKAGES})
