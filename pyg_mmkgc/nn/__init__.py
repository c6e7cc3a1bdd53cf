r"""Models and their building blocks."""
from .encoder import ModalityEncoder
from .ensemble import Ensemble
from .fusion import AdaptiveFusion
from .generator import ModalityGenerator
from .gnn import GNNEncoder
from .kge import *  # noqa: F403
from .kge import __all__ as models
from .loss import (
    AllNodesLoss,
    BCELoss,
    KvsAllLoss,
    MarginRankingLoss,
    OneVsAllLoss,
    SelfAdversarialLoss,
)
from .neighbor import NeighborBaseline
from .path import ULTRA, NBFNet, PathModel

__all__ = classes = [
    *models,
    'PathModel', 'NBFNet', 'ULTRA', 'NeighborBaseline',
    'Ensemble',
    'GNNEncoder',
    'ModalityEncoder', 'AdaptiveFusion', 'ModalityGenerator',
    'SelfAdversarialLoss', 'MarginRankingLoss', 'BCELoss', 'AllNodesLoss',
    'OneVsAllLoss', 'KvsAllLoss',
]
