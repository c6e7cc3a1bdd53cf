r"""Knowledge graph embedding models, one per file."""
from pyg_mmkgc.nn.kge.adamf import AdaMF
from pyg_mmkgc.nn.kge.adamf_mat import AdaMFMAT
from pyg_mmkgc.nn.kge.base import MMKGEModel
from pyg_mmkgc.nn.kge.complex import ComplEx
from pyg_mmkgc.nn.kge.distmult import DistMult
from pyg_mmkgc.nn.kge.gc_ote import GCOTE
from pyg_mmkgc.nn.kge.ikrl import IKRL
from pyg_mmkgc.nn.kge.mmkrl import MMKRL
from pyg_mmkgc.nn.kge.momok import MoMoK
from pyg_mmkgc.nn.kge.mose import MoSE
from pyg_mmkgc.nn.kge.mygo import MyGO
from pyg_mmkgc.nn.kge.native import NativE
from pyg_mmkgc.nn.kge.ote import OTE
from pyg_mmkgc.nn.kge.otkge import OTKGE
from pyg_mmkgc.nn.kge.pairre import PairRE
from pyg_mmkgc.nn.kge.query import QueryModel
from pyg_mmkgc.nn.kge.rotate import RotatE
from pyg_mmkgc.nn.kge.rsme import RSME
from pyg_mmkgc.nn.kge.simple import SimplE
from pyg_mmkgc.nn.kge.tbkgc import TBKGC
from pyg_mmkgc.nn.kge.transae import TransAE
from pyg_mmkgc.nn.kge.transd import TransD
from pyg_mmkgc.nn.kge.transe import TransE
from pyg_mmkgc.nn.kge.transh import TransH
from pyg_mmkgc.nn.kge.vbkgc import VBKGC

__all__ = [
    'MMKGEModel', 'QueryModel', 'TransE', 'TransH', 'TransD', 'RotatE',
    'PairRE', 'OTE', 'GCOTE', 'DistMult', 'ComplEx', 'SimplE', 'RSME', 'OTKGE',
    'MoSE', 'AdaMF', 'AdaMFMAT', 'IKRL', 'TBKGC', 'MMKRL', 'VBKGC', 'TransAE',
    'NativE', 'MoMoK', 'MyGO',
]
classes = __all__
