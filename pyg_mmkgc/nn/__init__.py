r"""Models and the parts that they are made of."""
from .encoder import ModalityEncoder
from .fusion import AdaptiveFusion
from .generator import ModalityGenerator
from .kge import (
    IKRL,
    MMKRL,
    TBKGC,
    VBKGC,
    AdaMF,
    AdaMFMAT,
    ComplEx,
    DistMult,
    MMKGEModel,
    RotatE,
    TransE,
)
from .loss import (
    AllNodesLoss,
    BCELoss,
    KvsAllLoss,
    MarginRankingLoss,
    OneVsAllLoss,
    SelfAdversarialLoss,
)

__all__ = classes = [
    'MMKGEModel',
    'TransE',
    'RotatE',
    'DistMult',
    'ComplEx',
    'AdaMF',
    'AdaMFMAT',
    'IKRL',
    'TBKGC',
    'MMKRL',
    'VBKGC',
    'ModalityEncoder',
    'AdaptiveFusion',
    'ModalityGenerator',
    'SelfAdversarialLoss',
    'MarginRankingLoss',
    'BCELoss',
    'AllNodesLoss',
    'OneVsAllLoss',
    'KvsAllLoss',
]
